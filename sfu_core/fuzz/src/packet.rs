//! Datagrams, RTP headers and their extensions, wrapping numbers.

use wire::demux::{Kind, classify};
use wire::ext::{self, AbsCaptureTime, AbsSendTime, AudioLevel, PlayoutDelay, VideoOrientation};
use wire::{rtp, seq};

use crate::input::Input;

pub(crate) fn demux(data: &[u8]) {
    let shortest = match classify(data) {
        None => return,
        Some(Kind::Stun) => 20,
        Some(Kind::Dtls) => 13,
        Some(Kind::Rtp) => 12,
        Some(Kind::Rtcp) => 8,
    };
    assert!(data.len() >= shortest);
}

pub(crate) fn rtp(data: &[u8]) {
    let Ok(header) = rtp::Header::parse(data) else { return };
    assert!((rtp::FIXED_HEADER..=data.len()).contains(&header.len));
    assert!(header.payload_type < 128);
    if let Some(extension) = header.extension {
        assert!(extension.start <= extension.end && extension.end == header.len);
    }
    let values: usize = header.extensions(data).map(|(_, value)| value.len()).sum();
    assert!(values <= header.len);
    if let Ok(payload) = rtp::payload(data, &header) {
        assert!(header.len + payload.len() <= data.len());
        assert_eq!(data[header.len..][..payload.len()], *payload);
    }
    // A header that belongs to a longer packet must do no harm either.
    let cut = &data[..data.len() / 2];
    let _ = rtp::payload(cut, &header);
    header.extensions(cut).for_each(drop);
}

pub(crate) fn ext(data: &[u8]) {
    let mut input = Input::new(data);
    let profile = match input.u8() % 3 {
        0 => 0xbede,
        1 => 0x1000 | u16::from(input.u8() & 0x0f),
        _ => input.u16(),
    };
    let content = input.rest();
    let mut used = 0;
    for (id, value) in ext::Iter::new(profile, content) {
        assert!(id != 0 && (profile != 0xbede || ext::Form::OneByte.fits(id, value.len())));
        used += 1 + value.len();
    }
    assert!(used <= content.len());
}

pub(crate) fn ext_values(data: &[u8]) {
    if let Some(text) = ext::text(data) {
        assert!(text.len() == data.len() && !text.is_empty());
    }
    let _ = ext::transport_sequence(data);
    if let Some(level) = AudioLevel::parse(data) {
        assert_eq!(level.bytes(), data[..1]);
    }
    if let Some(time) = AbsSendTime::parse(data) {
        assert_eq!(time.bytes(), data[..3]);
        assert!(time.micros() < 64_000_000);
        // Rounded down twice: one unit at most is lost.
        assert!(time.0 - AbsSendTime::from_micros(time.micros()).0 <= 1);
    }
    if let Some(time) = AbsCaptureTime::parse(data) {
        let (bytes, len) = time.bytes();
        assert_eq!(bytes[..len], data[..len]);
    }
    if let Some(orientation) = VideoOrientation::parse(data) {
        assert_eq!(orientation.bytes(), [data[0] & 0x0f]);
    }
    if let Some(delay) = PlayoutDelay::parse(data) {
        assert_eq!(delay.bytes(), data[..3]);
    }
}

pub(crate) fn seq(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut number, mut time) = (input.u64(), input.u64());
    while !input.is_empty() {
        let (value, timestamp) = (input.u16(), input.u32());
        let next = seq::extend(number, value);
        let later = seq::extend_timestamp(time, timestamp);
        assert_eq!((next as u16, later as u32), (value, timestamp));
        // Except where zero or the last number is in the way.
        if number > 1 << 16 && number < u64::MAX - (1 << 16) {
            assert!(next.abs_diff(number) <= 1 << 15);
            assert_eq!(next > number, seq::is_newer(value, number as u16));
        }
        if time > 1 << 32 && time < u64::MAX - (1 << 32) {
            assert!(later.abs_diff(time) <= 1 << 31);
            assert_eq!(later > time, seq::is_later(timestamp, time as u32));
        }
        (number, time) = (next, later);
    }
}
