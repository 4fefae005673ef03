//! Every body over the seeds, over random octets and over mutations, the same in every run.

use std::panic::{RefUnwindSafe, catch_unwind};

use pysfu_fuzz::TARGETS;
use pysfu_fuzz::mutate::{Random, mutate};
use pysfu_fuzz::seeds::seeds;

const MUTATIONS_PER_SEED: usize = 1_000;
const RANDOM_INPUTS: usize = 20_000;

fn check(name: &str, body: impl Fn(&[u8]) + RefUnwindSafe, data: &[u8]) {
    let outcome = catch_unwind(|| body(data));
    let octets = || data.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    assert!(outcome.is_ok(), "{name} fails for {}", octets());
}

#[test]
fn seeds_and_their_mutations() {
    let seeds = seeds();
    for (index, (name, body)) in TARGETS.iter().enumerate() {
        let mut random = Random::new(0x5eed_0000 + index as u64);
        for seed in &seeds {
            check(name, body, seed);
            for len in 0..seed.len() {
                check(name, body, &seed[..len]);
            }
            for _ in 0..MUTATIONS_PER_SEED {
                let mut data = seed.clone();
                let other = &seeds[random.below(seeds.len())];
                mutate(&mut random, &mut data, other);
                check(name, body, &data);
            }
        }
    }
}

#[test]
fn random_octets() {
    for (index, (name, body)) in TARGETS.iter().enumerate() {
        let mut random = Random::new(0xabcd_0000 + index as u64);
        for _ in 0..RANDOM_INPUTS {
            // Now and then enough for long sequences of operations.
            let longest = if random.below(16) == 0 { 4_096 } else { 256 };
            let data: Vec<_> = (0..random.below(longest)).map(|_| random.below(256) as u8).collect();
            check(name, body, &data);
        }
    }
}

type Accepts = fn(&[u8]) -> bool;

/// A seed that no parser accepts would test nothing.
#[test]
fn every_parser_accepts_a_seed() {
    let seeds = seeds();
    let accepted: [(&str, Accepts); 11] = [
        ("rtp", |data| {
            wire::rtp::Header::parse(data).is_ok_and(|header| header.extensions(data).count() > 0)
        }),
        ("rtcp", |data| {
            wire::rtcp::packets(data).count() > 1 && wire::rtcp::packets(data).all(|packet| packet.is_ok())
        }),
        ("stun", |data| {
            wire::stun::Message::parse(data).is_ok_and(|message| message.fingerprinted && message.has_integrity())
        }),
        ("vp8", |data| {
            wire::vp8::Descriptor::parse(data).is_ok_and(|found| found.resolution.is_some())
        }),
        ("vp9", |data| {
            wire::vp9::Descriptor::parse(data).is_ok_and(|found| found.resolution().is_some())
        }),
        ("h264", |data| {
            wire::h264::Payload::parse(data).is_ok_and(|found| found.resolution().is_some())
        }),
        ("av1", |data| {
            wire::av1::Payload::parse(data).is_ok_and(|found| found.resolution().is_some())
        }),
        ("dependency", |data| {
            let descriptor = data.get(1..).map(wire::dependency::Descriptor::parse);
            matches!(descriptor, Some(Ok(found)) if matches!(found.structure(), Ok(Some(all)) if all.sizes().len() == 1))
        }),
        ("red", |data| {
            wire::red::Redundant::parse(data).is_ok_and(|found| found.blocks().count() > 0)
        }),
        ("ulpfec", |data| {
            wire::ulpfec::Packet::parse(data).is_ok_and(|found| found.higher().count() > 0)
        }),
        ("flexfec", |data| {
            wire::flexfec::Packet::parse(data).is_ok_and(|found| found.mask >> 46 != 0)
        }),
    ];
    for (name, accepts) in accepted {
        assert!(seeds.iter().any(|seed| accepts(seed)), "{name}");
    }
}

/// The programs for libFuzzer and the list of bodies are the same set.
#[test]
fn every_body_has_a_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut programs: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut bodies: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    programs.sort();
    bodies.sort();
    assert_eq!(programs, bodies);
}
