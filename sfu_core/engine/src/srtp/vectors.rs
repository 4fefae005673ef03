//! Test vectors of RFC 3711 appendix B and RFC 7714 sections 16 and 17.

use super::cipher::{Cipher, Cm, Gcm};
use super::derive::{Derivation, Label};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// RFC 3711 appendix B.2.
#[test]
fn aes_cm_key_stream() {
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let cm = Cm::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), &[0; 20], salt).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    cm.apply(0, 0, &mut stream);
    for (block, want) in [
        (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(stream[block * 16..][..16], hex(want), "{block:#x}");
    }
}

/// RFC 3711 appendix B.3.
#[test]
fn aes_cm_key_derivation() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let derivation = Derivation::new(&key, &hex("0EC675AD498AFEEBB6960B3AABE6")).unwrap();
    assert_eq!(
        derivation.derive::<16>(Label::Encryption, 0)[..],
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derivation.derive::<14>(Label::Salt, 0)[..],
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    let auth = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098\
                6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2DC68";
    assert_eq!(derivation.derive::<94>(Label::Authentication, 0)[..], hex(auth)[..94]);
}

const RTP: &str = "8040f17b 8041f8d3 5501a0b2
    47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573";
const RTCP: &str = "81c8000d 4d617273
    4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef";
const RTP_SSRC: u32 = 0x5501_a0b2;
const RTCP_SSRC: u32 = 0x4d61_7273;
const RTCP_INDEX: u32 = 0x5d4;

/// With the session key and salt of RFC 7714, the same for both protocols.
fn gcm(key_len: u8) -> Cipher {
    let key: Vec<u8> = (0..key_len).collect();
    let salt: [u8; 12] = hex("51756964 2070726f 2071756f").try_into().unwrap();
    Cipher::Gcm {
        rtp: Gcm::new(&key, salt).unwrap(),
        rtcp: Gcm::new(&key, salt).unwrap(),
    }
}

/// RFC 7714 sections 16.1.1 and 16.2.1.
#[test]
fn gcm_rtp() {
    for (key_len, want) in [
        (
            16,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
             51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            32,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02
             76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let cipher = gcm(key_len);
        let mut packet = hex(RTP);
        packet.extend([0; 16]);
        cipher.seal_rtp(RTP_SSRC, 0xf17b, &mut packet, 12).unwrap();
        assert_eq!(packet, hex(want));
        let len = cipher.open_rtp(RTP_SSRC, 0xf17b, &mut packet, 12).unwrap();
        assert_eq!(packet[..len], hex(RTP));
    }
}

/// RFC 7714 sections 17.1 and 17.3.
#[test]
fn gcm_rtcp() {
    for (key_len, want) in [
        (
            16,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46
             86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            32,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658
             c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let cipher = gcm(key_len);
        let mut packet = hex(RTCP);
        packet.extend([0; 20]);
        cipher.seal_rtcp(RTCP_SSRC, RTCP_INDEX, &mut packet).unwrap();
        assert_eq!(packet, hex(want));
        assert_eq!(cipher.rtcp_index(&packet), Ok(RTCP_INDEX));
        let len = cipher.open_rtcp(RTCP_SSRC, RTCP_INDEX, &mut packet).unwrap();
        assert_eq!(packet[..len], hex(RTCP));
    }
}

/// RFC 7714 section 17.2: tagged, not encrypted.
#[test]
fn gcm_rtcp_in_the_clear() {
    let mut packet = [hex(RTCP), hex("841dd968 3dd78ec9 2ae58790 125f62b3 000005d4")].concat();
    let len = gcm(16).open_rtcp(RTCP_SSRC, RTCP_INDEX, &mut packet).unwrap();
    assert_eq!(packet[..len], hex(RTCP));
    packet[10] ^= 1;
    assert!(gcm(16).open_rtcp(RTCP_SSRC, RTCP_INDEX, &mut packet).is_err());
}
