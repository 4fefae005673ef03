use super::*;

fn hex(digits: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(octet).collect()
}

const RECOVERY: Recovery = Recovery {
    flags: 0x10,
    kind: 0xe0,
    timestamp: 0x0102_0304,
    length: 0x0506,
};

/// The header by the figure of section 4.2.2.1, field by field.
#[test]
fn a_packet_by_hand() {
    let payload = hex(concat!(
        "10e00506",   // R, F, P, X, CC; M, PT; length
        "01020304",   // timestamp
        "01000000",   // one stream, reserved
        "11223344",   // its SSRC
        "fffe",       // base
        "d001",       // k, then the packets 0 ("1"), 2 ("01") and 14
        "aabbccddee", // parity
    ));
    let packet = Packet::parse(&payload).unwrap();
    assert_eq!(
        packet,
        Packet {
            recovery: RECOVERY,
            ssrc: 0x1122_3344,
            base: 65_534,
            mask: 1 | 1 << 2 | 1 << 14,
            parity: &[0xaa, 0xbb, 0xcc, 0xdd, 0xee],
        }
    );
    let mut out = [0; MAX_HEADER];
    let len = write_header(&mut out, &RECOVERY, packet.ssrc, packet.base, packet.mask).unwrap();
    assert_eq!(out[..len], payload[..20]);
}

/// Three sizes; the bit before each part says whether it is the last.
#[test]
fn masks_by_hand() {
    for (mask, wire) in [
        (1, "c000"),
        (1 << 14, "8001"),
        (1 << 15, "0000c0000000"),
        (1 | 1 << 45, "400080000001"),
        (1 << 46, "000000000000c000000000000000"),
        (1 | 1 << 15 | 1 << 47, "400040000000a000000000000000"),
        (1 << 108, "0000000000008000000000000001"),
        ((1 << 109) - 1, "7fff7fffffffffffffffffffffff"),
    ] {
        let mut out = [0; MAX_HEADER];
        let len = write_header(&mut out, &RECOVERY, 1, 2, mask).unwrap();
        assert_eq!(out[18..len], hex(wire), "{mask:b}");
        assert_eq!(Packet::parse(&out[..len]).map(|packet| packet.mask), Ok(mask));
        for short in 0..len {
            let written = write_header(&mut out[..short], &RECOVERY, 1, 2, mask);
            assert_eq!(written, Err(WriteError::BufferFull));
        }
    }
    for mask in [0, 1 << 109] {
        assert_eq!(write_header(&mut [0; 64], &RECOVERY, 1, 2, mask), Err(WriteError::Mask));
    }
}

#[test]
fn what_browsers_do_not_send_is_refused() {
    let whole = hex("10e0050601020304010000001122334400010000000000008000000000000001");
    assert!(Packet::parse(&whole).is_ok());
    for len in 0..whole.len() {
        assert_eq!(Packet::parse(&whole[..len]), Err(Error::Truncated), "{len}");
    }
    for (at, octet, error) in [
        (0, 0x80, Error::Kind),
        (0, 0x40, Error::Kind),
        (8, 0, Error::Streams),
        (8, 2, Error::Streams),
        (24, 0, Error::Mask),
        (31, 0, Error::Mask),
    ] {
        let mut other = whole.clone();
        other[at] = octet;
        assert_eq!(Packet::parse(&other), Err(error), "{at}");
    }
}
