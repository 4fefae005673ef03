"""The subscriber transport of a split layout: the server offers, one offer at a time, changes in between gathered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from control_plane import ids
from control_plane.client_offers import EXPECTED
from control_plane.errors import FailedPreconditionError
from control_plane.media import ChannelRow, MediaPeer
from control_plane.negotiation.model import Agreement, Codec, Sending
from control_plane.negotiation.offer import OfferedSection, offer, read_answer
from control_plane.negotiation.parse import parse
from control_plane.negotiation.state import codec_of, format_of
from control_plane.rooms import KIND_VALUES, KINDS, MediaKind, Track
from control_plane.serving import Place, is_decodable
from pysfu.v1 import moving_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.session import Session


# More offers than a node makes that others have not heard of.
GAP: Final = 1 << 16


@dataclass(slots=True)
class _Slot:
    """A section. `cooling` until an answer has accepted it inactive: only then may it carry another track."""

    mid: str
    kind: MediaKind
    codecs: tuple[Codec, ...]
    sending: Sending | None = None
    cooling: bool = False


class ServerOffers:
    """State of one such transport. `labels`: data channels that we open."""

    transport = signaling_pb2.TRANSPORT_SUBSCRIBER

    def __init__(self, session: "Session", labels: Sequence[str]) -> None:
        self.peer: MediaPeer | None = None
        self.labels = tuple(labels)
        self._session = session
        self._slots: list[_Slot] = []
        self._offered: tuple[OfferedSection, ...] = ()
        self._outstanding: int | None = None
        self._dirty = bool(labels)
        self._last_id = 0
        self._known_id = 0
        """Of the last offer that is known of a node that has died; our own are far from it."""
        self._channels: Sequence[ChannelRow] = ()
        """Data channels that the client has open with the node from which the session came."""
        self._former = ""
        """That node's fingerprint, until the client's ICE has come here."""
        self._has_ice = False
        self._agreement: Agreement | None = None

    @property
    def revision(self) -> int:
        """Another one after each offer and each answer."""
        return 2 * self._last_id + (self._outstanding is None)

    def is_unknown(self, offer_id: int) -> bool:
        """Another node made that offer after what is known of it here."""
        return self._known_id < offer_id <= self._known_id + GAP

    @property
    def is_negotiated(self) -> bool:
        """There was an offer, here or elsewhere."""
        return self._last_id > 0

    @property
    def channels(self) -> Sequence[ChannelRow]:
        """Data channels that the client has open, here or where it comes from."""
        return list(self.peer.channels.values()) if self.peer is not None else self._channels

    def state(self) -> moving_pb2.SessionState.ServerOffered:
        """What another node needs to offer next."""
        return moving_pb2.SessionState.ServerOffered(
            last_id=self._last_id,
            known_id=self._known_id,
            fingerprint=self.peer.local.fingerprint if self.peer is not None else "",
            slots=[
                moving_pb2.SessionState.Slot(
                    mid=slot.mid,
                    kind=KIND_VALUES[slot.kind],
                    participant_id=slot.sending.participant_id if slot.sending is not None else "",
                    track_id=slot.sending.track_id if slot.sending is not None else "",
                    cooling=slot.cooling,
                    formats=map(format_of, slot.codecs),
                )
                for slot in self._slots
            ],
        )

    def restore(self, state: moving_pb2.SessionState.ServerOffered, channels: Sequence[ChannelRow]) -> None:
        """Goes on where another node was: the same sections, their tracks under new SSRCs.

        First with that node's fingerprint: ICE alone starts over, and the client receives from there meanwhile. Then
        with our own: DTLS starts over where ICE is by then, instead of sending its first flights to the former node.
        """
        self._channels, self._former = channels, state.fingerprint
        self._last_id, self._known_id = state.last_id, state.known_id or state.last_id
        if self._session.is_rebuilt:
            self._last_id += GAP
        self._dirty = True
        is_rebuilt = self._session.is_rebuilt
        for told in state.slots:
            slot = _Slot(told.mid, KINDS[told.kind], tuple(map(codec_of, told.formats)), cooling=told.cooling)
            if told.track_id in self._session.subscriptions or (told.track_id and is_rebuilt):
                slot.sending = Sending(told.participant_id, told.track_id, ids.ssrc(), ids.ssrc(), ids.ssrc())
            elif told.track_id:
                slot.cooling = True
            self._slots.append(slot)
        if is_rebuilt:
            asyncio.get_running_loop().call_later(EXPECTED, self._expect_no_more)

    def subscribed(self, track: Track) -> None:
        """There is a new subscription. It begins at once where a section was negotiated for it beforehand."""
        slot = next((one for one in self._slots if one.sending is not None and one.sending.track_id == track.id), None)
        if slot is None or slot.sending is None:
            self._dirty = True
        elif self._agreement is not None and any(offered.sending is slot.sending for offered in self._offered):
            self._place(slot, slot.sending, self._agreement)

    def restart(self) -> None:
        """Restarts ICE with the next offer, which replaces one that is outstanding."""
        if self.peer is not None:
            self.peer.restart()
            self._outstanding = None
            self._dirty = True

    def next_offer(self) -> signaling_pb2.SessionDescription | None:
        """The offer to send now; None while there is nothing new, or an answer is awaited."""
        if not self._dirty or self._outstanding is not None:
            return None
        self._fill_slots()
        if not self._slots and not self.labels:
            self._dirty = False
            return None
        if self.peer is None:
            self.peer = self._session.open_peer(self)
            if self._channels:
                self.peer.restore_channels(self._channels)
        self._dirty = False
        self._last_id += 1
        self._outstanding = self._last_id
        self._offered = tuple(OfferedSection(slot.mid, slot.kind, slot.sending, slot.codecs) for slot in self._slots)
        local = self.peer.local
        sdp = offer(
            self._offered,
            replace(local, fingerprint=self._former or local.fingerprint),
            data=bool(self.labels),
            session_id=self._session.sdp_session_id,
            version=self._last_id,
            with_fec=self._session.fec.send,
        )
        mids = {slot.mid: slot.sending.track_id for slot in self._slots if slot.sending is not None}
        return signaling_pb2.SessionDescription(
            transport=self.transport, sdp=sdp, id=self._outstanding, mid_to_track_id=mids
        )

    def receive_answer(self, sdp: str, offer_id: int) -> None:
        """Raises NegotiationError, or FailedPreconditionError when it answers no outstanding offer."""
        if self._outstanding is None or self.peer is None or offer_id not in (0, self._outstanding):
            raise FailedPreconditionError(f"no offer with id {offer_id} is outstanding")
        agreement = read_answer(parse(sdp), self._offered, data=bool(self.labels))
        self._outstanding, self._agreement = None, agreement
        self.peer.apply(agreement)
        self._settle_former()
        for slot, offered in zip(self._slots, self._offered, strict=False):
            if offered.sending is None:
                slot.cooling = False
            elif slot.sending is offered.sending:
                self._place(slot, offered.sending, agreement)

    def ice_connected(self) -> None:
        """The client's ICE is here."""
        self._has_ice = True
        self._settle_former()

    def _settle_former(self) -> None:
        if self._former and self._has_ice and self._outstanding is None:
            self._former = ""
            self._dirty = True

    def released(self, track: Track) -> None:
        """The track is not subscribed to any more."""
        for slot in self._slots:
            if slot.sending is not None and slot.sending.track_id == track.id:
                slot.sending, slot.cooling = None, True
                self._dirty = True

    def _expect_no_more(self) -> None:
        for slot in self._slots:
            if slot.sending is not None and slot.sending.track_id not in self._session.subscriptions:
                slot.sending, slot.cooling = None, True
                self._dirty = True
        self._session.settle()

    def _fill_slots(self) -> None:
        placed = {slot.sending.track_id for slot in self._slots if slot.sending is not None}
        for subscription in self._session.subscriptions.values():
            track = subscription.track
            if track.id in placed or not track.announced:
                continue
            slot = next((s for s in self._slots if s.kind == track.kind and s.sending is None and not s.cooling), None)
            if slot is None:
                slot = _Slot(f"{track.kind[0]}{len(self._slots)}", track.kind, ())
                self._slots.append(slot)
            slot.codecs = track.formats
            slot.sending = Sending(track.owner.id, track.id, ids.ssrc(), ids.ssrc(), ids.ssrc())

    def _place(self, slot: _Slot, sending: Sending, agreement: Agreement) -> None:
        subscription = self._session.subscriptions.get(sending.track_id)
        if subscription is None or subscription.place is not None or self.peer is None:
            return
        section = agreement.sections.get(slot.mid)
        if section is None or section.direction == "inactive" or not is_decodable(subscription.track, section.codecs):
            self._session.fail_subscription(subscription.track)
            return
        place = Place(self.peer, self.transport, slot.mid, sending, section.codecs, section.fec)
        self._session.placed(subscription, place)
