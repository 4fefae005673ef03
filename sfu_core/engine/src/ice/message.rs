//! Binding requests and their answers, as far as an ICE-lite agent is concerned.

use std::net::SocketAddr;

use wire::stun::{BINDING, Class, Message, Writer};

/// The longest is the success response to an IPv6 address, of 76 bytes.
const MAX_ANSWER: usize = 128;
/// Unknown attributes named in one answer.
const MAX_UNKNOWN: usize = 8;

/// Why a request is answered with an error.
pub(super) enum Failure {
    Unauthorized,
    /// With our password, as are all answers to those who know it.
    UnknownAttributes(String),
    RoleConflict(String),
}

/// A binding request with user name, integrity and fingerprint (RFC 8445 section 7.1). The integrity is yet to be verified.
pub(super) fn parse_check(datagram: &[u8]) -> Option<Message<'_>> {
    Message::parse(datagram).ok().filter(|message| {
        (message.class, message.method) == (Class::Request, BINDING) && message.fingerprinted && message.has_integrity()
    })
}

/// The local user fragment that a binding request addresses: what precedes the colon of its USERNAME
/// (RFC 8445 section 7.2.2). Unauthenticated: only good for finding the peer.
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    Some(parse_check(datagram)?.username()?.split_once(':')?.0)
}

pub(super) fn success_response(check: &Message<'_>, remote: SocketAddr, password: &str) -> Option<Vec<u8>> {
    answer(check, Class::Success, Some(password), |writer| {
        writer.xor_mapped_address(remote)
    })
}

pub(super) fn failure_response(check: &Message<'_>, failure: &Failure) -> Option<Vec<u8>> {
    match failure {
        Failure::Unauthorized => answer(check, Class::Error, None, |writer| {
            writer.error_code(401, "Unauthorized")
        }),
        Failure::UnknownAttributes(password) => answer(check, Class::Error, Some(password), |writer| {
            let unknown = check.not_understood().take(MAX_UNKNOWN);
            writer.error_code(420, "Unknown Attribute").unknown_attributes(unknown)
        }),
        Failure::RoleConflict(password) => answer(check, Class::Error, Some(password), |writer| {
            writer.error_code(487, "Role Conflict")
        }),
    }
}

fn answer(
    check: &Message<'_>,
    class: Class,
    password: Option<&str>,
    fill: impl FnOnce(Writer<'_>) -> Writer<'_>,
) -> Option<Vec<u8>> {
    let mut out = [0; MAX_ANSWER];
    let mut writer = fill(Writer::new(&mut out, class, BINDING, &check.transaction));
    if let Some(password) = password {
        writer = writer.integrity(password.as_bytes());
    }
    let len = writer.fingerprint().finish().ok()?;
    Some(out[..len].to_vec())
}
