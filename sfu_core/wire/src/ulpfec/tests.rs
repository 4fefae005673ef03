use super::*;
use crate::fec::toggle;
use crate::rtp::{FIXED_HEADER, Header};

/// Four packets and the two parity packets that GStreamer 1.22 (`rtpulpfecenc percentage=50 multipacket=true`) made of them.
const MEDIA: [&str; 4] = [
    "8060fffe000003e811223344010203040506070809",
    "9060ffff000003e811223344bede000110800000aaaaaaaaaa",
    "80600000000003e81122334468656c6c6f",
    "80e00001000003e811223344070707070707070707070707",
];
const PARITY: [&str; 2] = [
    "1000fffe000000000004000dc000bfdc030515860708a3aaaaaaaa",
    "00800000000000000009000cc0006f626b6b6807070707070707",
];

fn hex(digits: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(octet).collect()
}

/// Recovery fields and bit string of some packets together.
fn parity(packets: &[Vec<u8>]) -> (Recovery, Vec<u8>) {
    let mut recovery = Recovery::default();
    let mut bits = vec![0; packets.iter().map(Vec::len).max().unwrap() - FIXED_HEADER];
    for packet in packets {
        let (fixed, rest) = packet.split_first_chunk().unwrap();
        let payload_type = Header::parse(packet).unwrap().payload_type;
        recovery.toggle(&Recovery::of(fixed, payload_type, rest.len() as u16));
        toggle(&mut bits, rest);
    }
    (recovery, bits)
}

#[test]
fn writes_what_gstreamer_writes() {
    let media = MEDIA.map(hex);
    for (pair, expected) in [(&media[..2], PARITY[0]), (&media[2..], PARITY[1])] {
        let (recovery, bits) = parity(pair);
        let base = Header::parse(&pair[0]).unwrap().sequence;
        let mut out = [0; 64];
        let len = write_header(&mut out, &recovery, base, 0b11, bits.len() as u16).unwrap();
        assert_eq!([&out[..len], &bits].concat(), hex(expected));
    }
}

#[test]
fn recovers_from_what_gstreamer_writes() {
    let media = MEDIA.map(hex);
    let payload = hex(PARITY[0]);
    let packet = Packet::parse(&payload).unwrap();
    assert_eq!(
        (packet.base, packet.first.mask, packet.higher().count()),
        (65_534, 0b11, 0)
    );
    // The first is lost.
    let (mut recovery, mut bits) = (packet.recovery, packet.first.parity.to_vec());
    let (known, rest) = parity(&media[1..2]);
    recovery.toggle(&known);
    toggle(&mut bits, &rest);
    bits.truncate(usize::from(recovery.length));
    let header = recovery.fixed_header(65_534, 0x1122_3344);
    assert_eq!([&header[..], &bits].concat(), media[0]);
}

#[test]
fn masks_by_hand() {
    // RFC 5109 figure 4: bit 0 of the mask is the leftmost.
    for (mask, long, wire) in [
        (0b1, false, "8000"),
        (0b1010, false, "5000"),
        (1 << 15, false, "0001"),
        (1 << 16, true, "000080000000"),
        (1 << 47 | 1, true, "800000000001"),
    ] {
        let mut out = [0; MAX_HEADER];
        let len = write_header(&mut out, &Recovery::default(), 7, mask, 0).unwrap();
        assert_eq!(out[12..len], hex(wire), "{mask:b}");
        assert_eq!(out[0] & LONG_MASK != 0, long);
        assert_eq!(Packet::parse(&out[..len]).unwrap().first.mask, mask);
    }
    for mask in [0, 1 << 48] {
        let written = write_header(&mut [0; 64], &Recovery::default(), 7, mask, 0);
        assert_eq!(written, Err(WriteError::Mask));
    }
}

/// After the scheme of RFC 5109 section 10.2: level 0 covers a part of four packets, level 1 the rest of two.
#[test]
fn levels_by_hand() {
    let payload = hex(concat!(
        "00e0000800000005014a", // header: base 8
        "0003f000010203",       // level 0: 3 octets of packets 8 to 11
        "0002300009080001",     // level 1: 2 octets of packets 10 and 11; then the beginning of another
    ));
    let packet = Packet::parse(&payload).unwrap();
    assert_eq!(
        packet.recovery,
        Recovery {
            flags: 0,
            kind: 0xe0,
            timestamp: 5,
            length: 330
        }
    );
    let level = |mask, offset, parity| Level { mask, offset, parity };
    assert_eq!(packet.first, level(0b1111, 0, &[1, 2, 3]));
    assert_eq!(packet.higher().collect::<Vec<_>>(), [level(0b1100, 3, &[9, 8])]);
}

#[test]
fn malformed() {
    let whole = hex(PARITY[0]);
    for len in 0..whole.len() {
        assert_eq!(Packet::parse(&whole[..len]), Err(Error::Truncated), "{len}");
    }
    let mut other = whole.clone();
    other[0] |= EXTENDED;
    assert_eq!(Packet::parse(&other), Err(Error::Extended));
    other = whole.clone();
    other[12] = 0;
    assert_eq!(Packet::parse(&other), Err(Error::Mask));
    let mut out = [0; MAX_HEADER];
    let len = write_header(&mut out, &Recovery::default(), 0, 1 << 20, 9).unwrap();
    assert_eq!(len, MAX_HEADER);
    for short in 0..len {
        let written = write_header(&mut out[..short], &Recovery::default(), 0, 1 << 20, 9);
        assert_eq!(written, Err(WriteError::BufferFull));
    }
}
