//! DTLS server of one peer.

use crate::command::Fingerprint;

/// Self-signed ECDSA P-256 certificate of this process, shared by all its engines.
pub struct DtlsIdentity {
    fingerprint: Fingerprint,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot generate a certificate: {0}")]
pub struct IdentityError(String);

impl DtlsIdentity {
    pub fn generate() -> Result<Self, IdentityError> {
        Err(IdentityError("not yet".to_owned()))
    }

    /// SHA-256 of the certificate, to be announced in SDP (RFC 8122).
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}
