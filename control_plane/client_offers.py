"""The transport on which the client offers: carries what it publishes and, in a single layout, what it receives."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from control_plane import ids
from control_plane.encodings import Encoding, ordered_rids
from control_plane.errors import LimitExceededError
from control_plane.media import ChannelRow, MediaPeer
from control_plane.negotiation.answer import Answer, answer
from control_plane.negotiation.assign import Assignment, assign
from control_plane.negotiation.codecs import MIME_TYPES
from control_plane.negotiation.model import Agreement, Description, ReceiveOptions, Section, SectionPlan, Sending
from control_plane.negotiation.parse import parse
from control_plane.rooms import Track, automatic_track, check_may_publish
from control_plane.serving import Place, is_decodable
from pysfu.v1 import moving_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.session import Session

MAX_TRACKS: Final = 64
# Seconds for which sections wait for tracks of others whose node has died, too. Longer spares those who come late an
# offer, shorter shows sooner who does not come back.
EXPECTED: Final = 5.0
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
        self.reserve = reserve
        self.auto_publish = auto_publish
        self._offer: Description | None = None
        self._agreement: Agreement | None = None
        self._published: dict[str, Encoding] = {}
        self._sending: dict[str, Sending] = {}
        self._reserved: dict[str, Sending] = {}
        self._expected: dict[str, Encoding] = {}
        """MID → what was published there on the node from which the session came."""
        self._channels: Sequence[ChannelRow] = ()
        """Data channels that the client has open with that node."""
        self._awaited: set[str] = set()
        """Ids of others' tracks for which sections wait: their node has died, too."""
        self._version = 0

    def state(self) -> moving_pb2.SessionState.ClientOffered:
        """What another node needs to answer this client's next offer."""
        sending = {mid: item.participant_id for mid, item in self._sending.items()}
        bound = [
            moving_pb2.SessionState.Bound(mid=mid, track_id=track_id, participant_id=sending.get(mid, ""))
            for mid, track_id in self.bound.items()
        ]
        return moving_pb2.SessionState.ClientOffered(version=self._version, bound=bound)

    @property
    def revision(self) -> int:
        """Another one after each answer."""
        return self._version

    @property
    def is_negotiated(self) -> bool:
        """There was an answer, here or elsewhere."""
        return self._version > 0

    @property
    def is_expecting(self) -> bool:
        """The client has not offered here yet what it published elsewhere."""
        return bool(self._expected)

    def section_of(self, encoding: Encoding) -> str:
        """The MID that carries it, here or where it comes from; empty while it has none."""
        sections = [*self._published.items(), *self._expected.items()]
        return next((mid for mid, other in sections if other is encoding), "")

    @property
    def channels(self) -> Sequence[ChannelRow]:
        """Data channels that the client has open, here or where it comes from."""
        return [*self._channels, *(self.peer.channels.values() if self.peer is not None else ())]

    def restore(
        self,
        state: moving_pb2.SessionState.ClientOffered,
        expected: Mapping[str, Encoding],
        channels: Sequence[ChannelRow],
    ) -> None:
        """Goes on where another node was. Sections keep their tracks, under new SSRCs: they are new streams."""
        self._version = state.version
        self._expected = dict(expected)
        self._channels = channels
        for bound in state.bound:
            subscription = self._session.subscriptions.get(bound.track_id)
            self.bound[bound.mid] = bound.track_id if subscription is not None else ""
            if subscription is not None:
                self._sending[bound.mid] = self._fresh(subscription.track)
            elif self._session.is_rebuilt and bound.track_id and bound.participant_id:
                self.bound[bound.mid] = bound.track_id
                self._sending[bound.mid] = _sending(bound.participant_id, bound.track_id)
                self._awaited.add(bound.track_id)
        if self._awaited:
            asyncio.get_running_loop().call_later(EXPECTED, self._await_no_more)

    def subscribed(self, track: Track) -> None:
        """There is a new subscription. It begins at once where a section was answered for it beforehand."""
        mid = next((mid for mid, track_id in self.bound.items() if track_id == track.id), "")
        if track.id not in self._awaited:
            self.bind_reserved(track)
            return
        self._awaited.discard(track.id)
        section = self._agreement.sections.get(mid) if self._agreement is not None else None
        if section is not None and is_decodable(track, section.codecs):
            self._place(mid, track.id, self._sending[mid])

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
        if self._channels and result.agreement.data:
            peer.restore_channels(self._channels)
            self._channels = ()
        self.peer, self._offer, self._agreement = peer, offer, result.agreement
        peer.apply(result.agreement)
        self._publish(claims, result.agreement)
        return result.sdp, {mid: item.track.id for mid, item in self._published.items()} | self.bound

    def start_sending(self) -> None:
        """Subscribes in the core what the last answer has promised."""
        for mid, track_id in self.bound.items():
            subscription = self._session.subscriptions.get(track_id)
            if subscription is not None and subscription.place is None:
                self._place(mid, track_id, self._sending[mid])
        # Tracks that were there before the sections that were answered in advance.
        for subscription in list(self._session.subscriptions.values()):
            if self.reserve and subscription.track.id not in self.bound.values():
                self.bind_reserved(subscription.track)

    def bind_reserved(self, track: Track) -> bool:
        """Sends a track in a section that was answered for it in advance; False when none is free."""
        agreement = self._agreement
        if not self.reserve or agreement is None or not track.announced:
            return False
        for mid, section in agreement.sections.items():
            if mid in self.bound or mid not in self._sending or section.kind != track.kind:
                continue
            if not is_decodable(track, section.codecs):
                continue
            self.bound[mid] = track.id
            # A section's first track goes by the SSRCs in its description, a later one by its MID: an SSRC is never
            # used for two streams, their packet indices would repeat under one key (RFC 3711 section 9.1).
            reserved = self._reserved.get(mid)
            self._reserved.pop(mid, None)
            self._place(mid, track.id, reserved or self._fresh(track))
            return True
        return False

    def released(self, track: Track) -> None:
        """The track is not subscribed to any more."""
        if self.reserve:
            self.bound = {mid: track_id for mid, track_id in self.bound.items() if track_id != track.id}
        else:
            # Bound to nothing, so that the next answer says inactive even if the track is wanted again by then.
            self.bound = {mid: "" if track_id == track.id else track_id for mid, track_id in self.bound.items()}

    def claim_late(self, encoding: Encoding) -> bool:
        """Publishes what has a section that was negotiated before it was added; False when there is none."""
        agreement = self._agreement
        if agreement is None:
            return False
        for mid, section in agreement.sections.items():
            free = section.direction in _SENDS and mid not in self._published and section.kind == encoding.track.kind
            if free and encoding.cid in (section.msid_track, mid):
                self._publish_one(mid, encoding, agreement)
                return True
        return False

    def unpublished(self, track: Track) -> None:
        self._published = {mid: other for mid, other in self._published.items() if other.track is not track}

    def sections_missing(self) -> Mapping[str, int] | None:
        """Kind → sections that the client must add; empty when a new offer is enough; None when all is well."""
        if self._offer is None or not self._receives or self.reserve:
            return None
        assignment = self._assign(self._offer)
        if assignment.missing or assignment.bound != self.bound:
            return assignment.missing
        return None

    def _claim(self, offer: Description) -> dict[str, Encoding]:
        """MID → encoding that the client sends there, without changing anything."""
        pending = dict(self._session.publications.pending)
        sending = [section for section in offer.sections if section.is_media and section.sends]
        claims: dict[str, Encoding] = {}
        for section in sending:
            cid = next((cid for cid in (section.media.msid_track, section.mid) if cid in pending), None)
            here = self._published.get(section.mid) or self._expected.get(section.mid)
            encoding = pending.pop(cid) if cid is not None else here
            if encoding is not None and encoding.track.kind == section.kind:
                claims[section.mid] = encoding
        # Firefox writes another id than the track's: what is left goes by kind, in order.
        for section in sending:
            if section.mid in claims:
                continue
            cid = next((cid for cid, item in pending.items() if item.track.kind == section.kind), None)
            encoding = pending.pop(cid) if cid is not None else self._automatic(section)
            if encoding is not None:
                claims[section.mid] = encoding
        if len(claims) > MAX_TRACKS:
            raise LimitExceededError(f"more than {MAX_TRACKS} tracks are published")
        return claims

    def _automatic(self, section: Section) -> Encoding | None:
        """For a section that no track was added for, where the session publishes such."""
        participant = self._session.participant
        if not self.auto_publish:
            return None
        track = automatic_track("audio" if section.kind == "audio" else "video", section.mid, participant)
        track.info.stream = section.media.msid_stream[:256]
        return track.first if check_may_publish(participant.permission, track.info.source) is None else None

    def _assign(self, offer: Description) -> Assignment:
        if not self._receives or self.reserve:
            return Assignment(dict(self.bound), {})
        sections = [(section.mid, section.kind) for section in offer.sections if section.is_media and section.receives]
        codecs = {section.mid: section.media.codecs for section in offer.sections}
        wanted: list[tuple[str, str]] = [(one.track.id, one.track.kind) for one in self._session.subscriptions.values()]
        wanted += [(track_id, kind) for mid, kind in sections if (track_id := self.bound.get(mid, "")) in self._awaited]
        result = assign(sections, self.bound, wanted)
        # What the client cannot decode needs no section; kinds are what sections are asked for by.
        for mid, track_id in result.bound.items():
            subscription = self._session.subscriptions.get(track_id)
            if subscription is not None and not is_decodable(subscription.track, codecs[mid]):
                self._session.fail_subscription(subscription.track)
                return self._assign(offer)
        return result

    def _answer(
        self, offer: Description, peer: MediaPeer, claims: Mapping[str, Encoding], assignment: Assignment
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
            elif self.reserve and section.receives:
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
        if self.reserve:
            self._reserved |= {mid: item for mid, item in sending.items() if mid not in self._sending}
        self._sending = sending
        self.bound = {mid: track_id for mid, track_id in assignment.bound.items() if mid in result.agreement.sections}
        return result

    def _publish(self, claims: Mapping[str, Encoding], agreement: Agreement) -> None:
        expected, self._expected = self._expected, {}
        for encoding in expected.values():
            if encoding not in claims.values():
                self._session.publications.end(encoding)
        for mid, encoding in list(self._published.items()):
            if claims.get(mid) is not encoding:
                self._published.pop(mid, None)
                self._session.publications.end(encoding)
        for mid, encoding in claims.items():
            if mid not in agreement.sections:
                continue
            if mid not in self._published:
                self._publish_one(mid, encoding, agreement)
            else:
                self._session.publications.renegotiate(encoding, agreement.sections[mid])

    def _publish_one(self, mid: str, encoding: Encoding, agreement: Agreement) -> None:
        if self.peer is None:
            return
        negotiated, track = agreement.sections[mid], encoding.track
        encoding.negotiate(negotiated)
        rids = ordered_rids(negotiated.rids, encoding.told.layers)
        handle = self.peer.publish(
            negotiated,
            rids,
            encoding.announced_sources(rids),
            group=self._session.room.microphones if track.is_microphone else None,
            encrypted=bool(track.info.encryption),
        )
        self._published[mid] = encoding
        self._session.publications.publish(encoding, handle)

    def _place(self, mid: str, track_id: str, sending: Sending) -> None:
        if self._agreement is None or self.peer is None:
            return
        section = self._agreement.sections[mid]
        place = Place(self.peer, self.transport, mid, sending, section.codecs, section.fec)
        self._session.placed(self._session.subscriptions[track_id], place)

    def _await_no_more(self) -> None:
        self.bound = {mid: "" if track_id in self._awaited else track_id for mid, track_id in self.bound.items()}
        self._awaited.clear()
        self._session.settle()

    def _fresh(self, track: Track) -> Sending:
        return _sending(track.owner.id, track.id)

    def _reservation(self) -> Sending:
        return _sending(self._session.participant.id, ids.track_id())


def _sending(participant_id: str, track_id: str) -> Sending:
    return Sending(participant_id, track_id, ids.ssrc(), ids.ssrc(), ids.ssrc())


def _receive_options(encoding: Encoding) -> ReceiveOptions:
    info = encoding.track.info
    return ReceiveOptions(
        preferred_codec=MIME_TYPES.get(encoding.preferred, ""),
        stereo=info.stereo,
        dtx=not info.disable_dtx,
        # What is encrypted end to end cannot be taken apart.
        red=not info.disable_red and not info.encryption,
    )
