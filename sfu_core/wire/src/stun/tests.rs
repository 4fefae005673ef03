//! Published vectors (RFC 5769), malformed messages, round trips.

use super::*;

const TRANSACTION: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1.
const REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf,
    0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65,
    0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51,
    0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20,
    0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2,
    0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 section 2.2.
const RESPONSE_IPV4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf,
    0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20,
    0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd,
    0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04,
    0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 section 2.3.
const RESPONSE_IPV6: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf,
    0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20,
    0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
    0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c,
    0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41, 0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

#[test]
fn published_request() {
    let message = Message::parse(&REQUEST).unwrap();
    assert_eq!(
        (message.class, message.method, message.transaction),
        (Class::Request, BINDING, TRANSACTION)
    );
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
    assert_eq!(message.ice_controlling(), None);
    assert!(!message.use_candidate());
    assert!(message.fingerprinted && message.has_integrity());
    assert_eq!(message.not_understood().count(), 0);
    assert!(message.verify(PASSWORD));
    assert!(!message.verify(b"VOkJxbRl1RmTxUk/WvJxBu") && !message.verify(b""));
}

#[test]
fn published_responses() {
    for (datagram, address) in [
        (&RESPONSE_IPV4[..], "192.0.2.1:32853"),
        (&RESPONSE_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = Message::parse(datagram).unwrap();
        assert_eq!((message.class, message.method), (Class::Success, BINDING));
        assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
        assert!(message.verify(PASSWORD));
    }
}

#[test]
fn writes_the_published_response() {
    let mut out = [0; 128];
    // Padded by a space there, by zeros here: integrity and fingerprint differ.
    let len = Writer::new(&mut out, Class::Success, BINDING, &TRANSACTION)
        .software("test vector")
        .xor_mapped_address("192.0.2.1:32853".parse().unwrap())
        .integrity(PASSWORD)
        .fingerprint()
        .finish()
        .unwrap();
    assert_eq!(len, RESPONSE_IPV4.len());
    assert_eq!(
        (&out[..35], &out[36..52]),
        (&RESPONSE_IPV4[..35], &RESPONSE_IPV4[36..52])
    );
    // With the space as part of the name everything but its length is the same.
    let len = Writer::new(&mut out, Class::Success, BINDING, &TRANSACTION)
        .attribute(attribute::SOFTWARE, b"test vector ")
        .xor_mapped_address("192.0.2.1:32853".parse().unwrap())
        .finish()
        .unwrap();
    assert_eq!(out[24..len], RESPONSE_IPV4[24..len]);
}

#[test]
fn a_changed_bit_is_noticed() {
    for bit in 0..REQUEST.len() * 8 {
        let mut datagram = REQUEST;
        datagram[bit / 8] ^= 1 << (bit % 8);
        // A changed type or length can hide the fingerprint; the integrity still does not fit.
        let before_fingerprint = bit < 100 * 8;
        let accepted = Message::parse(&datagram)
            .is_ok_and(|message| message.fingerprinted || before_fingerprint && message.verify(PASSWORD));
        assert!(!accepted, "bit {bit}");
    }
    // Without the fingerprint only the integrity notices.
    let mut datagram = REQUEST[..100].to_vec();
    datagram[3] = 80;
    assert!(Message::parse(&datagram).unwrap().verify(PASSWORD));
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let accepted = Message::parse(&changed).is_ok_and(|message| message.verify(PASSWORD));
        assert!(!accepted, "bit {bit}");
    }
}

#[test]
fn no_length_of_a_message_panics() {
    for len in 0..REQUEST.len() {
        assert!(Message::parse(&REQUEST[..len]).is_err());
        let mut datagram = REQUEST[..len].to_vec();
        if let Some(field) = datagram.get_mut(2..4) {
            field.copy_from_slice(&(len.saturating_sub(20) as u16).to_be_bytes());
        }
        if let Ok(message) = Message::parse(&datagram) {
            assert!(len == 20 || message.attributes().count() > 0);
        }
    }
}

#[test]
fn malformed() {
    let header = &REQUEST[4..20];
    let message = |content: &[u8]| {
        let mut datagram = vec![0, 1];
        datagram.extend((content.len() as u16).to_be_bytes());
        datagram.extend(header);
        datagram.extend(content);
        Message::parse(&datagram).map(|_| ())
    };
    for (content, expected) in [
        (&[][..], Ok(())),
        (&[0, 6, 0, 1, b'a', 0, 0, 0], Ok(())),
        (&[0, 6, 0, 1], Err(Error::Attribute)),
        (&[0, 6, 0xff, 0xff, 0, 0, 0, 0], Err(Error::Attribute)),
        (&[0, 6, 0], Err(Error::Length)),
        (&[0, 8, 0, 4, 0, 0, 0, 0], Err(Error::Attribute)),
        (&[0x80, 0x28, 0, 4, 0, 0, 0, 0], Err(Error::Fingerprint)),
        (&[0x80, 0x28, 0, 0], Err(Error::Fingerprint)),
    ] {
        assert_eq!(message(content), expected, "{content:?}");
    }
    let mut datagram = REQUEST;
    datagram[4] = 0;
    assert_eq!(Message::parse(&datagram), Err(Error::NotStun));
}

/// What is behind MESSAGE-INTEGRITY is not authenticated: an attacker could add it.
#[test]
fn attributes_behind_the_integrity_are_not_there() {
    let mut out = [0; 256];
    let len = Writer::new(&mut out, Class::Request, BINDING, &TRANSACTION)
        .username("a:b")
        .integrity(PASSWORD)
        .use_candidate()
        .priority(7)
        .attribute(0x7777, &[])
        .fingerprint()
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert!(message.verify(PASSWORD));
    assert_eq!(message.username(), Some("a:b"));
    assert!(!message.use_candidate() && message.priority().is_none());
    assert_eq!(message.not_understood().count(), 0);
}

#[test]
fn request_round_trip() {
    let mut out = [0; 256];
    let len = Writer::new(&mut out, Class::Request, BINDING, &TRANSACTION)
        .software("x")
        .username("remote:local")
        .priority(0x6e00_01ff)
        .ice_controlling(u64::MAX - 1)
        .use_candidate()
        .attribute(0x0030, &[1, 2, 3])
        .integrity(b"key")
        .fingerprint()
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert!(message.verify(b"key") && message.fingerprinted);
    assert_eq!(message.username(), Some("remote:local"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.ice_controlling(), Some(u64::MAX - 1));
    assert!(message.use_candidate());
    assert_eq!(message.attribute(attribute::SOFTWARE), Some(&b"x"[..]));
    assert_eq!(message.not_understood().collect::<Vec<_>>(), [0x0030]);
}

#[test]
fn error_round_trip() {
    let mut out = [0; 256];
    let len = Writer::new(&mut out, Class::Error, BINDING, &TRANSACTION)
        .error_code(487, "Role Conflict")
        .unknown_attributes([0x0030, 0x0031, 0x0032])
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!((message.class, message.fingerprinted), (Class::Error, false));
    assert_eq!(message.error_code(), Some((487, "Role Conflict")));
    assert_eq!(
        message.unknown_attributes().collect::<Vec<_>>(),
        [0x0030, 0x0031, 0x0032]
    );
    assert!(!message.has_integrity() && !message.verify(b""));
    let len = Writer::new(&mut out, Class::Error, BINDING, &TRANSACTION)
        .unknown_attributes(0..100)
        .finish()
        .unwrap();
    assert_eq!(Message::parse(&out[..len]).unwrap().unknown_attributes().count(), 16);
}

#[test]
fn values_of_a_wrong_size_are_not_there() {
    let mut out = [0; 256];
    let len = Writer::new(&mut out, Class::Request, BINDING, &TRANSACTION)
        .attribute(attribute::PRIORITY, &[1])
        .attribute(attribute::ICE_CONTROLLED, &[1; 7])
        .attribute(attribute::ICE_CONTROLLING, &[1; 9])
        .attribute(attribute::USERNAME, &[0xff])
        .attribute(attribute::ERROR_CODE, &[0, 0, 2, 0])
        .attribute(attribute::XOR_MAPPED_ADDRESS, &[0])
        .finish()
        .unwrap();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.priority(), None);
    assert_eq!((message.ice_controlled(), message.ice_controlling()), (None, None));
    assert_eq!((message.username(), message.error_code()), (None, None));
    assert_eq!(message.xor_mapped_address(), None);
}

#[test]
fn every_class_and_method() {
    for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
        for method in 0..0x1000 {
            let kind = kind_of(class, method);
            assert_eq!((class_of(kind), method_of(kind)), (class, method));
            assert_eq!(kind & 0xc000, 0);
        }
    }
    assert_eq!(kind_of(Class::Success, BINDING), 0x0101);
    assert_eq!(kind_of(Class::Error, BINDING), 0x0111);
}

#[test]
fn a_full_buffer_is_told() {
    for room in 0..76 {
        let mut out = vec![0; room];
        let written = Writer::new(&mut out, Class::Request, BINDING, &TRANSACTION)
            .username("12345678")
            .use_candidate()
            .ice_controlling(1)
            .integrity(b"key")
            .fingerprint()
            .finish();
        assert_eq!(written, Err(crate::BufferFull), "{room}");
    }
}
