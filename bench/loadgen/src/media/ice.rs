//! Connectivity checks of a controlling agent with one candidate pair (RFC 8445), answers to the server's, and consent
//! (RFC 7675).

use std::net::SocketAddr;

use wire::stun::{BINDING, Class, Message, Writer};

/// Milliseconds.
const FIRST_RETRY: u64 = 50;
const MAX_RETRY: u64 = 1_600;
const CONSENT: u64 = 5_000;
/// Unanswered checks after which the next candidate is tried.
const TRIES: u32 = 4;

pub(super) struct Ice {
    username: String,
    remote_pwd: String,
    local_pwd: String,
    pub(super) candidates: Vec<SocketAddr>,
    pub(super) current: usize,
    transaction: [u8; 12],
    tries: u32,
    /// When the next check goes out, ms.
    pub(super) due: u64,
    pub(super) connected: bool,
    random: u64,
}

pub(super) enum Outcome {
    /// A check was answered for the first time.
    Connected,
    /// To be sent.
    Answer(Vec<u8>),
    Nothing,
}

impl Ice {
    pub(super) fn new(
        (local_ufrag, local_pwd): (&str, &str),
        (ufrag, pwd): (&str, &str),
        candidates: Vec<SocketAddr>,
        seed: u64,
    ) -> Self {
        Self {
            username: format!("{ufrag}:{local_ufrag}"),
            remote_pwd: pwd.to_owned(),
            local_pwd: local_pwd.to_owned(),
            candidates,
            current: 0,
            transaction: [0; 12],
            tries: 0,
            due: 0,
            connected: false,
            random: seed | 1,
        }
    }

    /// A check when one is due. The candidate to send it to is `candidates[current]`.
    pub(super) fn poll(&mut self, now: u64) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        if !self.connected && self.tries >= TRIES && self.candidates.len() > 1 {
            self.current = (self.current + 1) % self.candidates.len();
            self.tries = 0;
        }
        self.due = now
            + if self.connected {
                CONSENT
            } else {
                (FIRST_RETRY << self.tries).min(MAX_RETRY)
            };
        self.tries = (self.tries + 1).min(16);
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.transaction[..8].copy_from_slice(&self.random.to_be_bytes());
        let mut out = vec![0; 512];
        let len = Writer::new(&mut out, Class::Request, BINDING, &self.transaction)
            .username(&self.username)
            .ice_controlling(self.random)
            .priority(0x6eff_ffff)
            .use_candidate()
            .integrity(self.remote_pwd.as_bytes())
            .fingerprint()
            .finish()
            .ok()?;
        out.truncate(len);
        Some(out)
    }

    pub(super) fn handle(&mut self, from: SocketAddr, datagram: &[u8]) -> Outcome {
        let Ok(message) = Message::parse(datagram) else {
            return Outcome::Nothing;
        };
        match message.class {
            Class::Success if message.transaction == self.transaction && message.verify(self.remote_pwd.as_bytes()) => {
                self.tries = 0;
                if std::mem::replace(&mut self.connected, true) {
                    Outcome::Nothing
                } else {
                    Outcome::Connected
                }
            }
            Class::Request if message.verify(self.local_pwd.as_bytes()) => {
                let mut out = vec![0; 256];
                let written = Writer::new(&mut out, Class::Success, BINDING, &message.transaction)
                    .xor_mapped_address(from)
                    .integrity(self.local_pwd.as_bytes())
                    .fingerprint()
                    .finish();
                match written {
                    Ok(len) => {
                        out.truncate(len);
                        Outcome::Answer(out)
                    }
                    Err(_) => Outcome::Nothing,
                }
            }
            _ => Outcome::Nothing,
        }
    }
}
