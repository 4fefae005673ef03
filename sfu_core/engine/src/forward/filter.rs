//! Which frames of the forwarded stream a subscriber gets, by what the stream says of its layers.

use super::dependency::Selector;
use super::sent::Told;
use super::svc::Svc;
use super::temporal::Temporal;
use crate::packet::Packet;

/// The highest layers wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
}

/// How a packet is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// It is the last one of its picture, for nothing above is forwarded.
    pub(super) ends: bool,
    pub(super) told: Option<Told>,
}

/// By what the stream is told apart.
#[derive(Debug)]
pub(super) enum Filter {
    /// Temporal layers of VP8; of other streams everything.
    Temporal(Temporal),
    /// VP9's payload descriptor.
    Svc(Box<Svc>),
    Dependency(Box<Selector>),
}

impl Filter {
    pub(super) fn new() -> Self {
        Self::Temporal(Temporal::default())
    }

    /// The stream of this packet, a keyframe's first, takes over.
    pub(super) fn begin(&mut self, packet: &Packet, limit: Limit) {
        let facts = &packet.facts;
        let resolved = facts.dependency.is_some_and(|dependency| dependency.frame.is_some());
        match self {
            Self::Dependency(selector) if resolved => selector.begin(packet),
            Self::Svc(svc) if !resolved && facts.is_layered() => svc.begin(),
            Self::Temporal(temporal) if !facts.is_layered() => temporal.begin(),
            _ if resolved => {
                let mut selector = Box::new(Selector::new(limit));
                selector.begin(packet);
                *self = Self::Dependency(selector);
            }
            _ if facts.is_layered() => *self = Self::Svc(Box::new(Svc::new(limit))),
            _ => *self = Self::Temporal(Temporal::default()),
        }
    }

    pub(super) fn set_limit(&mut self, limit: Limit) {
        match self {
            Self::Temporal(_) => {}
            Self::Svc(svc) => svc.set_limit(limit),
            Self::Dependency(selector) => selector.set_limit(limit),
        }
    }

    /// `None` when the packet is not for the subscriber.
    #[inline]
    pub(super) fn pass(&mut self, packet: &Packet, limit: Limit) -> Option<Pass> {
        match self {
            Self::Temporal(temporal) => temporal.pass(packet, limit.temporal).then(Pass::default),
            Self::Svc(svc) => svc.pass(packet).map(|ends| Pass {
                ends,
                ..Pass::default()
            }),
            Self::Dependency(selector) => selector.pass(packet),
        }
    }

    /// The packet stands for one that was left out before it came here.
    pub(super) fn leave_out(&mut self, packet: &Packet) {
        match self {
            Self::Temporal(temporal) => temporal.leave_out(packet),
            Self::Svc(svc) => svc.leave_out(packet),
            Self::Dependency(selector) => selector.leave_out(packet),
        }
    }

    /// What is wanted, or what is there, can only be shown from a keyframe on.
    pub(super) fn needs_keyframe(&self) -> bool {
        match self {
            Self::Temporal(_) => false,
            Self::Svc(svc) => svc.needs_keyframe(),
            Self::Dependency(selector) => selector.needs_keyframe(),
        }
    }

    /// Spatial and temporal layer that are forwarded.
    pub(super) fn layers(&self) -> (u8, u8) {
        match self {
            Self::Temporal(temporal) => (0, temporal.highest()),
            Self::Svc(svc) => svc.layers(),
            Self::Dependency(selector) => selector.layers(),
        }
    }
}
