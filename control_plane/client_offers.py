"""The transport on which the client offers: carries what it publishes and, in a single layout, what it receives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from control_plane import ids
from control_plane.errors import LimitExceededError
from control_plane.media import MediaPeer
from control_plane.negotiation.answer import Answer, answer
from control_plane.negotiation.assign import Assignment, assign
from control_plane.negotiation.codecs import payload_map, red_payload
from control_plane.negotiation.model import Agreement, Description, ReceiveOptions, Section, SectionPlan, Sending
from control_plane.negotiation.parse import parse
from control_plane.rooms import Track, automatic_track, check_may_publish, describe_negotiated, ordered_rids
from pysfu.v1 import signaling_pb2

if TYPE_CHECKING:
    from control_plane.session import Session

MAX_TRACKS: Final = 64
_SENDS: Final = ("sendrecv", "sendonly")


class ClientOffers:
    """State of one such transport. `receives` in a single layout."""

    def __init__(
        self,
        session: "Session",
        transport: "signaling_pb2.Transport.ValueType",
        *,
        receives: bool,
        reserve: bool,
        auto_publish: bool,
    ) -> None:
        self.transport = transport
        self.peer: MediaPeer | None = None
        self.bound: dict[str, str] = {}
        """MID → id of the track that our last answer sends there."""
        self._session = session
        self._receives = receives
        self._reserve = reserve
        self._auto_publish = auto_publish
        self._offer: Description | None = None
        self._agreement: Agreement | None = None
        self._published: dict[str, Track] = {}
        self._sending: dict[str, Sending] = {}
        self._reserved: dict[str, Sending] = {}
        self._version = 0

    def negotiate(self, sdp: str) -> tuple[str, dict[str, str]]:
        """The answer, and MID → track id. Raises NegotiationError and changes nothing when the offer cannot be used.

        Call `start_sending` once the answer is on its way.
        """
        offer = parse(sdp)
        opened = self.peer is None
        peer = self.peer or self._session.open_peer(self)
        ice = peer.ice
        try:
            claims = self._claim(offer)
            assignment = self._assign(offer)
            if peer.restarts(offer.transport):
                peer.restart()
            result = self._answer(offer, peer, claims, assignment)
        except Exception:
            peer.ice = ice
            if opened:
                self._session.close_peer(peer)
            raise
        self.peer, self._offer, self._agreement = peer, offer, result.agreement
        peer.apply(result.agreement)
        self._publish(claims, result.agreement)
        return result.sdp, {mid: track.id for mid, track in self._published.items()} | self.bound

    def start_sending(self) -> None:
        """Subscribes in the core what the last answer has promised."""
        for mid, track_id in self.bound.items():
            subscription = self._session.subscriptions.get(track_id)
            if subscription is not None and subscription.handle is None:
                self._subscribe(mid, track_id, self._sending[mid])
        # Tracks that were there before the sections that were answered in advance.
        for subscription in list(self._session.subscriptions.values()):
            if self._reserve and subscription.track.id not in self.bound.values():
                self.bind_reserved(subscription.track)

    def bind_reserved(self, track: Track) -> bool:
        """Sends a track in a section that was answered for it in advance; False when none is free."""
        agreement = self._agreement
        if not self._reserve or agreement is None or track.negotiated is None:
            return False
        for mid, section in agreement.sections.items():
            if mid in self.bound or mid not in self._sending or section.kind != track.kind:
                continue
            if not payload_map(track.negotiated.codecs, section.codecs):
                continue
            self.bound[mid] = track.id
            # A section's first track goes by the SSRCs in its description, a later one by its MID: an SSRC is never
            # used for two streams, their packet indices would repeat under one key (RFC 3711 section 9.1).
            reserved = self._reserved.get(mid)
            self._reserved.pop(mid, None)
            self._subscribe(mid, track.id, reserved or self._fresh(track))
            return True
        return False

    def released(self, track: Track) -> None:
        """The track is not subscribed to any more."""
        if self._reserve:
            self.bound = {mid: track_id for mid, track_id in self.bound.items() if track_id != track.id}
        else:
            # Bound to nothing, so that the next answer says inactive even if the track is wanted again by then.
            self.bound = {mid: "" if track_id == track.id else track_id for mid, track_id in self.bound.items()}

    def claim_late(self, track: Track) -> bool:
        """Publishes a track whose section was negotiated before it was added; False when there is none."""
        agreement = self._agreement
        if agreement is None:
            return False
        for mid, section in agreement.sections.items():
            free = section.direction in _SENDS and mid not in self._published and section.kind == track.kind
            if free and track.cid in (section.msid_track, mid):
                self._publish_one(mid, track, agreement)
                return True
        return False

    def unpublished(self, track: Track) -> None:
        self._published = {mid: other for mid, other in self._published.items() if other is not track}

    def sections_missing(self) -> Mapping[str, int] | None:
        """Kind → sections that the client must add; empty when a new offer is enough; None when all is well."""
        if self._offer is None or not self._receives or self._reserve:
            return None
        assignment = self._assign(self._offer)
        if assignment.missing or assignment.bound != self.bound:
            return assignment.missing
        return None

    def _claim(self, offer: Description) -> dict[str, Track]:
        """MID → track that the client sends there, without changing anything."""
        pending = dict(self._session.pending_tracks)
        sending = [section for section in offer.sections if section.is_media and section.sends]
        claims: dict[str, Track] = {}
        for section in sending:
            cid = next((cid for cid in (section.media.msid_track, section.mid) if cid in pending), None)
            track = pending.pop(cid) if cid is not None else self._published.get(section.mid)
            if track is not None and track.kind == section.kind:
                claims[section.mid] = track
        # Firefox writes another id than the track's: what is left goes by kind, in order.
        for section in sending:
            if section.mid in claims:
                continue
            cid = next((cid for cid, track in pending.items() if track.kind == section.kind), None)
            track = pending.pop(cid) if cid is not None else self._automatic(section)
            if track is not None:
                claims[section.mid] = track
        if len(claims) > MAX_TRACKS:
            raise LimitExceededError(f"more than {MAX_TRACKS} tracks are published")
        return claims

    def _automatic(self, section: Section) -> Track | None:
        """For a section that no track was added for, where the session publishes such."""
        participant = self._session.participant
        if not self._auto_publish:
            return None
        track = automatic_track("audio" if section.kind == "audio" else "video", section.mid, participant)
        track.info.stream = section.media.msid_stream[:256]
        return track if check_may_publish(participant.permission, track.info.source) is None else None

    def _assign(self, offer: Description) -> Assignment:
        if not self._receives or self._reserve:
            return Assignment(dict(self.bound), {})
        sections = [(section.mid, section.kind) for section in offer.sections if section.is_media and section.receives]
        codecs = {section.mid: section.media.codecs for section in offer.sections}
        wanted = [(item.track.id, item.track.kind) for item in self._session.subscriptions.values()]
        result = assign(sections, self.bound, wanted)
        # What the client cannot decode needs no section; kinds are what sections are asked for by.
        for mid, track_id in result.bound.items():
            track = self._session.subscriptions[track_id].track
            if track.negotiated is not None and not payload_map(track.negotiated.codecs, codecs[mid]):
                self._session.fail_subscription(track)
                return self._assign(offer)
        return result

    def _answer(
        self, offer: Description, peer: MediaPeer, claims: Mapping[str, Track], assignment: Assignment
    ) -> Answer:
        may_publish = self._session.participant.permission.can_publish
        sending: dict[str, Sending] = {}
        plans = {}
        for section in offer.sections:
            if not section.is_media:
                continue
            track_id = assignment.bound.get(section.mid)
            if track_id is not None and track_id == self.bound.get(section.mid):
                sending[section.mid] = self._sending[section.mid]
            elif track_id is not None:
                sending[section.mid] = self._fresh(self._session.subscriptions[track_id].track)
            elif self._reserve and section.receives:
                sending[section.mid] = self._sending.get(section.mid) or self._reservation()
            claimed = claims.get(section.mid)
            plans[section.mid] = SectionPlan(
                accept=may_publish or claimed is not None,
                receive=_receive_options(claimed) if claimed is not None else ReceiveOptions(),
                send=sending.get(section.mid),
            )
        result = answer(
            offer,
            peer.local,
            plans,
            session_id=self._session.sdp_session_id,
            version=self._version,
            fec_policy=self._session.fec,
        )
        self._version += 1
        if self._reserve:
            self._reserved |= {mid: item for mid, item in sending.items() if mid not in self._sending}
        self._sending = sending
        self.bound = {mid: track_id for mid, track_id in assignment.bound.items() if mid in result.agreement.sections}
        return result

    def _publish(self, claims: Mapping[str, Track], agreement: Agreement) -> None:
        for mid, track in list(self._published.items()):
            if claims.get(mid) is not track:
                self._session.unpublish(track)
        for mid, track in claims.items():
            if mid not in agreement.sections:
                continue
            if mid not in self._published:
                self._publish_one(mid, track, agreement)
            else:
                self._session.renegotiated(track, agreement.sections[mid])

    def _publish_one(self, mid: str, track: Track, agreement: Agreement) -> None:
        if self.peer is None:
            return
        negotiated = agreement.sections[mid]
        describe_negotiated(track, negotiated)
        track.negotiated = negotiated
        handle = self.peer.publish(
            negotiated,
            ordered_rids(negotiated.rids, track.info.layers),
            group=self._session.room.microphones if track.is_microphone else None,
            encrypted=bool(track.info.encryption),
        )
        self._published[mid] = track
        self._session.published(track, handle)

    def _subscribe(self, mid: str, track_id: str, sending: Sending) -> None:
        agreement, subscription = self._agreement, self._session.subscriptions[track_id]
        track = subscription.track
        if agreement is None or self.peer is None or track.handle is None or track.negotiated is None:
            return
        subscription.handle = self.peer.subscribe(
            track.handle,
            mid=mid,
            ssrc=sending.ssrc,
            rtx_ssrc=sending.rtx_ssrc,
            payloads=payload_map(track.negotiated.codecs, agreement.sections[mid].codecs),
            red=red_payload(agreement.sections[mid].codecs) if track.takes_redundancy else None,
            fec=agreement.sections[mid].fec,
            fec_ssrc=sending.fec_ssrc,
            wanted=subscription.wanted,
        )
        self._session.subscribed(subscription, mid, self.transport)

    def _fresh(self, track: Track) -> Sending:
        return Sending(track.owner.id, track.id, ids.ssrc(), ids.ssrc(), ids.ssrc())

    def _reservation(self) -> Sending:
        return Sending(self._session.participant.id, ids.track_id(), ids.ssrc(), ids.ssrc(), ids.ssrc())


def _receive_options(track: Track) -> ReceiveOptions:
    info = track.info
    return ReceiveOptions(
        preferred_codec=track.preferred_codec,
        stereo=info.stereo,
        dtx=not info.disable_dtx,
        # What is encrypted end to end cannot be taken apart.
        red=not info.disable_red and not info.encryption,
    )
