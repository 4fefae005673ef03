//! Well-formed inputs to start from.

use wire::ext::{AbsSendTime, AudioLevel, Form, Writer as Extensions};
use wire::rtcp::{bye, ccfb, fir, nack, pli, remb, report, sdes, twcc};
use wire::stun::{BINDING, Class, Writer as Stun};
use wire::{red, rtp};

/// One or more of each format.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        // DTLS ClientHello, its first octets.
        hex("16fefd0000000000000000007a010000"),
        // VP8: keyframe of 320 by 180 behind a full descriptor, then a frame with a picture id of 7 bits.
        hex("90f092340765d00f009d012a4001b400"),
        hex("8080071109000"),
        // VP9: keyframe with a structure of three layers and one of one, then flexible mode.
        hex("8a92340a50014000b4028001680500 02d0"),
        hex("aa923400071802800168010401"),
        hex("702003050600"),
        // H.264: parameters and a slice in an aggregate, first and last fragment, a slice.
        hex("780018 6742c01eda0280bfe584000003000400000300f23c58ba80 000468ce0fc8 0003658880"),
        hex("7c85888400"),
        hex("7c45888400"),
        hex("619a0102"),
        // AV1: sequence header and frame; elements that all have a length.
        hex("280c 080000000cc4ff671abe6010 30100000"),
        hex("000210000330aabb"),
        // Dependency descriptors in the form of their target: two templates and two targets, then a frame.
        hex("0f c5000180a11eb85345009409fc059c c70002"),
        // ULPFEC of two packets; with a second level; flexfec-03 with the short and the long mask.
        hex("1000fffe000000000004000dc000bfdc030515860708a3aaaaaaaa"),
        hex("00e0000800000005014a 0003f000010203 000230000908"),
        hex("10e00506010203040100000000000007fffed001aabbccddee"),
        hex("10e005060102030401000000000000070001 400040000000a000000000000000 aabb"),
        // A decoder: media, then a repair of it and another.
        hex("010b 11 80600005000000000000000 7aabbccdd 00 18 00e000040000000001000000000000070004e000aabbccdd0011"),
        // An encoder: half the budget, frames of three packets, one of which is lost.
        hex("0100050000000000 ff0200 0644 0542 0643 01 0644 0642 0543"),
        // Two ends: packets, messages, time, keys; fates of what is under way.
        hex("0010 00 0020 00 02 0182 03 02 0181 00 00 ff 0113 0030 010b 03 0005 013b ff 00 82 0153 00 04 2c 010a 0113"),
        // A liar: a packet, a report that asks, a sum of numbers.
        hex(
            "10 0004 01020304 11 003b 000000001000 000000000000 00000000 000000000009 000000000003 00000002 00000001 00000001 \
             01 000000000001 000000000000000f 12 0010 0000000000010005 01020304 05060708",
        ),
        // An engine's other end: formats of its mirror, what is active, a packet; it attaches and wants layers.
        hex(
            "05 1f 05 0000000000000003 01 00 0000000000000009 00 60 03 00015f90 07 00 0000 \
             05 0b 07 0000000000000003 00 03 04 28 0000000000000003 00 00 60 00000000 000000010005 000000000077 90f092340765d00f009d012a4001b400 \
             03 0a 01 0000000000000001 02 03 0b 03 0000000000000001 01 01 03 0a 04 0000000000000001 00 01 01 0a 01 01 0b 03 02 0000000000000001",
        ),
        // A stream through a node: what is wanted, then frames by layer, behind some that were left out.
        hex("00 00 01 02 04 05 06 08 09 0a 00 01 02 10 05 00 01 40 41 31 05 06 07 00"),
        hex("11 00 01 02 04 05 06 08 09 0a 00 81 82 1005 00 21 0506 40 41 00"),
    ];
    seeds.extend([audio(), redundant(), request(), response(), hello(), recoverable()]);
    seeds.extend(LINKS.map(|json| json.as_bytes().to_vec()));
    seeds.extend(compounds());
    // As the targets for bodies of RTCP packets and for extensions want them.
    let bodies: Vec<_> = compounds()
        .iter()
        .map(|compound| [&[compound[0] & 0x1f, compound[1] - 200], &compound[4..]].concat())
        .collect();
    seeds.extend(bodies);
    seeds.push(hex("0010b2403000000000"));
    seeds.push(hex("01000101b2040130000000"));
    seeds
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// Networks of the emulator: one of everything.
const LINKS: [&str; 3] = [
    r#"{"capacity":1000000,"delay_ms":50.5,"queue":{"ms":300},"aqm":{"codel":{"target_ms":5,"interval_ms":100}},"jitter":{"max_ms":30,"shape":"normal"},"reorder":{"probability":0.01,"extra_ms":20},"duplicate":0.1,"loss":{"gilbert_elliott":{"mean":0.05,"burst":5}},"script":[[0.4,{"capacity":2500000}],[0.5,{"add_delay_ms":50}],[0.6,{"loss":"none"}]]}"#,
    r#"{"capacity":{"steps":[[0,1000000],[0.5,0]],"period_s":2},"queue":{"bytes":3000},"loss":{"independent":0.5},"script":[[0.1,{"queue":{"ms":1}}],[0.2,{"jitter":{"max_ms":1,"reorders":true}}],[0.3,{"delay_ms":7}],[0.4,{"duplicate":1}],[0.5,{"reorder":null}]]}"#,
    r#"{"capacity":{"opportunities_ms":[1,2.5,2.5]},"loss":{"gilbert_elliott":{"enter":0.1,"leave":0.2,"loss_in_good":0,"loss_in_bad":0.9}},"script":[[0.01,{"capacity":"unlimited"}]]}"#,
];

/// A datagram with a ClientHello that offers SRTP, behind its length.
fn hello() -> Vec<u8> {
    hex("005f 16fefd00000000000000000052 010000460000000000000046 \
         fefd 0707070707070707070707070707070707070707070707070707070707070707 00 00 0002c02b 0100 \
         001a 000a00040002001d 000e0009 0006000100080007 00 00170000")
}

/// Redundancy behind number, time and duration.
fn recoverable() -> Vec<u8> {
    [hex("00000100 00010000 03c0 00"), redundant()].concat()
}

/// What a writer puts into a buffer.
fn written<E: std::fmt::Debug>(write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Vec<u8> {
    let mut out = vec![0; 1_500];
    let len = write(&mut out).unwrap();
    out.truncate(len);
    out
}

fn audio() -> Vec<u8> {
    let mut packet = written(|out| rtp::write_header(out, true, 111, 65_535, 960, 0xdead_beef, true));
    packet.extend(written(|out| {
        let mut extensions = Extensions::new(out, Form::OneByte);
        let level = AudioLevel { voice: true, level: 20 };
        extensions.put(1, &level.bytes())?;
        extensions.put(2, &AbsSendTime::from_micros(1_234_567).bytes())?;
        extensions.put(3, &[0, 9])?;
        extensions.put(4, b"mid")?;
        extensions.finish()
    }));
    packet.extend([0x78; 40]);
    packet
}

fn redundant() -> Vec<u8> {
    let block = |timestamp_offset, data| red::Block {
        payload_type: 111,
        timestamp_offset,
        data,
    };
    let primary = red::Primary {
        payload_type: 111,
        data: b"newest",
    };
    written(|out| red::write(out, primary, &[block(1_920, b"oldest"), block(960, b"old")]))
}

fn request() -> Vec<u8> {
    written(|out| {
        Stun::new(out, Class::Request, BINDING, b"transaction1")
            .username("local:remote")
            .priority(0x6e00_01ff)
            .ice_controlling(7)
            .use_candidate()
            .integrity(b"password")
            .fingerprint()
            .finish()
    })
}

fn response() -> Vec<u8> {
    written(|out| {
        Stun::new(out, Class::Success, BINDING, b"transaction1")
            .xor_mapped_address(([192, 0, 2, 1], 4_000).into())
            .error_code(420, "Unknown Attribute")
            .unknown_attributes([0x30])
            .fingerprint()
            .finish()
    })
}

fn compounds() -> Vec<Vec<u8>> {
    let block = report::ReportBlock {
        ssrc: 1,
        cumulative_lost: -1,
        ..Default::default()
    };
    let info = report::SenderInfo::default();
    let arrivals = [
        Some(1_000_000),
        None,
        Some(1_000_500),
        Some(1_200_000),
        None,
        None,
        None,
        None,
    ];
    let feedback = |out: &mut [u8]| twcc::write(out, 1, 2, 3, 65_534, arrivals.into_iter()).map(|written| written.len);
    let metric = ccfb::Metric { ecn: 1, offset: 5 };
    let picture_loss = pli::PictureLoss {
        sender_ssrc: 1,
        media_ssrc: 2,
    };
    let request = fir::Entry { ssrc: 2, serial: 1 };
    let single = vec![
        written(|out| report::write_sender(out, 9, &info, [block])),
        written(|out| report::write_receiver(out, 9, [block, block])),
        written(|out| sdes::write_cname(out, 9, "canonical")),
        written(|out| bye::write(out, [9, 10])),
        written(|out| nack::write(out, 1, 2, [65_535, 0, 5, 100])),
        written(|out| picture_loss.write(out)),
        written(|out| fir::write(out, 1, [request])),
        written(feedback),
        written(|out| ccfb::write(out, 1, 9, [(2, 65_535, [Some(metric), None, Some(metric)])])),
        written(|out| remb::write(out, 1, 2_500_000, [2, 3])),
    ];
    let all = single.concat();
    single.into_iter().chain([all]).collect()
}
