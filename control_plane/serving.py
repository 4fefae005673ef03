"""Who receives which encoding of a track, in one room: brings the core in line with what is decided."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from control_plane.demand import EVERYTHING
from control_plane.encodings import Encoding
from control_plane.media import MediaCore, MediaPeer, payload_rows
from control_plane.negotiation.codecs import payload_map, red_payload
from control_plane.negotiation.model import Codec, FecFormats, Sending
from control_plane.rooms import Track
from control_plane.selection import Viewer, choose, needs
from control_plane.subscriptions import Wanted
from pysfu.v1 import models_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.live_room import LiveRoom
    from control_plane.session import Session


log = structlog.get_logger(__name__)

# Subscribers looked at per second for one track. More decides sooner in big rooms, and costs more while many join.
VIEWERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subscriber receives a track: a section that was negotiated for it."""

    peer: MediaPeer
    transport: "signaling_pb2.Transport.ValueType"
    mid: str
    sending: Sending
    codecs: tuple[Codec, ...]
    fec: FecFormats


@dataclass(eq=False, slots=True)
class Subscription:
    """A track that a session receives. `handle` is the core's, None until a section carries it."""

    track: Track
    wanted: Wanted
    place: Place | None = None
    encoding: Encoding | None = None
    handle: int | None = None
    decodes: tuple[int, tuple[int, ...]] = (-1, ())
    """Version of the track that it was found for, and which of its encodings the subscriber decodes."""
    paused: bool = False
    """The path does not carry it."""


def is_decodable(track: Track, receiver: Sequence[Codec]) -> bool:
    """Whether a receiver of these formats can decode the track, or could once a backup is published."""
    return any(encoding.is_decoded_by(receiver) for encoding in track.encodings)


class Serving:
    """Of one room. Tracks with backup codecs are decided on for all subscribers together, a moment after a change."""

    def __init__(self, room: "LiveRoom", core: MediaCore) -> None:
        self._room = room
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._changed: dict[Track, asyncio.Handle] = {}

    def placed(self, subscription: Subscription, session: "Session") -> None:
        """A section carries the subscription from now on."""
        if len(subscription.track.encodings) > 1:
            self.changed(subscription.track)
        else:
            self._take(subscription, session, subscription.track.first)

    def changed(self, track: Track) -> None:
        """A subscriber came, left or paused, or an encoding began or ceased to flow."""
        if len(track.encodings) > 1 and track.announced and track not in self._changed:
            delay = len(self._room.room.participants) / VIEWERS
            self._changed[track] = self._loop.call_later(delay, self.decide, track)

    def decide(self, track: Track) -> None:
        """Everybody moves to what it is to have, and the publisher is told what is awaited."""
        pending = self._changed.pop(track, None)
        if pending is not None:
            pending.cancel()
        if not track.announced:
            return
        viewers = self._viewers(track)
        published = {index for index, encoding in enumerate(track.encodings) if encoding.handle is not None}
        choices, awaited = choose(
            {session: viewer for session, (_, viewer) in viewers.items()},
            published,
            {index for index in published if track.encodings[index].active},
            regress=track.info.backup_codec_policy == models_pb2.BACKUP_CODEC_POLICY_REGRESSION,
            elsewhere=track.needed_elsewhere,
        )
        needed_before, track.needed_here = track.needed_here, needs(viewer for _, viewer in viewers.values())
        before = [encoding.demand for encoding in track.encodings]
        awaited_before = [encoding.awaited for encoding in track.encodings]
        for session, choice in choices.items():
            subscription = viewers[session][0]
            if choice.now is not None:
                self._take(subscription, session, track.encodings[choice.now])
            elif subscription.handle is not None:
                # An SSRC is never used for two streams: it waits in another section.
                session.drop_subscription(track)
                session.consider(track)
        for index, encoding in enumerate(track.encodings):
            encoding.awaited = index in awaited
        is_told = [encoding.demand for encoding in track.encodings] != before
        if track.owner.session is None:
            # What else its home knows is its own business.
            is_told = [encoding.awaited for encoding in track.encodings] != awaited_before
            is_told = is_told or track.needed_here != needed_before
        elif track.needed_here != needed_before:
            self._room.needs_changed(track)
        if is_told:
            track.owner.home.tell_wanted(track)

    def rehomed(self, encoding: Encoding) -> None:
        """It is another track of the core now. Whoever receives it goes on with that."""
        handle, negotiated = encoding.handle, encoding.negotiated
        if handle is None or negotiated is None:
            return
        for session in self._room.room.sessions():
            subscription = session.subscriptions.get(encoding.track.id)
            if subscription is None or subscription.encoding is not encoding:
                continue
            place = subscription.place
            if subscription.handle is not None and place is not None:
                payloads = payload_rows(payload_map(negotiated.codecs, place.codecs))
                try:
                    self._core.redirect(subscription.handle, handle, payloads=payloads)
                except Exception as error:
                    # The core has ended it with the track that it received.
                    log.info("subscribed anew", track=encoding.track.id, reason=str(error))
                    session.drop_subscription(encoding.track)
                    session.consider(encoding.track)

    def forget(self, track: Track) -> None:
        """It is not published any more."""
        pending = self._changed.pop(track, None)
        if pending is not None:
            pending.cancel()

    def close(self) -> None:
        for pending in self._changed.values():
            pending.cancel()
        self._changed.clear()

    def _viewers(self, track: Track) -> "dict[Session, tuple[Subscription, Viewer]]":
        viewers = {}
        for session in self._room.room.sessions():
            subscription = session.subscriptions.get(track.id)
            if subscription is None or subscription.place is None:
                continue
            codecs, current = subscription.place.codecs, subscription.encoding
            if subscription.decodes[0] != track.version:
                decodes = (index for index, one in enumerate(track.encodings) if one.is_decoded_by(codecs))
                subscription.decodes = (track.version, tuple(decodes))
            viewers[session] = (
                subscription,
                Viewer(
                    subscription.decodes[1],
                    track.encodings.index(current) if current is not None else None,
                    subscription.wanted.paused,
                ),
            )
        return viewers

    def _take(self, subscription: Subscription, session: "Session", encoding: Encoding) -> None:
        place, negotiated = subscription.place, encoding.negotiated
        if subscription.encoding is encoding or place is None or encoding.handle is None or negotiated is None:
            return
        payloads = payload_map(negotiated.codecs, place.codecs)
        subscription.encoding = encoding
        if encoding.wanted is None and not subscription.wanted.paused:
            # The core is about to say how much of it.
            encoding.wanted = EVERYTHING
        if subscription.handle is not None:
            self._core.redirect(subscription.handle, encoding.handle, payloads=payload_rows(payloads))
            return
        subscription.handle = place.peer.subscribe(
            encoding.handle,
            mid=place.mid,
            ssrc=place.sending.ssrc,
            rtx_ssrc=place.sending.rtx_ssrc,
            payloads=payloads,
            red=red_payload(place.codecs) if subscription.track.takes_redundancy else None,
            fec=place.fec,
            fec_ssrc=place.sending.fec_ssrc,
            wanted=subscription.wanted,
        )
        session.subscribed(subscription, place)
