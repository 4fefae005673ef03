//! ICE-lite agent of one peer (RFC 8445, RFC 8839).

/// The local user fragment that a binding request addresses: what precedes the colon of its USERNAME
/// (RFC 8445 section 7.2.2). Cheap and unauthenticated: only good for finding the peer.
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let _ = datagram;
    None
}
