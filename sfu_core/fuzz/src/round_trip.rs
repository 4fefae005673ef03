//! What is written comes back the same, and a buffer of any length is enough or is told to be too short.

use std::net::SocketAddr;

use wire::rtcp::{Packet, ccfb, nack as nacks, packets, remb as rembs, report as reports, twcc as feedback};
use wire::stun::{BINDING, Class, Message, Writer};
use wire::{ext, red as redundancy, rtp as packet};

use crate::input::Input;

const ROOM: usize = 1_500;

/// Header, extension and payload.
pub(crate) fn rtp(data: &[u8]) {
    let mut input = Input::new(data);
    let room = usize::from(input.u16()) % ROOM;
    let mut out = vec![0xee; room];
    let (marker, payload_type, sequence) = (input.bool(), input.u8() & 0x7f, input.u16());
    let (timestamp, ssrc) = (input.u32(), input.u32());
    let Ok(start) = packet::write_header(&mut out, marker, payload_type, sequence, timestamp, ssrc, true) else {
        return;
    };
    let form = if input.bool() {
        ext::Form::OneByte
    } else {
        ext::Form::TwoByte
    };
    let mut written = Vec::new();
    let mut writer = ext::Writer::new(&mut out[start..], form);
    while !input.is_empty() {
        let (id, value) = (input.u8(), input.some());
        match writer.put(id, value) {
            Ok(at) => written.push((id, value, at)),
            Err(ext::WriteError::Form) => assert!(!form.fits(id, value.len())),
            Err(ext::WriteError::BufferFull) => break,
        }
    }
    assert!(written.is_empty() || !writer.is_empty());
    let Ok(len) = writer.finish() else { return };
    let header = packet::Header::parse(&out).unwrap();
    assert_eq!(
        (header.marker, header.payload_type, header.sequence),
        (marker, payload_type, sequence)
    );
    assert_eq!(
        (header.timestamp, header.ssrc, header.len),
        (timestamp, ssrc, start + len)
    );
    let read: Vec<_> = header.extensions(&out).collect();
    let expected: Vec<_> = written.iter().map(|&(id, value, _)| (id, value)).collect();
    assert_eq!(read, expected);
    for (_, value, at) in written {
        assert_eq!(out[start + at..][..value.len()], *value);
    }
}

pub(crate) fn red(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let blocks: Vec<_> = (0..input.u8() % 5)
        .map(|_| redundancy::Block {
            payload_type: input.u8() & 0x7f,
            timestamp_offset: input.u16() & 0x3fff,
            data: input.some(),
        })
        .collect();
    let primary = redundancy::Primary {
        payload_type: input.u8() & 0x7f,
        data: input.rest(),
    };
    if let Ok(len) = redundancy::write(&mut out, primary, &blocks) {
        let read = redundancy::Redundant::parse(&out[..len]).unwrap();
        assert_eq!(read.primary, primary);
        assert_eq!(read.blocks().collect::<Vec<_>>(), blocks);
    }
}

pub(crate) fn report(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let ssrc = input.u32();
    let info = reports::SenderInfo {
        ntp: input.u64(),
        rtp_timestamp: input.u32(),
        packets: input.u32(),
        octets: input.u32(),
    };
    let mut blocks = Vec::new();
    while !input.is_empty() {
        blocks.push(reports::ReportBlock {
            ssrc: input.u32(),
            fraction_lost: input.u8(),
            cumulative_lost: input.u32() as i32 >> 8,
            highest_sequence: input.u32(),
            jitter: input.u32(),
            last_sender_report: input.u32(),
            delay: input.u32(),
        });
    }
    if let Ok(len) = reports::write_sender(&mut out, ssrc, &info, blocks.iter().copied()) {
        let Packet::SenderReport(read) = only(&out[..len]) else {
            panic!("not a sender report");
        };
        assert_eq!((read.ssrc, read.info), (ssrc, info));
        assert_eq!(read.blocks().collect::<Vec<_>>(), blocks);
    }
    if let Ok(len) = reports::write_receiver(&mut out, ssrc, blocks.iter().copied()) {
        let Packet::ReceiverReport(read) = only(&out[..len]) else {
            panic!("not a receiver report");
        };
        assert_eq!(read.ssrc, ssrc);
        assert_eq!(read.blocks().collect::<Vec<_>>(), blocks);
    }
}

pub(crate) fn nack(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let mut sequences = Vec::new();
    while !input.is_empty() {
        sequences.push(input.u16());
    }
    if let Ok(len) = nacks::write(&mut out, 1, 2, sequences.iter().copied()) {
        let Packet::Nack(read) = only(&out[..len]) else {
            panic!("not a negative acknowledgement");
        };
        // Order within a pair and repetitions may change, the set of numbers may not.
        let mut found: Vec<_> = read.sequences().collect();
        for list in [&mut found, &mut sequences] {
            list.sort_unstable();
            list.dedup();
        }
        assert_eq!(found, sequences);
    }
}

pub(crate) fn twcc(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let (serial, first) = (input.u8(), input.u16());
    // Below 2^24 references of 64 ms, so that the reference does not wrap.
    let mut clock = u64::from(input.u32()) * 200;
    let mut arrivals = Vec::new();
    while !input.is_empty() {
        let step = input.u8();
        let repeat = usize::from(if step >= 0xf0 { input.u8() } else { 0 });
        clock = match step % 4 {
            0 => clock + u64::from(input.u8()) * 100,
            1 => clock + u64::from(input.u16()) * 40,
            2 => clock.saturating_sub(u64::from(input.u16()) * 10),
            _ => clock + u64::from(input.u32()) / 256,
        };
        let arrival = (step & 0x08 == 0).then_some(clock);
        arrivals.extend(std::iter::repeat_n(arrival, 1 + repeat));
    }
    if let Ok(written) = feedback::write(&mut out, 1, 2, serial, first, arrivals.iter().copied()) {
        assert!((1..=arrivals.len()).contains(&written.told));
        let Packet::TransportWide(read) = only(&out[..written.len]) else {
            panic!("not transport-wide feedback");
        };
        assert_eq!((read.serial, read.statuses().count()), (serial, written.told));
        let reference = i64::from(read.reference) * 64_000;
        for (index, status) in read.statuses().enumerate() {
            assert_eq!(status.sequence, first.wrapping_add(index as u16));
            let expected = arrivals[index].map(|at| at as i64 / 250 * 250);
            assert_eq!(status.arrival.map(|at| at + reference), expected);
        }
    }
}

pub(crate) fn ccfb(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let timestamp = input.u32();
    let mut streams = Vec::new();
    while !input.is_empty() {
        let (ssrc, first) = (input.u32(), input.u16());
        let metrics: Vec<_> = input
            .some()
            .iter()
            .map(|&octet| {
                (octet & 1 != 0).then_some(ccfb::Metric {
                    ecn: octet >> 6,
                    offset: u16::from(octet) * 31,
                })
            })
            .collect();
        streams.push((ssrc, first, metrics));
    }
    if let Ok(len) = ccfb::write(&mut out, 1, timestamp, streams.iter().cloned()) {
        let Packet::CongestionControl(read) = only(&out[..len]) else {
            panic!("not congestion control feedback");
        };
        assert_eq!(read.timestamp, timestamp);
        let found: Vec<_> = read
            .reports()
            .map(|report| {
                let metrics: Vec<_> = report.metrics().map(|(_, metric)| metric).collect();
                (report.ssrc, report.first, metrics)
            })
            .collect();
        assert_eq!(found, streams);
    }
}

pub(crate) fn remb(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let bitrate = input.u64() >> (input.u8() % 64);
    let mut sources = Vec::new();
    while !input.is_empty() {
        sources.push(input.u32());
    }
    if let Ok(len) = rembs::write(&mut out, 1, bitrate, sources.iter().copied()) {
        let Packet::MaximumBitrate(read) = only(&out[..len]) else {
            panic!("not a bitrate limit");
        };
        assert!(read.bitrate <= bitrate && bitrate - read.bitrate <= bitrate >> 17);
        assert_eq!(read.sources().collect::<Vec<_>>(), sources);
    }
}

pub(crate) fn stun(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % ROOM];
    let class = [Class::Request, Class::Indication, Class::Success, Class::Error][usize::from(input.u8() % 4)];
    let (transaction, key) = (input.array(), input.array::<8>());
    let (priority, tiebreaker) = (input.u32(), input.u64());
    let address = if input.bool() {
        SocketAddr::from((input.array::<4>(), input.u16()))
    } else {
        SocketAddr::from((input.array::<16>(), input.u16()))
    };
    let name = String::from_utf8_lossy(input.some());
    // Types without a meaning of their own.
    let (kind, value) = (0x4000 | input.u16() & 0xbfff, input.rest());
    let written = Writer::new(&mut out, class, BINDING, &transaction)
        .username(&name)
        .priority(priority)
        .ice_controlling(tiebreaker)
        .xor_mapped_address(address)
        .attribute(kind, value)
        .integrity(&key)
        .fingerprint()
        .finish();
    if let Ok(len) = written {
        let message = Message::parse(&out[..len]).unwrap();
        assert_eq!((message.class, message.transaction), (class, transaction));
        assert_eq!(message.username(), Some(&*name));
        assert_eq!(
            (message.priority(), message.ice_controlling()),
            (Some(priority), Some(tiebreaker))
        );
        assert_eq!(message.xor_mapped_address(), Some(address));
        assert_eq!(message.attribute(kind), Some(value));
        assert!(message.fingerprinted && message.verify(&key));
    }
}

fn only(compound: &[u8]) -> Packet<'_> {
    let mut packets = packets(compound);
    let first = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    first
}
