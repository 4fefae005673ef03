"""This node: its media core, its rooms, and which session each event of the core is for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import structlog

from control_plane import ids, splice
from control_plane.auth import Token
from control_plane.client_offers import ClientOffers
from control_plane.demand import Highest
from control_plane.encodings import Encoding
from control_plane.errors import (
    ControlError,
    FailedPreconditionError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from control_plane.live_room import LiveRoom
from control_plane.media import MediaCore, MediaPeer
from control_plane.negotiation.model import USUAL_FEC, FecPolicy
from control_plane.negotiation.parse import parse
from control_plane.neighbours import Alone, Neighbours, RoomHolder
from control_plane.rooms import DEPARTURE_TIMEOUT, Participant, Room, Track, check_room_name, new_participant, new_room
from control_plane.server_offers import ServerOffers
from control_plane.serving import Subscription
from control_plane.session import Session
from control_plane.store import RoomStore
from control_plane.watcher import Accepts, Watcher
from pysfu.v1 import models_pb2, rooms_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

log = structlog.get_logger(__name__)

# Seconds until whoever was refused may try again: longer spares a full node, shorter lets people in sooner.
FULL_RETRY: Final = 5.0
DRAINING_RETRY: Final = 2.0


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """`resume_timeout`, in seconds: longer bridges longer gaps of signaling, shorter frees sooner what has vanished."""

    max_rooms: int = 10_000
    max_participants: int = 20_000
    max_participants_per_room: int = 0
    packets_per_second: int = 0
    """Of media that the node can do, in and out, and bits per second that it can send; they are measured, not enforced.
    0: not known."""
    egress_bps: int = 0
    resume_timeout: float = 30.0
    departure_timeout: float = DEPARTURE_TIMEOUT
    auto_create_rooms: bool = True
    fec: FecPolicy = USUAL_FEC


class Node:
    """Everything that happens on this node, on one event loop."""

    def __init__(self, core: MediaCore, store: RoomStore, limits: NodeLimits, version: str, node_id: str = "") -> None:
        self.id = node_id or ids.node_id()
        self.neighbours: Neighbours = Alone()
        self.holder: RoomHolder | None = None
        """None: what rooms there are is this node's business alone."""
        self.core = core
        self.version = version
        self.draining = False
        self.idle = asyncio.Event()
        """Set while nobody is here."""
        self.idle.set()
        self._store = store
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self._live: dict[str, LiveRoom] = {}
        self._sessions: dict[str, Session] = {}
        self._expiry: dict[str, asyncio.TimerHandle] = {}
        self._closing: dict[str, asyncio.TimerHandle] = {}
        self._peers: dict[int, tuple[MediaPeer, Session, ClientOffers | ServerOffers]] = {}
        self._tracks: dict[int, tuple[Encoding, LiveRoom]] = {}
        self._subscriptions: dict[int, tuple[Subscription, Session]] = {}
        self._watchers: set[Watcher] = set()

    # Rooms.

    def create_room(
        self, name: str, metadata: str = "", max_participants: int = 0, empty_timeout: int | None = None
    ) -> LiveRoom:
        """Returns the live one when there is one."""
        check_room_name(name)
        existing = self._store.get(name)
        if existing is not None:
            return self._live[existing.info.id]
        if self.draining:
            raise UnavailableError("the node is draining", retry_after=DRAINING_RETRY)
        if len(self._live) >= self._limits.max_rooms:
            raise LimitExceededError(f"the node holds {self._limits.max_rooms} rooms", retry_after=FULL_RETRY)
        return self._open(new_room(name, metadata, max_participants, empty_timeout))

    async def hold(self, wanted: Room, *, may_create: bool = True) -> None:
        """In a cluster: the room of that name is held here from now on, empty at first. Raises ControlError."""
        if self.holder is None or self._store.get(wanted.name) is not None:
            return
        if self.draining:
            raise UnavailableError("the node is draining", retry_after=DRAINING_RETRY)
        if len(self._live) >= self._limits.max_rooms:
            raise LimitExceededError(f"the node holds {self._limits.max_rooms} rooms", retry_after=FULL_RETRY)
        agreed = await self.holder.hold(wanted.info, may_create=may_create)
        if self._store.get(wanted.name) is None:
            self._open(Room(agreed))

    async def hold_to_join(self, token: Token, join: signaling_pb2.Join) -> None:
        """The same for a room that somebody wants to join, once it is certain that they may. To precede `join`."""
        if self.holder is None or join.resume_session_id or join.resume_participant_id:
            return
        name = _name_to_join(token, join)
        self._check_open(join)
        may_create = self._limits.auto_create_rooms or token.grants.room_create is True
        await self.hold(new_room(name), may_create=may_create)

    @asynccontextmanager
    async def seat(self, token: Token, join: signaling_pb2.Join) -> AsyncIterator[bool]:
        """To `join` within, after `hold_to_join`. True: all nodes together have a seat for who joins. False: what this
        node knows of the room has to do. Raises ControlError."""
        if join.resume_session_id or join.resume_participant_id:
            yield False
            return
        name = _name_to_join(token, join)
        async with self.seat_of(name, token.identity) as has_seat:
            if not self.is_live(name):
                # It was closed meanwhile.
                await self.hold_to_join(token, join)
            yield has_seat

    def seat_of(self, name: str, identity: str) -> AbstractAsyncContextManager[bool]:
        """Whoever comes to a room that is held here comes within it. True: all nodes together have a seat for them.
        False: what this node knows of the room has to do. Raises LimitExceededError."""
        limit = self._limit(name)
        if self.holder is None or not limit:
            return nullcontext(False)
        return self.holder.seat(name, identity, limit)

    def seated(self, name: str) -> list[str]:
        """Identities of those who are on this node in a room; of one without limit none."""
        return (
            [session.participant.identity for session in self.room(name).room.sessions()] if self._limit(name) else []
        )

    def is_live(self, name: str) -> bool:
        return self._store.get(name) is not None

    def renamed(self, live: LiveRoom, room_id: str) -> None:
        """The room was made twice, by nodes that did not see each other, and the other one's id holds."""
        before = live.room.info.id
        live.room.info.id = room_id
        self._live[room_id] = self._live.pop(before)
        timer = self._closing.pop(before, None)
        if timer is not None:
            timer.cancel()
            self._close_when_empty(live, live.room.info.empty_timeout_seconds)
        live.room_changed()

    def room(self, name: str) -> LiveRoom:
        room = self._store.get(name)
        if room is None:
            raise NotFoundError(f"no room {name[:80]!r}")
        return self._live[room.info.id]

    def rooms(self, names: Iterable[str] = ()) -> list[LiveRoom]:
        """All, or those of `names` that are live."""
        wanted = frozenset(names)
        return [self._live[room.info.id] for room in self._store.all() if not wanted or room.name in wanted]

    def end_room(self, live: LiveRoom) -> None:
        """Everyone is disconnected, on every node."""
        for session in live.room.sessions():
            session.leave(models_pb2.DISCONNECT_REASON_ROOM_ENDED, "the room has ended")
        self._end(live, ended=True)

    def end_room_here(self, live: LiveRoom) -> None:
        """The same, told by another node."""
        for session in live.room.sessions():
            session.leave(models_pb2.DISCONNECT_REASON_ROOM_ENDED, "the room has ended")
        self._end(live)

    # Sessions.

    def join(self, token: Token, join: signaling_pb2.Join, request_id: int, *, seated: bool = False) -> Session:
        """A new session, or the one that is resumed. `seated`: it is certain that the room has a place.

        Raises ControlError when refused; then nothing has changed.
        """
        name = _name_to_join(token, join)
        if join.resume_session_id or join.resume_participant_id:
            return self._resume(token, join, name, request_id)
        self._check_open(join)
        existing = self._store.get(name)
        if existing is None and not self._limits.auto_create_rooms:
            token.grants.require_room_create()
        if existing is not None and not seated:
            existing.check_capacity(token.identity, self._limits.max_participants_per_room)
        live = self.create_room(name)
        try:
            session = Session(live, join, fec=self._limits.fec)
            participant = session.participant = new_participant(token, join, session)
        except ControlError:
            if existing is None:
                self._end(live)
            raise
        # On other nodes there may be several: behind the one that is shown an older one, which has not left yet.
        while (replaced := live.room.participants.get(token.identity)) is not None:
            replaced.home.leave(models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY, "the same identity joined again")
        self._keep_open(live)
        self._sessions[session.id] = session
        self.idle.clear()
        live.join(participant)
        session.emit(self._joined(session, request_id, resumed=False))
        live.welcome(session)
        for track in join.add_tracks:
            session.handle(signaling_pb2.SessionRequest(add_track=track))
        if join.HasField("offer"):
            session.handle(signaling_pb2.SessionRequest(request_id=request_id, offer=join.offer))
        session.settle(0)
        log.info("joined", room=name, participant=participant.id, identity=token.identity, client=session.client)
        return session

    def _check_open(self, join: signaling_pb2.Join) -> None:
        """Raises ControlError for who cannot be taken, wherever the room is."""
        if self.draining:
            raise UnavailableError("the node is draining", retry_after=DRAINING_RETRY)
        if len(self._sessions) >= self._limits.max_participants:
            text = f"the node holds {self._limits.max_participants} participants"
            raise LimitExceededError(text, retry_after=FULL_RETRY)
        if join.HasField("offer"):
            parse(join.offer.sdp)

    def adopt(self, session: Session) -> None:
        """A session that comes from another node waits for its client here. Within `seat_of`."""
        self._keep_open(session.room)
        self._sessions[session.id] = session
        self.idle.clear()
        session.outbox.close()
        self.detached(session, session.outbox)
        self._seats_changed(session.room)

    @property
    def fec(self) -> FecPolicy:
        return self._limits.fec

    def session_to_resume(self, token: Token, join: signaling_pb2.Join) -> Session | None:
        """The one that is here, and the token's. Raises ControlError for a token that grants no joining."""
        name = _name_to_join(token, join)
        session = self._sessions.get(join.resume_session_id)
        if session is None and self.is_live(name):
            participant = self.room(name).room.participants.get(token.identity)
            found = participant.session if participant is not None else None
            if found is not None and found.is_it(join.resume_session_id, join.resume_participant_id):
                session = found
        if session is None or session.participant.identity != token.identity or session.room.name != name:
            return None
        return session

    def detached(self, session: Session, outbox: object) -> None:
        """A signaling stream has ended; its session waits for a while to be resumed. May be called twice."""
        if session.ended or session.outbox is not outbox or session.id in self._expiry:
            return
        session.outbox.close()
        timer = self._loop.call_later(
            self._limits.resume_timeout,
            lambda: session.leave(models_pb2.DISCONNECT_REASON_CONNECTION_TIMEOUT, "signaling was lost"),
        )
        self._expiry[session.id] = timer

    def left(self, session: Session) -> None:
        """Called by the room of a session that has ended."""
        self._sessions.pop(session.id, None)
        if not self._sessions:
            self.idle.set()
        timer = self._expiry.pop(session.id, None)
        if timer is not None:
            timer.cancel()
        live = session.room
        self._seats_changed(live)
        if not live.room.is_populated and not live.room.ended:
            self._close_when_empty(live, min(self._limits.departure_timeout, live.room.info.empty_timeout_seconds))

    def drain(self) -> None:
        """Takes no more joins."""
        self.draining = True

    def stop(self) -> None:
        """Ends every session and room."""
        self.draining = True
        for session in list(self._sessions.values()):
            session.leave(models_pb2.DISCONNECT_REASON_SERVER_SHUTDOWN, "the server stops", can_rejoin=True)
        for live in list(self._live.values()):
            self._end(live)
        for watcher in self._watchers:
            watcher.put(None)

    @property
    def num_rooms(self) -> int:
        return len(self._live)

    @property
    def num_sessions(self) -> int:
        return len(self._sessions)

    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    # What belongs to which handle of the core.

    def add_peer(self, peer: MediaPeer, session: Session, offers: ClientOffers | ServerOffers) -> None:
        self._peers[peer.handle] = (peer, session, offers)

    def remove_peer(self, peer: MediaPeer) -> None:
        self._peers.pop(peer.handle, None)

    def add_track(self, encoding: Encoding, live: LiveRoom) -> None:
        if encoding.handle is not None:
            self._tracks[encoding.handle] = (encoding, live)

    def remove_track(self, handle: int) -> None:
        self._tracks.pop(handle, None)

    def add_subscription(self, subscription: Subscription, session: Session) -> None:
        if subscription.handle is not None:
            self._subscriptions[subscription.handle] = (subscription, session)

    def remove_subscription(self, handle: int) -> None:
        self._subscriptions.pop(handle, None)

    def participant_of(self, peer: int) -> Participant | None:
        found = self._peers.get(peer)
        return found[1].participant if found is not None else None

    # Events of the core.

    def on_event(self, event: tuple[Any, ...]) -> None:
        """One event as `pysfu._core` documents them. An event for what is gone by now is ignored."""
        handler = self._EVENTS.get(event[0])
        if handler is None:
            return
        try:
            handler(self, *event[1:])
        except ControlError as error:
            log.warning("event refused", core_event=event[0], error=str(error))
        except Exception:
            log.exception("event failed", core_event=event[0])

    def _on_ice_connected(self, peer: int, _: str, __: int) -> None:
        found = self._peers.get(peer)
        if found is not None:
            found[1].ice_connected(found[2])

    def _on_connected(self, peer: int, profile: str) -> None:
        found = self._peers.get(peer)
        if found is not None:
            log.debug("media connected", participant=found[1].participant.id, profile=profile)
            found[1].peer_connected(found[2])

    def _on_disconnected(self, peer: int, reason: str) -> None:
        found = self._peers.get(peer)
        if found is not None:
            found[0].lost = True
            found[1].peer_lost(found[2], reason)

    def _on_stream_paused(self, subscription: int, paused: bool) -> None:
        found = self._subscriptions.get(subscription)
        if found is not None:
            found[1].stream_paused(found[0], paused)

    def _on_layers_wanted(self, track: int, highest: Highest | None) -> None:
        found = self._tracks.get(track)
        if found is not None:
            found[1].layers_wanted(found[0], highest)

    def _on_track_started(self, track: int, codec: str) -> None:
        found = self._tracks.get(track)
        if found is not None:
            found[1].started(found[0], codec)

    def _on_layer_active(self, track: int, layer: int, active: bool) -> None:
        found = self._tracks.get(track)
        if found is not None:
            found[1].layer_active(found[0], layer, active)

    def _on_audio_levels(self, levels: list[tuple[int, int, bool]]) -> None:
        for handle, dbov, active in levels:
            found = self._tracks.get(handle)
            if found is not None:
                found[1].voices.heard(found[0].track, dbov, active)

    def _on_data_channel_opened(
        self, peer: int, label: str, _: bool, how: tuple[int, bool, int | None, int | None]
    ) -> None:
        found = self._peers.get(peer)
        if found is not None:
            stream, ordered, max_retransmits, max_lifetime = how
            found[0].channels[label] = (stream, label, ordered, max_retransmits, max_lifetime)

    def _on_data_channel_closed(self, peer: int, label: str) -> None:
        found = self._peers.get(peer)
        if found is not None:
            found[0].channels.pop(label, None)

    def _on_data_received(self, peer: int, label: str, binary: bool, payload: bytes) -> None:
        found = self._peers.get(peer)
        if found is not None:
            channel = found[0].channels.get(label)
            found[1].data_received(label, binary, payload, channel is None or channel[3:] == (None, None))

    def _on_command_failed(self, peer: int | None, message: str) -> None:
        participant = self.participant_of(peer) if peer is not None else None
        log.warning("the core refused a command", participant=participant.id if participant else None, reason=message)

    def _on_link_alive(self, link: int, alive: bool) -> None:
        self.neighbours.link_alive(link, alive)

    def _on_mirror_ended(self, track: int) -> None:
        self.neighbours.mirror_ended(track)

    def _on_worker_failed(self, worker: int) -> None:
        # Its transports are reported lost one by one.
        log.error("a media worker has failed", worker=worker)

    _EVENTS: Final[dict[str, Callable[..., None]]] = {
        "ice_connected": _on_ice_connected,
        "connected": _on_connected,
        "disconnected": _on_disconnected,
        "stream_paused": _on_stream_paused,
        "track_started": _on_track_started,
        "layer_active": _on_layer_active,
        "layers_wanted": _on_layers_wanted,
        "audio_levels": _on_audio_levels,
        "data_channel_opened": _on_data_channel_opened,
        "data_channel_closed": _on_data_channel_closed,
        "data_received": _on_data_received,
        "link_alive": _on_link_alive,
        "mirror_ended": _on_mirror_ended,
        "command_failed": _on_command_failed,
        "worker_failed": _on_worker_failed,
    }

    # Events for watchers.

    def watch(self, room: str, accepts: Accepts | None = None) -> Watcher:
        """Events of one room, or of all when `room` is empty. Give it back to `unwatch`."""
        watcher = Watcher(room, accepts)
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def emit_event(
        self,
        kind: "rooms_pb2.RoomEvent.Kind.ValueType",
        live: LiveRoom,
        participant: Participant | None = None,
        track: Track | None = None,
    ) -> None:
        watchers = [watcher for watcher in self._watchers if watcher.accepts(kind, live, participant)]
        if not watchers:
            return
        event = rooms_pb2.RoomEvent(kind=kind, room=live.room.snapshot())
        if participant is not None:
            event.participant.CopyFrom(participant.snapshot())
        if track is not None:
            event.track.CopyFrom(track.info)
        for watcher in watchers:
            watcher.put(event)

    def _resume(self, token: Token, join: signaling_pb2.Join, name: str, request_id: int) -> Session:
        session = self.session_to_resume(token, join)
        if session is None:
            raise StateMismatchError("no such session, join anew")
        timer = self._expiry.pop(session.id, None)
        if timer is not None:
            timer.cancel()
        session.attach()
        session.emit(self._joined(session, request_id, resumed=True))
        for track in join.add_tracks:
            session.handle(signaling_pb2.SessionRequest(add_track=track))
        if join.HasField("offer"):
            session.handle(signaling_pb2.SessionRequest(request_id=request_id, offer=join.offer))
        session.resumed()
        log.info("resumed", room=name, participant=session.participant.id)
        return session

    def _joined(self, session: Session, request_id: int, *, resumed: bool) -> bytes:
        """Serialised: the others are as many as the room is big, and each is serialised once for all who join."""
        live, participant = session.room, session.participant
        others = [p.encoded() for p in live.room.participants.values() if p is not participant and not p.hidden]
        joined = signaling_pb2.Joined(
            session_id=session.id,
            room=live.room.snapshot(),
            participant=participant.snapshot(),
            resumed=resumed,
            server_version=self.version,
            node_id=self.id,
            moved=session.arriving,
            rebuilt=session.arriving and session.is_rebuilt,
        )
        content = joined.SerializeToString() + splice.repeated(signaling_pb2.Joined.OTHERS_FIELD_NUMBER, others)
        response = SessionResponse(request_id=request_id).SerializeToString()
        return response + splice.field(SessionResponse.JOINED_FIELD_NUMBER, content)

    def _limit(self, name: str) -> int:
        """Of a room's participants; 0 without one."""
        room = self._store.get(name)
        return room.limit(self._limits.max_participants_per_room) if room is not None else 0

    def _seats_changed(self, live: LiveRoom) -> None:
        if self.holder is not None and self._limit(live.name):
            self.holder.seats_changed(live.name)

    def _keep_open(self, live: LiveRoom) -> None:
        timer = self._closing.pop(live.room.info.id, None)
        if timer is not None:
            timer.cancel()

    def _close_when_empty(self, live: LiveRoom, after: float) -> None:
        self._keep_open(live)
        self._closing[live.room.info.id] = self._loop.call_later(after, self._end, live)

    def _open(self, room: Room) -> LiveRoom:
        room = self._store.add(room)
        live = self._live[room.info.id] = LiveRoom(room, self)
        self._close_when_empty(live, room.info.empty_timeout_seconds)
        self.emit_event(rooms_pb2.RoomEvent.KIND_ROOM_STARTED, live)
        log.info("room started", room=live.name, id=room.info.id)
        self.neighbours.opened(live)
        return live

    def _end(self, live: LiveRoom, ended: bool = False) -> None:
        if live.room.ended:
            return
        live.room.ended, live.room.finished = True, ended
        self._keep_open(live)
        self._store.remove(live.room)
        self._live.pop(live.room.info.id, None)
        self.neighbours.closed(live, ended=ended)
        if self.holder is not None:
            self.holder.release(live.room.info, ended=ended)
        live.close()
        self.emit_event(rooms_pb2.RoomEvent.KIND_ROOM_ENDED, live)
        log.info("room ended", room=live.name, id=live.room.info.id)


def _name_to_join(token: Token, join: signaling_pb2.Join) -> str:
    """Raises ControlError when the token does not grant it."""
    name = join.room or token.grants.room
    token.grants.require_room_join(name)
    if not token.identity:
        raise PermissionDeniedError("the token has no identity (sub)")
    check_room_name(name)
    return name


class StateMismatchError(FailedPreconditionError):
    """A session to be resumed is not there: the client starts over."""
