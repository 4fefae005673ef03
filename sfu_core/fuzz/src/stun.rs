//! STUN messages from the wire.

use wire::stun::Message;

pub(crate) fn message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    assert!(data.len() >= 20 && message.method < 0x1000);
    let attributes: usize = message.attributes().map(|(_, value)| 4 + value.len()).sum();
    assert!(attributes <= data.len());
    let _ = (message.username(), message.priority(), message.use_candidate());
    let _ = (message.ice_controlling(), message.ice_controlled());
    let _ = message.xor_mapped_address();
    assert!(message.error_code().is_none_or(|(code, _)| (300..700).contains(&code)));
    assert!(message.unknown_attributes().count() <= data.len());
    assert!(message.not_understood().all(|kind| kind < 0x8000));
    // No key that its sender does not have makes it authentic.
    assert!(!message.verify(b"a key that is nowhere else"));
}
