//! Sealing of datagrams: AES-128-GCM with a key per direction and phase.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |1 1|ver|pha|kin|                 link id                       |
//! +-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//! |               |          number, 48 bits                      |
//! +-+-+-+-+-+-+-+-+               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                               | ciphertext, tag of 16 octets  |
//! ```
//!
//! The first octet lies above those of STUN, DTLS and RTP (RFC 7983), so that links share the port of clients. The header is
//! authenticated. Each kind counts for itself, and is part of the nonce.

use arrayvec::ArrayVec;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::link::Text;

const MARK: u8 = 0b1100_0000;
const VERSION: u8 = 0;
pub(crate) const TAG: usize = 16;
/// Of the cipher.
const BLOCK: usize = 16;
/// Blocks that it takes at a time.
const STRIDE: usize = 6;
/// What stands in front of a packet's payload. As much as fits is gathered before it is sealed; the payload is sealed from where it
/// lies.
pub type Head = ArrayVec<u8, MAX_HEAD>;
pub const MAX_HEAD: usize = 10 * BLOCK;
/// First octet, link id, number.
pub const HEADER: usize = 11;
/// Octets that a datagram is longer than what it carries.
pub const OVERHEAD: usize = HEADER + TAG;
/// A packet of a client, with what a link adds and room for parity. It fits an Ethernet frame beside IPv6 and UDP.
pub const MAX_DATAGRAM: usize = 1_452;
/// Numbers have 48 bits. A link ends long before its keys wear out; they are changed by the hour.
const MAX_NUMBER: u64 = (1 << 48) - 1;
const PHASES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Media = 0,
    Parity = 1,
    Control = 2,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not a datagram of a link of this version")]
    Malformed,
    #[error("sealed with a key that is not known")]
    Phase,
    #[error("not authentic")]
    Forged,
    #[error("has been here before, or is too old to tell")]
    Replayed,
}

/// Of one direction and phase.
#[derive(Clone)]
pub struct Keys {
    pub key: [u8; 16],
    pub salt: [u8; NONCE_LEN],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// The link that a datagram is for; `None` when it is none of a link of this version.
pub fn link_id(datagram: &[u8]) -> Option<u32> {
    let [first, a, b, c, d, ..] = *datagram else {
        return None;
    };
    (first & 0b1111_0000 == MARK | VERSION << 4 && datagram.len() >= OVERHEAD)
        .then_some(u32::from_be_bytes([a, b, c, d]))
}

struct Sealed {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl Sealed {
    fn new(keys: &Keys) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &keys.key).ok()?);
        Some(Self { key, salt: keys.salt })
    }

    fn nonce(&self, kind: Kind, number: u64) -> Nonce {
        let mut nonce = self.salt;
        nonce[0] ^= kind as u8;
        for (octet, number) in nonce[NONCE_LEN - 6..].iter_mut().zip(&number.to_be_bytes()[2..]) {
            *octet ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Returns the length of the datagram; `None` when it does not fit.
    fn seal<T: Text + ?Sized>(&self, link: u32, kind: Kind, stamp: Stamp, text: &T, out: &mut [u8]) -> Option<usize> {
        let mut lead = Head::new();
        text.write_head(&mut lead)?;
        let [middle, payload] = text.parts();
        let front = lead.len() + middle.len();
        let len = OVERHEAD + front + payload.len();
        let (header, rest) = out.get_mut(..len)?.split_at_mut_checked(HEADER)?;
        header[0] = MARK | VERSION << 4 | stamp.phase << 2 | kind as u8;
        header[1..5].copy_from_slice(&link.to_be_bytes());
        header[5..].copy_from_slice(&stamp.number.to_be_bytes()[2..]);
        let (nonce, aad) = (self.nonce(kind, stamp.number), Aad::from(&*header));
        // Whole blocks: the cipher is slow where it begins in the middle of one. And what lies before whole strides, for it takes
        // what is left over one by one again.
        let aligned = front.next_multiple_of(BLOCK) - front;
        let cut = aligned + payload.len().saturating_sub(aligned) / BLOCK % STRIDE * BLOCK;
        if cut <= payload.len() && front + cut <= MAX_HEAD {
            let (first, second) = payload.split_at(cut);
            lead.try_extend_from_slice(middle).ok()?;
            lead.try_extend_from_slice(first).ok()?;
            let (lead_out, rest) = rest.split_at_mut_checked(front + cut)?;
            self.key
                .seal_out_of_place_scatter(nonce, aad, &lead, lead_out, second, rest)
                .ok()?;
        } else {
            let (text, tag) = rest.split_at_mut_checked(front + payload.len())?;
            gather([&lead, middle, payload], text)?;
            let sealed = self.key.seal_in_place_separate_tag(nonce, aad, text).ok()?;
            tag.copy_from_slice(sealed.as_ref());
        }
        Some(len)
    }
}

/// One behind the other.
fn gather(parts: [&[u8]; 3], out: &mut [u8]) -> Option<()> {
    let mut rest = out;
    for part in parts {
        let (here, behind) = rest.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        rest = behind;
    }
    Some(())
}

/// Seals what is sent. The key before the current one is kept, for what is sent again.
pub(crate) struct Sealer {
    current: Sealed,
    former: Option<Sealed>,
    phase: u8,
    link: u32,
    next: [u64; 3],
}

/// What a datagram was sealed as: the same text under the same stamp is the same datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) number: u64,
    pub(crate) phase: u8,
}

impl Sealer {
    /// `None` when the key is refused by the cipher. `link`: the id that the receiver gave.
    pub(crate) fn new(link: u32, keys: &Keys) -> Option<Self> {
        Some(Self {
            current: Sealed::new(keys)?,
            former: None,
            phase: 0,
            link,
            next: [0; 3],
        })
    }

    /// Numbers go on; from now on the next phase is used. False when the key is refused.
    pub(crate) fn rotate(&mut self, keys: &Keys) -> bool {
        let Some(sealed) = Sealed::new(keys) else {
            return false;
        };
        self.former = Some(std::mem::replace(&mut self.current, sealed));
        self.phase = next_phase(self.phase);
        true
    }

    /// The number that the next datagram of the kind gets.
    pub(crate) fn next(&self, kind: Kind) -> u64 {
        self.next[kind as usize]
    }

    /// Writes the datagram into `out` and returns its stamp and length; `None` when it does not fit or numbers have run out.
    pub(crate) fn seal<T: Text + ?Sized>(&mut self, kind: Kind, text: &T, out: &mut [u8]) -> Option<(Stamp, usize)> {
        let stamp = Stamp {
            number: self.next(kind),
            phase: self.phase,
        };
        if stamp.number > MAX_NUMBER {
            return None;
        }
        let len = self.current.seal(self.link, kind, stamp, text, out)?;
        self.next[kind as usize] = stamp.number + 1;
        Some((stamp, len))
    }

    /// A datagram of media once more, from the same text, into `out`. `tag`: how the first one ended. Another text under the
    /// same number would give away both (NIST SP 800-38D section 8.3): it ends otherwise, and nothing of it is left in `out`.
    pub(crate) fn seal_again<T: Text + ?Sized>(
        &self,
        stamp: Stamp,
        tag: &[u8; TAG],
        text: &T,
        out: &mut [u8],
    ) -> Option<usize> {
        let sealed = if stamp.phase == self.phase {
            &self.current
        } else {
            self.former.as_ref().filter(|_| next_phase(stamp.phase) == self.phase)?
        };
        let len = sealed.seal(self.link, Kind::Media, stamp, text, out)?;
        let datagram = out.get_mut(..len)?;
        if !datagram.ends_with(tag) {
            datagram.fill(0);
            return None;
        }
        Some(len)
    }
}

fn next_phase(phase: u8) -> u8 {
    (phase + 1) % PHASES as u8
}

/// Opens what arrives. The key before the current one is kept, for what was under way.
pub(crate) struct Opener {
    phases: [Option<Sealed>; PHASES],
    newest: u8,
}

impl Opener {
    pub(crate) fn new(keys: &Keys) -> Option<Self> {
        let mut phases = [const { None }; PHASES];
        phases[0] = Some(Sealed::new(keys)?);
        Some(Self { phases, newest: 0 })
    }

    /// Takes the key of the next phase, before the sender uses it. False when it is refused by the cipher.
    pub(crate) fn rotate(&mut self, keys: &Keys) -> bool {
        let Some(sealed) = Sealed::new(keys) else {
            return false;
        };
        self.newest = next_phase(self.newest);
        self.phases[usize::from(self.newest)] = Some(sealed);
        self.phases[usize::from(self.newest + 2) % PHASES] = None;
        true
    }

    /// Kind, number and what it carries, decrypted in place. Nothing is believed of what is refused.
    pub(crate) fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<(Kind, u64, &'a mut [u8]), Refused> {
        let (kind, number) = numbered(datagram).ok_or(Refused::Malformed)?;
        let phase = datagram[0] >> 2 & 0b11;
        let sealed = self.phases[usize::from(phase)].as_ref().ok_or(Refused::Phase)?;
        let (header, rest) = datagram.split_at_mut_checked(HEADER).ok_or(Refused::Malformed)?;
        let body = sealed
            .key
            .open_in_place(sealed.nonce(kind, number), Aad::from(&*header), rest)
            .map_err(|_| Refused::Forged)?;
        Ok((kind, number, body))
    }
}

/// Kind and number as the header tells them, which anybody may have written.
pub(crate) fn numbered(datagram: &[u8]) -> Option<(Kind, u64)> {
    link_id(datagram)?;
    let kind = match datagram.first()? & 0b11 {
        0 => Kind::Media,
        1 => Kind::Parity,
        2 => Kind::Control,
        _ => return None,
    };
    let mut number = [0; 8];
    number[2..].copy_from_slice(datagram.get(5..HEADER)?);
    Some((kind, u64::from_be_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> Keys {
        Keys {
            key: [seed; 16],
            salt: [seed ^ 0xff; 12],
        }
    }

    struct Parts<'a>([&'a [u8]; 3]);

    impl Text for Parts<'_> {
        fn write_head(&self, out: &mut Head) -> Option<()> {
            out.try_extend_from_slice(self.0[0]).ok()
        }

        fn parts(&self) -> [&[u8]; 2] {
            [self.0[1], self.0[2]]
        }
    }

    fn sealed(sealer: &mut Sealer, kind: Kind, text: &[u8]) -> Vec<u8> {
        let mut out = [0; MAX_DATAGRAM];
        let (front, back) = text.split_at(text.len() / 2);
        let (_, len) = sealer.seal(kind, &Parts([&[], front, back]), &mut out).unwrap();
        out[..len].to_vec()
    }

    fn again(sealer: &Sealer, stamp: Stamp, first: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let mut out = [9; MAX_DATAGRAM];
        let tag = first.last_chunk().unwrap();
        match sealer.seal_again(stamp, tag, &Parts([&[], text, &[]]), &mut out) {
            Some(len) => Some(out[..len].to_vec()),
            None => {
                assert!(out.iter().all(|octet| [0, 9].contains(octet)), "something is left");
                None
            }
        }
    }

    #[test]
    fn how_a_text_is_cut_makes_no_difference() {
        let text: Vec<u8> = (0..1_200).map(|index| index as u8).collect();
        for len in [0, 1, 15, 16, 17, 100, 1_200] {
            let whole = sealed(&mut Sealer::new(7, &keys(1)).unwrap(), Kind::Media, &text[..len]);
            for (first, second) in [
                (0, 0),
                (5, 5),
                (27, 27),
                (27, 40),
                (100, 160),
                (200, 1_200),
                (1_200, 1_200),
            ] {
                let (first, second) = (first.min(len), second.min(len));
                let mut out = [0; MAX_DATAGRAM];
                let head = first.min(MAX_HEAD);
                let parts = Parts([&text[..head], &text[head..second], &text[second..len]]);
                let mut sealer = Sealer::new(7, &keys(1)).unwrap();
                let (_, sealed) = sealer.seal(Kind::Media, &parts, &mut out).unwrap();
                assert_eq!(out[..sealed], whole, "{len} {first} {second}");
            }
        }
    }

    #[test]
    fn the_same_text_again_is_the_same_datagram_and_another_is_none() {
        let mut sealer = Sealer::new(7, &keys(1)).unwrap();
        let stamp = |number, phase| Stamp { number, phase };
        let first = sealed(&mut sealer, Kind::Media, b"some octets");
        assert_eq!(again(&sealer, stamp(0, 0), &first, b"some octets"), Some(first.clone()));
        for (stamp, text) in [
            (stamp(0, 0), b"other octet".as_slice()),
            (stamp(0, 0), b"some"),
            (stamp(1, 0), b"some octets"),
            (stamp(0, 1), b"some octets"),
        ] {
            assert_eq!(again(&sealer, stamp, &first, text), None);
        }
        assert!(sealer.rotate(&keys(2)));
        assert_eq!(again(&sealer, stamp(0, 0), &first, b"some octets"), Some(first.clone()));
        assert!(sealer.rotate(&keys(3)));
        assert_eq!(again(&sealer, stamp(0, 0), &first, b"some octets"), None);
    }

    #[test]
    fn what_is_sealed_opens_with_kind_and_number() {
        let (mut sealer, opener) = (Sealer::new(7, &keys(1)).unwrap(), Opener::new(&keys(1)).unwrap());
        for number in 0..3 {
            for kind in [Kind::Media, Kind::Parity, Kind::Control] {
                let mut datagram = sealed(&mut sealer, kind, b"some octets");
                assert_eq!(link_id(&datagram), Some(7));
                assert!(datagram[0] >= 192, "{:#x}", datagram[0]);
                let opened = opener.open(&mut datagram).unwrap();
                assert_eq!(
                    (opened.0, opened.1, &*opened.2),
                    (kind, number, b"some octets".as_slice())
                );
            }
        }
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let (mut sealer, opener) = (Sealer::new(7, &keys(1)).unwrap(), Opener::new(&keys(1)).unwrap());
        let good = sealed(&mut sealer, Kind::Media, b"some octets");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open(&mut bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(opener.open(&mut good[..len].to_vec()).is_err(), "{len} octets");
        }
        let other = Opener::new(&keys(2)).unwrap();
        assert_eq!(other.open(&mut good.clone()).unwrap_err(), Refused::Forged);
    }

    #[test]
    fn keys_rotate_while_datagrams_are_under_way() {
        let (mut sealer, mut opener) = (Sealer::new(7, &keys(0)).unwrap(), Opener::new(&keys(0)).unwrap());
        let mut former: Option<Vec<u8>> = None;
        for phase in 1..10 {
            let mut late = sealed(&mut sealer, Kind::Media, b"late");
            assert!(opener.rotate(&keys(phase)));
            assert!(sealer.rotate(&keys(phase)));
            assert!(opener.open(&mut late.clone()).is_ok());
            assert!(opener.open(&mut sealed(&mut sealer, Kind::Media, b"new")).is_ok());
            if let Some(mut former) = former.replace(std::mem::take(&mut late)) {
                assert!(opener.open(&mut former).is_err(), "two phases back");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_numbered() {
        let mut sealer = Sealer::new(7, &keys(0)).unwrap();
        assert_eq!(
            sealer.seal(Kind::Media, &Parts([b"four", b"", b""]), &mut [0; OVERHEAD + 3]),
            None
        );
        let long = [0; MAX_HEAD + 1];
        assert_eq!(
            sealer.seal(Kind::Media, &Parts([&long, b"", b""]), &mut [0; MAX_DATAGRAM]),
            None
        );
        assert_eq!(sealer.next(Kind::Media), 0);
    }
}
