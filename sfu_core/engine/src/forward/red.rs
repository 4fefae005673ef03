//! The primary block of a RED payload, for subscribers without RED (RFC 2198 section 3).

/// `None` when the payload is malformed.
pub(super) fn primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut at, mut redundant) = (0, 0);
    loop {
        match payload.get(at..)? {
            // F bit, block payload type, 14 bits of timestamp offset, 10 bits of length.
            [head, _, high, low, ..] if head & 0x80 != 0 => {
                redundant += usize::from(*high & 3) << 8 | usize::from(*low);
                at += 4;
            }
            [head, ..] if head & 0x80 == 0 => return payload.get(at + 1 + redundant..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (&[111, 1, 2], Some(&[1, 2])),
            (&[0x80 | 111, 0, 0, 2, 111, 9, 9, 1, 2], Some(&[1, 2])),
            (&[0x80 | 111, 0, 0, 1, 0x80 | 111, 0, 0, 2, 111, 8, 9, 9, 1], Some(&[1])),
            (&[0x80 | 111, 0, 3, 0xff, 111, 9], None),
            (&[0x80 | 111, 0, 0], None),
            (&[], None),
        ];
        for (payload, expected) in cases {
            assert_eq!(primary(payload), expected, "{payload:?}");
        }
    }
}
