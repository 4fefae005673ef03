//! What the commands do.

pub mod call;
pub mod fanout;
pub mod joins;
pub mod meet;
pub mod memory;
pub mod publish;
pub mod standard;

use std::time::Duration;

use engine::event::SrtpProfile;

use crate::media::MediaError;
use crate::signaling::SignalingError;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error(transparent)]
    Signaling(#[from] SignalingError),
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error("{0} of {1} participants could not join: {2}")]
    Joins(usize, usize, String),
    #[error("only {0} of {1} subscriptions have media")]
    Subscriptions(u64, u32),
    #[error("a receiver had no media {0:?} after everyone had joined")]
    NoMedia(Duration),
    #[error("nothing was delivered")]
    Nothing,
}

pub fn cipher_name(cipher: SrtpProfile) -> &'static str {
    match cipher {
        SrtpProfile::AeadAes128Gcm => "aead-aes-128-gcm",
        SrtpProfile::AeadAes256Gcm => "aead-aes-256-gcm",
        SrtpProfile::Aes128CmHmacSha1_80 => "aes128-cm-hmac-sha1-80",
    }
}
