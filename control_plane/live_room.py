"""What goes on in one room: who is told what, in which order, and what the core is asked for.

Changes of participants are gathered and told once, serialised once. Tracks that became known are subscribed to only
after that, so that a participant is always told of before media flows.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from control_plane import data, demand
from control_plane.demand import Highest
from control_plane.encodings import Encoding, ordered_rids
from control_plane.errors import NotFoundError
from control_plane.media import MediaCore, MediaPeer, codec_rows, set_view
from control_plane.negotiation.model import Negotiated
from control_plane.rooms import Participant, Room, Track
from control_plane.serving import Serving, Subscription
from control_plane.speakers import Voice
from control_plane.subscriptions import Wanted
from control_plane.voices import Voices
from pysfu.v1 import models_pb2, rooms_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

if TYPE_CHECKING:
    from control_plane.client_offers import ClientOffers
    from control_plane.node import Node
    from control_plane.server_offers import ServerOffers
    from control_plane.session import Session

log = structlog.get_logger(__name__)

# Least time between two updates to everyone: longer costs less, shorter shows changes sooner.
UPDATE_INTERVAL: Final = 0.05
# Messages per second that the updates of one room may cost. A bigger room is told less often, but of new tracks sooner
# than of anything else: media waits for that.
UPDATE_MESSAGES: Final = 1_000
UPDATE_MESSAGES_TRACKS: Final = 5_000
_groups: Final = itertools.count(1)


class LiveRoom:
    """A room with its sessions."""

    def __init__(self, room: Room, node: "Node") -> None:
        self.room = room
        self.microphones: Final = next(_groups)
        """The core's name for them, of which the loudest are forwarded."""
        self._node = node
        self.serving: Final = Serving(self, node.core)
        self.voices: Final = Voices(self, node.core)
        self._loop = asyncio.get_running_loop()
        self._changed: dict[str, Participant] = {}
        self._gone: list[models_pb2.Participant] = []
        self._fresh: list[Track] = []
        self._update: asyncio.Handle | None = None
        self._updated_at = 0.0
        self._update_at = 0.0
        self._room_changed = False
        self._tracks: dict[str, Track] = {}
        self.qualities_elsewhere: dict[str, signaling_pb2.ConnectionQualities.Update] = {}
        """What other nodes tell of their participants' connections, by participant id."""

    @property
    def name(self) -> str:
        return self.room.name

    @property
    def node_id(self) -> str:
        return self._node.id

    @property
    def _core(self) -> MediaCore:
        return self._node.core

    # Participants.

    def join(self, participant: Participant) -> None:
        """Everyone else is told of it soon."""
        self.room.participants[participant.identity] = participant
        if participant.session is not None:
            participant.info.state = models_pb2.Participant.STATE_JOINED
            self._node.neighbours.changed(self, participant)
        self._changed[participant.id] = participant
        self._schedule_update()
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_PARTICIPANT_JOINED, self, participant)

    def leave(self, participant: Participant, reason: "models_pb2.DisconnectReason.ValueType") -> None:
        """Called by a session that ends, and of another node by whoever hears of it."""
        if self.room.participants.get(participant.identity) is participant:
            del self.room.participants[participant.identity]
        self._changed.pop(participant.id, None)
        participant.info.state = models_pb2.Participant.STATE_DISCONNECTED
        participant.info.version += 1
        gone = models_pb2.Participant()
        gone.CopyFrom(participant.snapshot())
        if not participant.hidden:
            self._gone.append(gone)
        self._schedule_update()
        if participant.session is not None:
            self._node.neighbours.left(self, participant, reason)
            self._node.left(participant.session)
        else:
            self.voices.forget_elsewhere(participant.id)
        self.qualities_elsewhere.pop(participant.id, None)
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_PARTICIPANT_LEFT, self, participant)

    def adopt(self, participant: Participant) -> None:
        """It comes from another node of the cluster: for the others nothing has changed."""
        self.room.participants[participant.identity] = participant
        if participant.id in self._changed:
            self._changed[participant.id] = participant
        if participant.session is not None:
            self.voices.forget_elsewhere(participant.id)
            self._node.neighbours.adopted(self, participant)
            self.welcome(participant.session)

    def handed_over(self, session: "Session") -> None:
        """Another node tells of its participant from now on."""
        for track in session.participant.tracks.values():
            self.voices.forget(track)
        self._node.left(session)
        self._node.neighbours.handed_over(self, session.participant)

    def changed(self, participant: Participant) -> None:
        """Something that others see of a participant is new."""
        participant.revise()
        if participant.session is not None:
            self._node.neighbours.changed(self, participant)
        self._changed[participant.id] = participant
        self._schedule_update()
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_PARTICIPANT_UPDATED, self, participant)

    def set_metadata(self, metadata: str) -> None:
        self.room.info.metadata = metadata
        self._node.neighbours.room_changed(self)
        self.room_changed()

    def room_changed(self) -> None:
        self._room_changed = True
        self._schedule_update()
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_ROOM_UPDATED, self)

    def permissions_changed(self, publisher: Participant) -> None:
        """Who may subscribe to what this participant publishes."""
        if publisher.session is not None:
            self._node.neighbours.changed(self, publisher)
        for track in publisher.tracks.values():
            for other in self.room.sessions():
                had = track.id in other.subscriptions
                other.consider(track)
                has = track.id in other.subscriptions
                if had != has:
                    message = signaling_pb2.SubscriptionPermissionChanged(
                        participant_id=publisher.id, track_id=track.id, allowed=has
                    )
                    other.emit(SessionResponse(subscription_permission_changed=message))

    def permission_changed(self, session: "Session") -> None:
        """What its participant itself may do."""
        participant = session.participant
        pending = [encoding.track for encoding in session.publications.pending.values()]
        for track in dict.fromkeys([*participant.tracks.values(), *pending]):
            if not participant.permission.can_publish:
                session.publications.remove(track)
        for track in list(self._tracks.values()):
            session.consider(track)
        self.changed(participant)

    def tell_neighbours(self, voices: Mapping[str, Voice]) -> None:
        """Changed voices of participants of this node, by their ids."""
        if voices:
            self._node.neighbours.voices(self, voices)

    def broadcast(self, message: SessionResponse, besides: Participant | None = None) -> None:
        """To every session, serialised once."""
        payload = message.SerializeToString()
        for session in self.room.sessions():
            if session.participant is not besides:
                session.emit(payload)

    # Tracks.

    def track(self, track_id: str) -> Track | None:
        """An announced one."""
        return self._tracks.get(track_id)

    def known_track(self, track_id: str) -> Track:
        """Raises NotFoundError."""
        track = self.track(track_id)
        if track is None:
            raise NotFoundError(f"room {self.name!r} has no track {track_id[:40]!r}")
        return track

    def published(self, encoding: Encoding) -> None:
        """A new track, or one more encoding of a track that is known."""
        track, handle = encoding.track, encoding.handle
        if handle is None:
            return
        if track.owner.session is not None:
            self._node.neighbours.came_home(self, encoding)
        track.describe()
        self._node.add_track(encoding, self)
        if track.muted_by_server:
            self._core.set_muted(handle, True)
        if track.kind == "video" and track.owner.session is not None:
            # Links tell what a track shows along with it.
            sizes = demand.sizes(track.info, encoding.told.layers)
            self._core.describe(handle, source=demand.source(track.info), sizes=sizes)
        self.changed(track.owner)
        if not encoding.is_first:
            if track.rank is not None:
                self._core.set_speaker(handle, track.rank)
            self.serving.changed(track)
            return
        self._tracks[track.id] = track
        self.voices.rank(track)
        self._fresh.append(track)
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_TRACK_PUBLISHED, self, track.owner, track)

    def replaced(self, encoding: Encoding, handle: int) -> None:
        """The core has it by another handle, and what received the former one has ended."""
        track = encoding.track
        if encoding.handle is not None:
            self._node.remove_track(encoding.handle)
        encoding.handle = handle
        self._node.add_track(encoding, self)
        for session in self.room.sessions():
            subscription = session.subscriptions.get(track.id)
            if subscription is not None and subscription.encoding is encoding:
                session.drop_subscription(track)
                session.consider(track)

    def rehomed(self, encoding: Encoding, former: int) -> None:
        """Its participant has moved, here or elsewhere, and it comes from there. Who receives it goes on."""
        handle, negotiated, track = encoding.handle, encoding.negotiated, encoding.track
        if handle is None or negotiated is None:
            return
        is_here = track.owner.session is not None
        self._node.remove_track(former)
        self._node.add_track(encoding, self)
        if track.muted_by_server:
            self._core.set_muted(handle, True)
        if track.kind == "video" and is_here:
            self._core.describe(
                handle, source=demand.source(track.info), sizes=demand.sizes(track.info, encoding.told.layers)
            )
            if track.rank is not None:
                self._core.set_speaker(handle, track.rank)
        if is_here:
            encoding.active.clear()
        self.serving.rehomed(encoding)
        if is_here:
            self._node.neighbours.came_home(self, encoding)
        track.describe()
        self.changed(track.owner)

    def renegotiated(self, encoding: Encoding, negotiated: Negotiated) -> None:
        """Formats, layers or sources of what is published may be new."""
        before, came_in = encoding.negotiated, encoding.codec
        if encoding.handle is None or before is None or _config(before) == _config(negotiated):
            return
        encoding.negotiate(negotiated)
        rids = ordered_rids(negotiated.rids, encoding.told.layers)
        ssrcs = encoding.announced_sources(rids)
        self._core.update_publish(
            encoding.handle, mid=negotiated.mid, codecs=codec_rows(negotiated), rids=rids, ssrcs=ssrcs
        )
        self._node.neighbours.changed(self, encoding.track.owner)
        self.reformatted(encoding, before, came_in)

    def reformatted(self, encoding: Encoding, before: Negotiated, came_in: str) -> None:
        """It was in other formats before, and came in another codec."""
        track, negotiated = encoding.track, encoding.negotiated
        track.describe()
        if negotiated is not None and _formats(before) != _formats(negotiated):
            # Payload types translate differently now: subscribe anew.
            for other in self.room.sessions():
                subscription = other.subscriptions.get(track.id)
                if subscription is not None and subscription.encoding in (None, encoding):
                    other.drop_subscription(track)
                    other.consider(track)
        if encoding.codec != came_in:
            self._codec_changed(track)

    def started(self, encoding: Encoding, codec: str) -> None:
        """The first packet has come: a client may send another format than the first that was negotiated."""
        if encoding.track.owner.session is None:
            return
        if encoding.track.kind == "video" and codec != encoding.codec:
            encoding.expect(codec)
            self._codec_changed(encoding.track)

    def _codec_changed(self, track: Track) -> None:
        track.describe()
        self.changed(track.owner)
        for other in self.room.sessions():
            other.retry(track)
        self.serving.changed(track)

    def needs_changed(self, track: Track) -> None:
        """Other backups of it are needed here than before: viewers on other nodes go by that, too."""
        self._node.neighbours.changed(self, track.owner)

    def layer_active(self, encoding: Encoding, layer: int, active: bool) -> None:
        """A layer begins or ceases to flow. Of tracks of other nodes the home tells it, also while none comes here."""
        if encoding.track.owner.session is None:
            return
        (encoding.active.add if active else encoding.active.discard)(layer)
        self.serving.changed(encoding.track)
        if len(encoding.track.encodings) > 1:
            self._node.neighbours.changed(self, encoding.track.owner)

    def withdrawn(self, encoding: Encoding) -> None:
        """A backup is not published any more: who has it moves to something else."""
        track, handle = encoding.track, encoding.handle
        if handle is None:
            return
        self._node.remove_track(handle)
        encoding.withdraw()
        track.describe()
        self.serving.decide(track)
        track.owner.home.release(handle)
        self.changed(track.owner)

    def unpublished(self, track: Track) -> None:
        """The owner has dropped it already."""
        self._tracks.pop(track.id, None)
        if track in self._fresh:
            self._fresh.remove(track)
        for other in self.room.sessions():
            other.forget_track(track)
        self.voices.forget(track)
        self.serving.forget(track)
        for handle in track.handles():
            self._node.remove_track(handle)
            track.owner.home.release(handle)
        for encoding in track.encodings:
            encoding.handle = None
        self._node.emit_event(rooms_pb2.RoomEvent.KIND_TRACK_UNPUBLISHED, self, track.owner, track)
        if not track.owner.home.ended:
            self.changed(track.owner)

    def set_muted(self, track: Track, muted: bool) -> None:
        """In the core: drops what comes."""
        for handle in track.handles():
            self._core.set_muted(handle, muted)

    # Subscriptions.

    def welcome(self, session: "Session") -> None:
        """Subscribes a participant that joins to what is there."""
        for track in list(self._tracks.values()):
            session.consider(track)

    def subscriber_added(self, track: Track) -> None:
        track.subscribers += 1
        if track.subscribers == 1:
            track.owner.home.first_subscriber(track)

    def subscribed(self, subscription: "Subscription", session: "Session") -> None:
        self._node.add_subscription(subscription, session)

    def unsubscribe(self, subscription: "Subscription", session: "Session") -> None:
        handle = subscription.handle
        if handle is None:
            return
        self._node.remove_subscription(handle)
        subscription.handle = None
        peer = session.data_peer
        if peer is not None and not peer.lost:
            _quietly(lambda: self._core.unsubscribe(handle))

    def set_wanted(self, subscription: "Subscription", wanted: Wanted) -> None:
        """The core is told what has changed."""
        before, handle = subscription.wanted, subscription.handle
        subscription.wanted = wanted
        if wanted.paused != before.paused:
            self.serving.changed(subscription.track)
        if handle is None:
            return
        if wanted.view != before.view:
            set_view(self._core, handle, wanted.view)
        limits = wanted.paused, wanted.max_spatial, wanted.max_temporal
        if limits != (before.paused, before.max_spatial, before.max_temporal):
            self._core.set_wanted(handle, paused=limits[0], max_spatial=limits[1], max_temporal=limits[2])

    def layers_wanted(self, encoding: Encoding, highest: Highest | None) -> None:
        """Subscribers on all workers together can use this much of it."""
        encoding.wanted = highest
        encoding.track.owner.home.tell_wanted(encoding.track)

    # Transports and data.

    def open_peer(self, session: "Session", offers: "ClientOffers | ServerOffers") -> MediaPeer:
        # Offers have to leave it to the client who begins (RFC 8842 section 5.5).
        peer = MediaPeer(self._core, begins=bool(session.came_from) and offers is session.publisher)
        self._node.add_peer(peer, session, offers)
        return peer

    def close_peer(self, peer: MediaPeer) -> None:
        self._node.remove_peer(peer)
        _quietly(peer.close)

    def unpublish(self, handle: int) -> None:
        """In the core: the encoding is not published any more."""
        _quietly(lambda: self._core.unpublish(handle))

    def open_data_channel(self, peer: MediaPeer, label: str) -> None:
        ordered, retransmits = data.channel_options(label)
        self._core.open_data_channel(peer.handle, label=label, ordered=ordered, max_retransmits=retransmits)

    def send_data(
        self,
        sender_id: str,
        label: str,
        payload: bytes,
        binary: bool,
        to_ids: Collection[str] = (),
        to_identities: Collection[str] = (),
    ) -> None:
        """To the channels with this label of those named, or of everyone but the sender, on whatever node they are."""
        self.deliver_data(sender_id, label, payload, binary, to_ids, to_identities)
        message = models_pb2.DataMessage(label=label, payload=payload, binary=binary, sender_id=sender_id)
        self._node.neighbours.data(self, message, to_ids, to_identities)

    def deliver_data(
        self,
        sender_id: str,
        label: str,
        payload: bytes,
        binary: bool,
        to_ids: Collection[str] = (),
        to_identities: Collection[str] = (),
    ) -> None:
        """To those of them who are on this node."""
        found = data.receivers(self.room.participants.values(), sender_id, to_ids, to_identities)
        sessions = (item.session for item in found if item.session is not None)
        peers = [peer.handle for item in sessions if (peer := item.data_peer) is not None and peer.connected]
        if peers:
            self._core.send_data(peers, label=label, payload=payload, binary=binary)

    # Updates.

    def close(self) -> None:
        self.serving.close()
        self.voices.close()
        if self._update is not None:
            self._update.cancel()

    def _schedule_update(self) -> None:
        if self.room.ended:
            return
        at = self._updated_at + update_interval(len(self.room.participants), new_tracks=bool(self._fresh))
        if self._update is not None:
            if self._update_at <= at:
                return
            self._update.cancel()
        self._update_at = at
        wait = at - self._loop.time()
        later = self._loop.call_later
        self._update = later(wait, self._tell_update) if wait > 0 else self._loop.call_soon(self._tell_update)

    def _tell_update(self) -> None:
        self._update = None
        self._updated_at = self._loop.time()
        changed, gone, fresh = self._changed, self._gone, self._fresh
        self._changed, self._gone, self._fresh = {}, [], []
        visible = [participant.snapshot() for participant in changed.values() if not participant.hidden]
        if visible or gone:
            update = signaling_pb2.ParticipantsChanged(participants=[*gone, *visible])
            self.broadcast(SessionResponse(participants_changed=update))
        for participant in changed.values():
            if participant.hidden and participant.session is not None:
                own = signaling_pb2.ParticipantsChanged(participants=[participant.snapshot()])
                participant.session.emit(SessionResponse(participants_changed=own))
        if self._room_changed:
            self._room_changed = False
            self.broadcast(SessionResponse(room_changed=self.room.snapshot()))
        for session in self.room.sessions():
            try:
                for track in fresh:
                    session.consider(track)
            except Exception:
                log.exception("subscribing failed", participant=session.participant.id)


def update_interval(participants: int, *, new_tracks: bool) -> float:
    """Least seconds between two updates of a room of this size."""
    return max(UPDATE_INTERVAL, participants / (UPDATE_MESSAGES_TRACKS if new_tracks else UPDATE_MESSAGES))


def _config(negotiated: Negotiated) -> tuple[Any, ...]:
    return negotiated.mid, negotiated.codecs, negotiated.rids, negotiated.ssrcs


def _formats(negotiated: Negotiated) -> set[tuple[int, str, str]]:
    return {(codec.payload_type, codec.name, codec.fmtp) for codec in negotiated.codecs}


def _quietly(command: Callable[[], None]) -> None:
    """For what may be gone by itself: the core ends what belongs to a transport with it."""
    try:
        command()
    except Exception as error:
        log.debug("the core had nothing to free", error=str(error))
