//! A participant's connections in the media plane.

use crate::media::{MediaError, MediaHandle};
use crate::plan::{ConnectionId, ConnectionPlan, Local, Remote};

/// Closes what it opened when it is dropped: also when a join fails halfway or takes too long.
pub(super) struct Transports {
    media: MediaHandle,
    open: Vec<ConnectionId>,
}

impl Transports {
    pub(super) fn new(media: &MediaHandle) -> Self {
        Self {
            media: media.clone(),
            open: Vec::new(),
        }
    }

    pub(super) async fn open(&mut self, plan: ConnectionPlan) -> Result<Local, MediaError> {
        let local = self.media.open(plan).await?;
        self.open.push(local.id);
        Ok(local)
    }

    /// `old` is closed, `new` goes on with what it sent.
    pub(super) fn replace(&mut self, old: ConnectionId, new: ConnectionId) {
        self.open.retain(|&connection| connection != old);
        self.media.replace(old, new);
    }

    pub(super) fn set_remote(&self, connection: ConnectionId, remote: Remote) {
        self.media.set_remote(connection, remote);
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        for &connection in &self.open {
            self.media.close(connection);
        }
    }
}
