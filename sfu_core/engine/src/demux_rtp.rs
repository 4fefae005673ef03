//! Which track and layer a publisher's packet belongs to (RFC 8843 section 9.2, RFC 8852).

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::command::Publish;
use crate::ids::{Mid, PayloadType, Rid};

/// SSRCs remembered per peer; the oldest is forgotten. A hostile peer may invent them without end.
const MAX_ROUTES: usize = 256;

/// Where packets of one SSRC go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The engine's key of the track.
    pub(crate) track: usize,
    pub(crate) layer: u8,
    /// It carries retransmissions (RFC 4588), or parity on an SSRC of its own.
    pub(crate) repair: bool,
}

/// What a packet says about its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint<'a> {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) mid: Option<&'a [u8]>,
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
}

/// What was negotiated for one track of the peer.
struct Section {
    track: usize,
    mid: Mid,
    rids: Vec<Rid>,
    /// SSRC and RTX SSRC, lowest layer first.
    ssrcs: Vec<(u32, Option<u32>)>,
    media: Vec<PayloadType>,
    repair: Vec<PayloadType>,
    flexfec: Option<PayloadType>,
}

/// Routes of one peer.
#[derive(Default)]
pub(crate) struct Demux {
    sections: Vec<Section>,
    routes: FxHashMap<u32, Route>,
    /// SSRCs in `routes`, oldest first.
    order: VecDeque<u32>,
}

impl Demux {
    /// Adds a track or replaces what was known of it.
    pub(crate) fn set(&mut self, track: usize, publish: &Publish) {
        self.remove(track);
        self.sections.push(Section {
            track,
            mid: publish.mid,
            rids: publish.rids.clone(),
            ssrcs: publish
                .ssrcs
                .iter()
                .map(|s| (s.ssrc.0, s.rtx_ssrc.map(|rtx| rtx.0)))
                .collect(),
            media: publish
                .codecs
                .iter()
                .map(|c| c.payload_type)
                .chain(publish.fec.red)
                .collect(),
            repair: publish
                .codecs
                .iter()
                .filter_map(|c| c.rtx_payload_type)
                .chain(publish.fec.red_rtx)
                .collect(),
            flexfec: publish.fec.flexfec,
        });
    }

    pub(crate) fn remove(&mut self, track: usize) {
        self.sections.retain(|section| section.track != track);
        self.routes.retain(|_, route| route.track != track);
        self.order.retain(|ssrc| self.routes.contains_key(ssrc));
    }

    /// Only for authenticated packets: it remembers.
    pub(crate) fn route(&mut self, hint: &Hint<'_>) -> Option<Route> {
        let known = self.routes.get(&hint.ssrc).copied();
        if hint.mid.is_none() && hint.rid.is_none() && hint.repaired_rid.is_none() && known.is_some() {
            return known;
        }
        let found = resolve(&self.sections, hint);
        // A MID that no track has routes nowhere, even if the SSRC did (RFC 8843 section 9.2).
        if found.is_none() && hint.mid.is_none() && known.is_some() {
            return known;
        }
        let route = found?;
        if known != Some(route) {
            self.remember(hint.ssrc, route);
        }
        Some(route)
    }

    /// For RTCP, which names SSRCs alone.
    pub(crate) fn by_ssrc(&self, ssrc: u32) -> Option<Route> {
        self.routes.get(&ssrc).copied()
    }

    /// SSRCs of a layer's media and of its retransmissions, as packets have told: 0 for one that is not known. Browsers
    /// name the RID of a stream only until its first packets are reported to have arrived.
    pub(crate) fn sources(&self, track: usize, layer: u8) -> (u32, u32) {
        let newest = |repair| {
            let wanted = Route { track, layer, repair };
            let is_it = |ssrc: &&u32| self.routes.get(*ssrc) == Some(&wanted);
            self.order.iter().rev().find(is_it).copied().unwrap_or_default()
        };
        (newest(false), newest(true))
    }

    fn remember(&mut self, ssrc: u32, route: Route) {
        if self.routes.insert(ssrc, route).is_some() {
            return;
        }
        self.order.push_back(ssrc);
        if self.order.len() > MAX_ROUTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.routes.remove(&oldest);
        }
    }
}

fn resolve(sections: &[Section], hint: &Hint<'_>) -> Option<Route> {
    if let Some(mid) = hint.mid {
        let section = sections.iter().find(|s| s.mid.as_bytes() == mid)?;
        return within(section, hint);
    }
    if hint.rid.is_none()
        && hint.repaired_rid.is_none()
        && let Some(route) = sections.iter().find_map(|section| announced(section, hint.ssrc))
    {
        return Some(route);
    }
    let mut carrying = sections.iter().filter(|s| s.carries(hint.payload_type));
    match (carrying.next(), carrying.next()) {
        (Some(section), None) => within(section, hint),
        _ => None,
    }
}

fn announced(section: &Section, ssrc: u32) -> Option<Route> {
    section.ssrcs.iter().enumerate().find_map(|(layer, &(media, repair))| {
        let layer = layer as u8;
        let track = section.track;
        if media == ssrc {
            Some(Route {
                track,
                layer,
                repair: false,
            })
        } else {
            (repair == Some(ssrc)).then_some(Route {
                track,
                layer,
                repair: true,
            })
        }
    })
}

/// The layer within a track.
fn within(section: &Section, hint: &Hint<'_>) -> Option<Route> {
    if section.flexfec == Some(PayloadType(hint.payload_type)) {
        // Which layer it is for, each packet says itself.
        return Some(Route {
            track: section.track,
            layer: 0,
            repair: true,
        });
    }
    let repair = hint.repaired_rid.is_some() || section.repair.contains(&PayloadType(hint.payload_type));
    if !section.carries(hint.payload_type) {
        return None;
    }
    // Some senders name the repaired stream with the plain RID extension.
    if let Some(rid) = hint.repaired_rid.or(hint.rid)
        && !section.rids.is_empty()
    {
        let layer = section.rids.iter().position(|r| r.as_bytes() == rid)? as u8;
        return Some(Route {
            track: section.track,
            layer,
            repair,
        });
    }
    announced(section, hint.ssrc).or_else(|| {
        let single = section.rids.len() <= 1 && section.ssrcs.len() <= 1;
        single.then_some(Route {
            track: section.track,
            layer: 0,
            repair,
        })
    })
}

impl Section {
    fn carries(&self, payload_type: u8) -> bool {
        let payload_type = PayloadType(payload_type);
        self.media.contains(&payload_type) || self.repair.contains(&payload_type) || self.flexfec == Some(payload_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{AnnouncedSsrc, Codec, FecFormats, MediaKind, PublishedCodec};
    use crate::ids::{PeerId, Ssrc, TrackId};

    fn publish(mid: &str, payload_types: &[(u8, Option<u8>)], rids: &[&str], ssrcs: &[(u32, u32)]) -> Publish {
        Publish {
            track: TrackId(1),
            peer: PeerId(1),
            kind: MediaKind::Video,
            mid: Mid::from(mid).unwrap(),
            codecs: payload_types
                .iter()
                .map(|&(payload_type, rtx)| PublishedCodec {
                    payload_type: PayloadType(payload_type),
                    rtx_payload_type: rtx.map(PayloadType),
                    codec: Codec::Vp8,
                    clock_rate: 90_000,
                    nack: true,
                    pli: true,
                })
                .collect(),
            rids: rids.iter().map(|r| Rid::from(r).unwrap()).collect(),
            ssrcs: ssrcs
                .iter()
                .map(|&(s, r)| AnnouncedSsrc {
                    ssrc: Ssrc(s),
                    rtx_ssrc: Some(Ssrc(r)),
                })
                .collect(),
            sound: Default::default(),
            fec: FecFormats::default(),
        }
    }

    /// Audio 0 (type 111), simulcast video 1 (types 96 and 97), announced video 2 (same types), video 3 (98).
    fn demux() -> Demux {
        let mut demux = Demux::default();
        demux.set(10, &publish("0", &[(111, None)], &[], &[]));
        demux.set(11, &publish("1", &[(96, Some(97))], &["q", "h", "f"], &[]));
        demux.set(12, &publish("2", &[(96, Some(97))], &[], &[(700, 701)]));
        demux.set(13, &publish("3", &[(98, Some(99))], &[], &[]));
        demux
    }

    fn hint<'a>(
        ssrc: u32,
        payload_type: u8,
        mid: Option<&'a str>,
        rid: Option<&'a str>,
        repaired: Option<&'a str>,
    ) -> Hint<'a> {
        Hint {
            ssrc,
            payload_type,
            mid: mid.map(str::as_bytes),
            rid: rid.map(str::as_bytes),
            repaired_rid: repaired.map(str::as_bytes),
        }
    }

    #[test]
    fn what_one_node_has_learned_another_routes_by() {
        let mut here = demux();
        here.route(&hint(5, 96, Some("1"), Some("h"), None));
        here.route(&hint(6, 97, Some("1"), None, Some("h")));
        assert_eq!(here.sources(11, 1), (5, 6));
        assert_eq!(here.sources(11, 0), (0, 0));
        let mut there = Demux::default();
        let rids = ["q", "h", "f"];
        there.set(11, &publish("1", &[(96, Some(97))], &rids, &[(0, 0), (5, 6), (0, 0)]));
        let found = |route: Route| (route.track, route.layer, route.repair);
        assert_eq!(
            there.route(&hint(5, 96, None, None, None)).map(found),
            Some((11, 1, false))
        );
        assert_eq!(
            there.route(&hint(6, 97, None, None, None)).map(found),
            Some((11, 1, true))
        );
        assert_eq!(there.route(&hint(9, 96, None, None, None)), None);
        let named = hint(9, 96, Some("1"), Some("f"), None);
        assert_eq!(there.route(&named).map(found), Some((11, 2, false)));
    }

    #[test]
    fn routes() {
        let cases = [
            ("mid", hint(1, 111, Some("0"), None, None), Some((10, 0, false))),
            (
                "mid and rid",
                hint(1, 96, Some("1"), Some("h"), None),
                Some((11, 1, false)),
            ),
            (
                "repaired rid",
                hint(1, 97, Some("1"), None, Some("f")),
                Some((11, 2, true)),
            ),
            (
                "plain rid on repair",
                hint(1, 97, Some("1"), Some("f"), None),
                Some((11, 2, true)),
            ),
            ("unknown rid", hint(1, 96, Some("1"), Some("x"), None), None),
            ("simulcast without rid", hint(1, 96, Some("1"), None, None), None),
            (
                "rid of a track without",
                hint(1, 98, Some("3"), Some("x"), None),
                Some((13, 0, false)),
            ),
            ("unknown mid", hint(700, 96, Some("9"), None, None), None),
            ("payload type not negotiated", hint(1, 100, Some("0"), None, None), None),
            ("announced", hint(700, 96, None, None, None), Some((12, 0, false))),
            ("announced repair", hint(701, 97, None, None, None), Some((12, 0, true))),
            (
                "unique payload type",
                hint(1, 98, None, None, None),
                Some((13, 0, false)),
            ),
            (
                "unique repair payload type",
                hint(1, 99, None, None, None),
                Some((13, 0, true)),
            ),
            ("ambiguous payload type", hint(1, 96, None, None, None), None),
        ];
        for (name, hint, expected) in cases {
            let expected = expected.map(|(track, layer, repair)| Route { track, layer, repair });
            assert_eq!(demux().route(&hint), expected, "{name}");
        }
    }

    #[test]
    fn an_ssrc_stays_routed_when_its_extensions_cease_and_follows_its_mid() {
        let mut demux = demux();
        let first = demux.route(&hint(5, 96, Some("1"), Some("q"), None));
        assert_eq!(demux.route(&hint(5, 96, None, None, None)), first);
        assert_eq!(
            demux.route(&hint(5, 96, Some("2"), None, None)).map(|r| r.track),
            Some(12)
        );
        assert_eq!(demux.route(&hint(5, 96, None, None, None)).map(|r| r.track), Some(12));
    }

    #[test]
    fn a_removed_track_is_routed_no_more() {
        let mut demux = demux();
        demux.route(&hint(5, 96, Some("1"), Some("q"), None)).unwrap();
        demux.remove(11);
        assert_eq!(demux.route(&hint(5, 96, Some("1"), Some("q"), None)), None);
        assert_eq!(demux.by_ssrc(5), None);
        assert!(demux.order.is_empty());
    }

    #[test]
    fn routes_are_bounded() {
        let mut demux = demux();
        for ssrc in 0..10_000 {
            demux.route(&hint(ssrc, 111, Some("0"), None, None)).unwrap();
        }
        assert_eq!((demux.routes.len(), demux.order.len()), (MAX_ROUTES, MAX_ROUTES));
        assert_eq!(demux.by_ssrc(0), None);
        assert!(demux.by_ssrc(9_999).is_some());
    }
}
