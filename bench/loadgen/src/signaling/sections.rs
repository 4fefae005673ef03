//! Offers of a participant with one connection: its receiving sections grow when the server asks for more.

use super::SignalingError;
use crate::plan::{Kind, Local};
use crate::sdp::{Receiving, offer_sections};

/// No server has a reason to ask for more.
const MAX_SECTIONS: usize = 4_096;

pub(super) struct Sections {
    /// In the order of their first offer, which later ones keep (RFC 3264 section 8).
    receiving: Vec<Kind>,
    offers: u32,
    /// An offer has no answer yet (RFC 3264 section 4: one at a time).
    pending: bool,
    /// Another is due when it has.
    due: bool,
}

impl Sections {
    pub(super) fn new(receiving: Receiving) -> Self {
        Self {
            receiving: receiving.kinds(),
            offers: 0,
            pending: false,
            due: false,
        }
    }

    /// The next offer and its number, from 1.
    pub(super) fn offer(&mut self, local: &Local) -> (u32, String) {
        self.offers += 1;
        (self.pending, self.due) = (true, false);
        (self.offers, offer_sections(local, &self.receiving, self.offers))
    }

    /// The server wants so many more receiving sections, or (none more) just another offer. True: offer now.
    pub(super) fn require(&mut self, audio: u32, video: u32) -> Result<bool, SignalingError> {
        let more = Receiving {
            audio: audio as usize,
            video: video as usize,
        };
        if self.receiving.len() + more.audio + more.video > MAX_SECTIONS {
            return Err(SignalingError::Protocol(format!(
                "{audio} audio and {video} video sections more are wanted"
            )));
        }
        self.receiving.extend(more.kinds());
        self.due = true;
        Ok(!self.pending)
    }

    /// The answer to an offer went to a connection that was lost.
    pub(super) fn forget(&mut self) {
        self.pending = false;
    }

    /// True: another offer is due.
    pub(super) fn answered(&mut self) -> bool {
        self.pending = false;
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ConnectionId;
    use crate::sdp::Description;

    #[test]
    fn sections_keep_their_place_and_offers_wait_for_each_other() {
        let local = Local {
            id: ConnectionId(0),
            ufrag: "u".to_owned(),
            pwd: "p".to_owned(),
            fingerprint: [0; 32],
            passive: false,
            candidate: "127.0.0.1:4000".parse().unwrap(),
            publications: Vec::new(),
        };
        let kinds = |text: &str| -> Vec<Kind> {
            let sections = Description::parse(text).unwrap().sections;
            sections.iter().filter_map(|section| section.kind).collect()
        };
        let mut sections = Sections::new(Receiving { audio: 1, video: 1 });
        let (id, first) = sections.offer(&local);
        assert_eq!((id, kinds(&first)), (1, vec![Kind::Audio, Kind::Video]));
        assert!(!sections.require(1, 0).unwrap());
        assert!(!sections.require(0, 1).unwrap());
        assert!(sections.answered());
        let (id, second) = sections.offer(&local);
        let all = vec![Kind::Audio, Kind::Video, Kind::Audio, Kind::Video];
        assert_eq!((id, kinds(&second)), (2, all));
        assert!(!sections.answered());
        assert!(sections.require(0, 0).unwrap());
        assert!(sections.require(u32::MAX, u32::MAX).is_err());
    }
}
