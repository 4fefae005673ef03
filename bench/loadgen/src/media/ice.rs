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
    /// The check of this transaction has been answered.
    answered: bool,
    tries: u32,
    /// When the next check goes out, ms.
    pub(super) due: u64,
    pub(super) connected: bool,
    /// One for all checks of a session (RFC 8445 section 5.3).
    tie_breaker: u64,
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
            answered: true,
            tries: 0,
            due: 0,
            connected: false,
            tie_breaker: seed,
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
            self.answered = true;
        }
        self.due = now
            + if self.connected {
                CONSENT
            } else {
                (FIRST_RETRY << self.tries).min(MAX_RETRY)
            };
        self.tries = (self.tries + 1).min(16);
        // A retransmission keeps its transaction (RFC 8489 section 6.2.1), so that a late answer still counts. Consent
        // checks are transactions of their own (RFC 7675 section 5.1).
        if std::mem::take(&mut self.answered) || self.connected {
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.transaction[..8].copy_from_slice(&self.random.to_be_bytes());
        }
        let mut out = vec![0; 512];
        let len = Writer::new(&mut out, Class::Request, BINDING, &self.transaction)
            .username(&self.username)
            .ice_controlling(self.tie_breaker)
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
                self.answered = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "127.0.0.1:7000";

    fn agent(candidates: usize) -> Ice {
        let candidates = (0..candidates).map(|port| SocketAddr::from(([127, 0, 0, 1], 7_000 + port as u16)));
        Ice::new(
            ("load", "password of the client"),
            ("sfu", "password of the server"),
            candidates.collect(),
            7,
        )
    }

    fn answer(request: &[u8], pwd: &str) -> Vec<u8> {
        let request = Message::parse(request).unwrap();
        let mut out = vec![0; 256];
        let len = Writer::new(&mut out, Class::Success, BINDING, &request.transaction)
            .xor_mapped_address("127.0.0.1:9".parse().unwrap())
            .integrity(pwd.as_bytes())
            .fingerprint()
            .finish()
            .unwrap();
        out.truncate(len);
        out
    }

    fn connects(ice: &mut Ice, datagram: &[u8]) -> bool {
        matches!(ice.handle(SERVER.parse().unwrap(), datagram), Outcome::Connected)
    }

    #[test]
    fn checks_are_repeated_with_growing_pauses_until_one_is_answered() {
        let mut ice = agent(1);
        let mut sent = Vec::new();
        for now in 0..2_000 {
            sent.extend(ice.poll(now).map(|check| (now, check)));
        }
        let times: Vec<_> = sent.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [0, 50, 150, 350, 750, 1_550]);
        // The answer to the first one may come late.
        assert!(connects(&mut ice, &answer(&sent[0].1, "password of the server")));
        assert!(ice.connected);
    }

    #[test]
    fn only_the_server_that_knows_the_password_can_answer() {
        let mut ice = agent(1);
        let check = ice.poll(0).unwrap();
        assert!(!connects(&mut ice, &answer(&check, "another password")));
        let mut other = agent(1);
        other.random = 99;
        let unasked = answer(&other.poll(0).unwrap(), "password of the server");
        assert!(!connects(&mut ice, &unasked));
        assert!(connects(&mut ice, &answer(&check, "password of the server")));
    }

    #[test]
    fn consent_is_asked_with_a_transaction_of_its_own() {
        let mut ice = agent(1);
        let check = ice.poll(0).unwrap();
        connects(&mut ice, &answer(&check, "password of the server"));
        assert!(ice.poll(ice.due - 1).is_none());
        let first = ice.poll(CONSENT).unwrap();
        let second = ice.poll(2 * CONSENT).unwrap();
        let id = |check: &[u8]| Message::parse(check).unwrap().transaction;
        assert!(id(&check) != id(&first) && id(&first) != id(&second));
    }

    #[test]
    fn another_candidate_is_tried_when_one_is_silent() {
        let mut ice = agent(2);
        let mut tried = Vec::new();
        for now in 0..4_000 {
            if let Some(check) = ice.poll(now) {
                tried.push((ice.current, Message::parse(&check).unwrap().transaction));
            }
        }
        let order: Vec<_> = tried.iter().map(|(candidate, _)| *candidate).collect();
        assert_eq!(order[..8], [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_ne!(tried[3].1, tried[4].1);
    }

    #[test]
    fn checks_of_the_server_are_answered() {
        let mut ice = agent(1);
        let mut request = vec![0; 256];
        let written = |out: &mut Vec<u8>, pwd: &str| {
            Writer::new(out, Class::Request, BINDING, &[5; 12])
                .username("load:sfu")
                .integrity(pwd.as_bytes())
                .fingerprint()
                .finish()
                .unwrap()
        };
        let len = written(&mut request, "password of the client");
        let Outcome::Answer(answer) = ice.handle(SERVER.parse().unwrap(), &request[..len]) else {
            panic!("no answer");
        };
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.class, message.transaction), (Class::Success, [5; 12]));
        assert!(message.verify(b"password of the client"));
        let len = written(&mut request, "wrong");
        assert!(matches!(
            ice.handle(SERVER.parse().unwrap(), &request[..len]),
            Outcome::Nothing
        ));
    }
}
