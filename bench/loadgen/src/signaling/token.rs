//! Tokens that let a participant in: a JWT (RFC 7519) with the grants that `control_plane/auth.py` reads, which are
//! LiveKit's.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::SignalingError;

/// Seconds that a token is good for: also where a server believes that it is an hour later.
const TOKEN_LIFE: u64 = 86_400;
/// Seconds for which a participant shows the same token, as clients do that come back with the one they have.
const TOKEN_KEPT: u64 = 3_600;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub key: String,
    pub secret: String,
}

impl Default for Credentials {
    /// Those of `pysfu serve --dev`.
    fn default() -> Self {
        Self {
            key: "devkey".to_owned(),
            secret: "secret".to_owned(),
        }
    }
}

impl FromStr for Credentials {
    type Err = SignalingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, secret) = text
            .split_once(':')
            .ok_or_else(|| SignalingError::Url("credentials are key:secret".to_owned()))?;
        Ok(Self {
            key: key.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    exp: u64,
    video: Grants<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Grants<'a> {
    room: &'a str,
    room_join: bool,
    room_admin: bool,
}

impl Credentials {
    pub(super) fn token(&self, identity: &str, room: &str) -> Result<String, SignalingError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let claims = Claims {
            iss: &self.key,
            sub: identity,
            exp: now - now % TOKEN_KEPT + TOKEN_LIFE,
            video: Grants {
                room,
                room_join: true,
                room_admin: true,
            },
        };
        let secret = jsonwebtoken::EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &secret)
            .map_err(|error| SignalingError::Protocol(format!("the token cannot be signed: {error}")))
    }
}
