"""What other nodes say of rooms and media: checked, and passed to whom it concerns."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from control_plane import data
from control_plane.cluster.cascade.mirrors import Mirrors
from control_plane.cluster.cascade.peer import Peer
from control_plane.cluster.cascade.remote import RemoteRoom
from control_plane.errors import InvalidArgumentError
from control_plane.node import Node
from control_plane.rooms import MAX_ROOM_NAME, Track, check_metadata
from control_plane.session import Session
from pysfu.v1 import cascade_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

log = structlog.get_logger(__name__)

MAX_SPEAKERS: Final = 1_024


class Hearing:
    """Of one node. `rooms`: those that are live here, by name. `links_changed`: a link carries both ways now, or does
    not. `forget`: a node has nothing to do with a room any more."""

    def __init__(
        self,
        node: Node,
        rooms: Mapping[str, RemoteRoom],
        mirrors: Mirrors,
        links_changed: Callable[[Peer, int], None],
        forget: Callable[[RemoteRoom, Peer], None],
    ) -> None:
        self._node = node
        self._rooms = rooms
        self._mirrors = mirrors
        self._links_changed = links_changed
        self._forget = forget

    def received(self, peer: Peer, message: CascadeMessage) -> None:
        """Raises ControlError. What a newer release says beside is ignored."""
        kind = message.WhichOneof("message")
        handler = self._HANDLERS.get(kind or "")
        if handler is not None:
            handler(self, peer, getattr(message, kind or ""))

    def _on_room(self, peer: Peer, message: cascade_pb2.RemoteRoom) -> None:
        room = self._rooms.get(message.room)
        if room is None:
            peer.decline(message.room[:MAX_ROOM_NAME])
            return
        peer.share(room.live)
        room.receive(peer.id, message)

    def _on_room_left(self, peer: Peer, message: cascade_pb2.RemoteRoomLeft) -> None:
        peer.unshare(message.room)
        room = self._rooms.get(message.room)
        if room is None:
            return
        self._forget(room, peer)
        if message.ended:
            self._node.end_room_here(room.live)

    def _on_room_wanted(self, peer: Peer, message: cascade_pb2.RemoteRoomWanted) -> None:
        room = self._rooms.get(message.room)
        if room is not None:
            peer.restart_feed(room.live)

    def _on_room_update(self, peer: Peer, message: cascade_pb2.RemoteRoomUpdate) -> None:
        check_metadata(message.metadata)
        live = self._room(peer, message.room).live
        if live.room.info.metadata != message.metadata:
            live.room.info.metadata = message.metadata
            live.room_changed()

    def _on_voices(self, peer: Peer, message: cascade_pb2.RemoteVoices) -> None:
        if len(message.speakers) > MAX_SPEAKERS:
            raise InvalidArgumentError(f"more than {MAX_SPEAKERS} speakers")
        self._room(peer, message.room).voices(peer.id, message.speakers)

    def _on_qualities(self, peer: Peer, message: cascade_pb2.RemoteQualities) -> None:
        self._room(peer, message.room).qualities(peer.id, message.updates)

    def _on_data(self, peer: Peer, message: cascade_pb2.RemoteData) -> None:
        if not peer.is_new(message):
            return
        room, told = self._room(peer, message.room), message.message
        data.check_message(told.label, told.payload)
        if told.sender_id and not room.knows(peer.id, told.sender_id):
            raise InvalidArgumentError("data of a participant who is not there")
        room.live.deliver_data(
            told.sender_id,
            told.label,
            told.payload,
            told.binary,
            list(message.destination_ids),
            list(message.destination_identities),
        )

    def _on_subscribed(self, peer: Peer, message: cascade_pb2.RemoteSubscribed) -> None:
        session, track = self._published_here(peer, message.room, message.track_id)
        if session is not None and track is not None and not track.subscribers:
            session.first_subscriber(track)

    def _on_awaited(self, peer: Peer, message: cascade_pb2.RemoteAwaited) -> None:
        session, track = self._published_here(peer, message.room, message.track_id)
        if session is not None and track is not None:
            set_wishes(session, track, peer.id, message.encodings, message.needed)

    def _on_dismissal(self, peer: Peer, message: cascade_pb2.RemoteDismissal) -> None:
        live = self._room(peer, message.room).live
        found = (one for one in live.room.sessions() if one.participant.id == message.participant_id)
        session = next(found, None)
        if session is not None:
            log.info("another node asks a participant to leave", node=peer.id, participant=session.participant.id)
            session.leave(message.reason, message.message[:256])

    def _on_link_offer(self, peer: Peer, message: cascade_pb2.LinkOffer) -> None:
        peer.relays.received_offer(message)

    def _on_link_key(self, peer: Peer, message: cascade_pb2.LinkKey) -> None:
        peer.relays.received_key(message)

    def _on_link_key_taken(self, peer: Peer, message: cascade_pb2.LinkKeyTaken) -> None:
        peer.relays.received_key_taken(message)

    def _on_link_heard(self, peer: Peer, message: cascade_pb2.LinkHeard) -> None:
        link = peer.relays.received_heard(message)
        if link is not None:
            self._links_changed(peer, link)

    def _on_mirror_request(self, peer: Peer, message: cascade_pb2.MirrorRequest) -> None:
        self._mirrors.received_request(peer.id, message)

    def _on_mirror_response(self, peer: Peer, message: cascade_pb2.MirrorResponse) -> None:
        self._mirrors.received_response(peer.id, message)

    def _on_mirror_release(self, peer: Peer, message: cascade_pb2.MirrorRelease) -> None:
        self._mirrors.received_release(peer.id, message)

    _HANDLERS: Final[dict[str, Callable[["Hearing", Peer, Any], None]]] = {
        "room": _on_room,
        "room_left": _on_room_left,
        "room_wanted": _on_room_wanted,
        "room_update": _on_room_update,
        "voices": _on_voices,
        "qualities": _on_qualities,
        "data": _on_data,
        "subscribed": _on_subscribed,
        "awaited": _on_awaited,
        "dismissal": _on_dismissal,
        "link_offer": _on_link_offer,
        "link_key": _on_link_key,
        "link_key_taken": _on_link_key_taken,
        "link_heard": _on_link_heard,
        "mirror_request": _on_mirror_request,
        "mirror_response": _on_mirror_response,
        "mirror_release": _on_mirror_release,
    }

    def _room(self, peer: Peer, name: str) -> RemoteRoom:
        room = self._rooms.get(name)
        if room is None or name not in peer.shared:
            raise InvalidArgumentError(f"room {name[:80]!r} is not shared with it")
        return room

    def _published_here(self, peer: Peer, name: str, track_id: str) -> tuple[Session | None, Track | None]:
        track = self._room(peer, name).live.track(track_id)
        return (track.owner.session, track) if track is not None else (None, None)


def set_wishes(session: Session, track: Track, node: str, awaited: Collection[int], needed: Collection[int]) -> None:
    """What viewers on that node wait for, and cannot do without."""
    before = [encoding.demand for encoding in track.encodings]
    for index, encoding in enumerate(track.encodings):
        (encoding.awaited_by.add if index in awaited else encoding.awaited_by.discard)(node)
        (encoding.needed_by.add if index in needed else encoding.needed_by.discard)(node)
    if before != [encoding.demand for encoding in track.encodings]:
        session.tell_wanted(track)
    elsewhere = {index for index, encoding in enumerate(track.encodings) if index and encoding.needed_by}
    if elsewhere != track.needed_elsewhere:
        track.needed_elsewhere = elsewhere
        session.room.serving.changed(track)
        session.room.needs_changed(track)
