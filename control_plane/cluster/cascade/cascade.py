"""Rooms that span nodes: connects what happens in this node's rooms with the other nodes that hold them."""

import asyncio
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import grpc
import structlog

from control_plane import data
from control_plane.cluster.cascade import wire
from control_plane.cluster.cascade.around import Third
from control_plane.cluster.cascade.deliveries import Deliveries
from control_plane.cluster.cascade.hearing import Hearing, set_wishes
from control_plane.cluster.cascade.mirrors import Mirrors
from control_plane.cluster.cascade.peer import LINGER, Peer
from control_plane.cluster.cascade.relays import ROTATION, relay_addresses
from control_plane.cluster.cascade.remote import RemoteRoom
from control_plane.cluster.cascade.stream import OLDEST_PROTOCOL, PROTOCOL
from control_plane.cluster.cascade.topology import Surroundings, Topology
from control_plane.encodings import Encoding
from control_plane.live_room import LiveRoom
from control_plane.neighbours import Neighbours
from control_plane.node import Node
from control_plane.rooms import Participant
from control_plane.speakers import Voice
from pysfu.v1 import cascade_pb2, models_pb2, signaling_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

log = structlog.get_logger(__name__)

# Seconds between looks at what is not needed any more, and at ways that are better by now.
SWEEP: Final = 1.0
# Between looks at who cannot be reached. Shorter finds the dead sooner.
WATCH: Final = 0.1
# For so long participants of a dead node may come back by another one. Longer spares more of the others that they leave
# and come, shorter shows sooner who is gone.
MISSED: Final = 1.5
# Until then every node has heard of a participant from the node to which it has moved.
HEARD: Final = 3.0


class Cascade(Neighbours):
    """Of one node."""

    def __init__(
        self,
        node: Node,
        surroundings: Surroundings,
        *,
        relay_ip: str = "",
        fan_out: int = 8,
        linger: float = LINGER,
    ) -> None:
        self.node: Final = node
        self.peers: Final[dict[str, Peer]] = {}
        self.linger: Final = linger
        self._surroundings = surroundings
        self._incarnation = secrets.randbits(63)
        self._relay_ip = relay_ip
        self._rooms: dict[str, RemoteRoom] = {}
        self._holders: dict[str, frozenset[str]] = {}
        self._encoded: dict[str, bytes] = {}
        self._deliveries: dict[str, Deliveries] = {}
        self._topology = Topology(node.id, self.peers, self.peer, self._holders_of, surroundings, fan_out)
        self.mirrors: Final = Mirrors(node.id, node.core, self._topology)
        self._hearing = Hearing(node, self._rooms, self.mirrors, self._links_changed, self._forget)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """From now on rooms of the node tell their neighbours."""
        self.node.neighbours = self
        for live in self.node.rooms():
            self.opened(live)
        self._tasks = [asyncio.create_task(part) for part in (self._sweep(), self._watch(), self._rotate())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(peer.close() for peer in self.peers.values()), return_exceptions=True)
        self.peers.clear()

    # What is known of the cluster.

    def holders_changed(self, name: str, holders: Collection[str]) -> None:
        """The nodes that hold a room which this one holds, or is about to; none once it holds it no more."""
        others = frozenset(holders) - {self.node.id}
        if not others:
            self._holders.pop(name, None)
        else:
            self._holders[name] = others
        room = self._rooms.get(name)
        if room is not None:
            for node in others:
                self.peer(node).share(room.live)

    def node_gone(self, node: str) -> None:
        """It is dead, or has left. Who was there is not there any more."""
        peer = self.peers.get(node)
        if peer is None or peer.is_open:
            # As long as it speaks it lives; this is asked again when the stream breaks.
            return
        self._bury(peer)

    def round_trips(self) -> dict[str, float]:
        """Milliseconds to other nodes, by id."""
        found = {peer.id: peer.round_trip for peer in self.peers.values() if peer.third is None}
        return {node: 1_000 * seconds for node, seconds in found.items() if seconds is not None}

    def around(self) -> dict[str, str]:
        """The third node through which each other is spoken to that cannot be reached straight, by id."""
        return {peer.id: peer.third for peer in self.peers.values() if peer.is_open and peer.third is not None}

    def peer(self, node: str) -> Peer:
        found = self.peers.get(node)
        if found is None:
            found = self.peers[node] = Peer(node, self)
            for name, holders in self._holders.items():
                if node in holders and name in self._rooms:
                    found.share(self._rooms[name].live)
        return found

    # What happens in rooms here.

    def opened(self, live: LiveRoom) -> None:
        self._rooms[live.name] = RemoteRoom(live, self.mirrors, self._say)
        for node in self._holders.get(live.name, ()):
            self.peer(node).share(live)
        wanted = CascadeMessage(room_wanted=cascade_pb2.RemoteRoomWanted(room=live.name))
        for peer in self.peers.values():
            if peer.take_declined(live.name):
                peer.say(wanted)

    def closed(self, live: LiveRoom, *, ended: bool) -> None:
        room = self._rooms.pop(live.name, None)
        if room is not None:
            room.close()
        left = cascade_pb2.RemoteRoomLeft(room=live.name, ended=ended)
        for peer in self.peers.values():
            peer.unshare(live.name, told=left)

    def changed(self, live: LiveRoom, participant: Participant) -> None:
        self._encoded.pop(participant.id, None)
        if participant.session is None or participant.session.arriving:
            return
        for peer in self._sharing(live.name):
            feed = peer.feed(live.name)
            if feed is not None:
                feed.changed(participant)

    def left(self, live: LiveRoom, participant: Participant, reason: "models_pb2.DisconnectReason.ValueType") -> None:
        self._encoded.pop(participant.id, None)
        for peer in self._sharing(live.name):
            feed = peer.feed(live.name)
            if feed is not None:
                feed.left(participant, reason)
        room = self._rooms.get(live.name)
        if room is not None:
            room.left(participant)

    def adopted(self, live: LiveRoom, participant: Participant) -> None:
        room = self._rooms.get(live.name)
        if room is not None:
            room.adopted(participant)

    def came_home(self, live: LiveRoom, encoding: Encoding) -> None:
        room = self._rooms.get(live.name)
        if room is not None:
            room.came_home(encoding)

    def handed_over(self, live: LiveRoom, participant: Participant) -> None:
        # Nodes that have not heard of it from the node that has taken it would take it for gone.
        asyncio.get_running_loop().call_later(HEARD, self._tell_left, live.name, participant)

    def room_changed(self, live: LiveRoom) -> None:
        update = cascade_pb2.RemoteRoomUpdate(room=live.name, metadata=live.room.info.metadata)
        for peer in self._sharing(live.name):
            peer.say(CascadeMessage(room_update=update))

    def voices(self, live: LiveRoom, voices: Mapping[str, Voice]) -> None:
        message = _voices(live, voices)
        for peer in self._sharing(live.name):
            peer.say_if_it_keeps_up(message)

    def qualities(self, live: LiveRoom, updates: Collection[signaling_pb2.ConnectionQualities.Update]) -> None:
        told = cascade_pb2.RemoteQualities(room=live.name, updates=updates)
        message = CascadeMessage(qualities=told).SerializeToString()
        for peer in self._sharing(live.name):
            peer.say_if_it_keeps_up(message)

    def data(
        self,
        live: LiveRoom,
        message: models_pb2.DataMessage,
        to_ids: Collection[str],
        to_identities: Collection[str],
    ) -> None:
        room = self._rooms.get(live.name)
        if room is None:
            return
        told = cascade_pb2.RemoteData(
            room=live.name, message=message, destination_ids=to_ids, destination_identities=to_identities
        )
        is_reliable = data.channel_options(message.label)[1] is None
        content: bytes | None = None
        for peer in self._sharing(live.name):
            if room.has_receivers(peer.id, to_ids, to_identities):
                content = content or CascadeMessage(data=told).SerializeToString()
                (peer.deliver if is_reliable else peer.say_if_it_keeps_up)(content)

    def link_alive(self, link: int, alive: bool) -> None:
        for peer in list(self.peers.values()):
            if peer.relays.set_alive(link, alive):
                log.info("a link speaks again" if alive else "a link is silent", node=peer.id, link=link)
                self._links_changed(peer, link)

    def mirror_ended(self, handle: int) -> None:
        self.mirrors.ended(handle)

    # What peers ask of this.

    def channel(self, node: str) -> grpc.aio.Channel:
        return self._surroundings.straight(node)

    def deliveries(self, node: str) -> Deliveries:
        """Of the node, since this one started: numbers go on when it is forgotten and known again."""
        return self._deliveries.setdefault(node, Deliveries())

    def thirds(self, node: str) -> list[Third]:
        """Nodes through which that one may be reached, as far as is known here."""
        return [third for third in self._surroundings.thirds(node) if self.reaches(third.node)]

    def way_round(self, node: str) -> str | None:
        """The third node through which that one is spoken to now, if so."""
        peer = self.peers.get(node)
        return peer.third if peer is not None and peer.is_open else None

    def reaches(self, node: str) -> bool:
        """Nothing is known of that the straight way there is broken."""
        peer = self.peers.get(node)
        return peer is None or not peer.streams or (peer.is_open and peer.third is None)

    def uses(self, node: str) -> bool:
        """Tracks come from there, or go there, that have nothing to do with rooms of both."""
        return self.mirrors.is_used(node)

    def hello(self) -> cascade_pb2.CascadeHello:
        hello = cascade_pb2.CascadeHello(
            oldest_protocol=OLDEST_PROTOCOL,
            newest_protocol=PROTOCOL,
            version=self.node.version,
            incarnation=self._incarnation,
        )
        for addresses in relay_addresses(self.node.core, self._relay_ip):
            item = hello.workers.add()
            for ip, port in addresses:
                item.addresses.add(ip=ip, port=port)
        return hello

    def encoded(self, participant: Participant) -> bytes:
        """As every other node is told: serialised once."""
        found = self._encoded.get(participant.id)
        if found is None:
            found = wire.participant_bytes(participant, self.node.core.worker_of)
            self._encoded[participant.id] = found
        return found

    def opened_stream(self, peer: Peer, hello: cascade_pb2.CascadeHello) -> None:
        log.info(
            "a node is connected", node=peer.id, version=hello.version, workers=len(hello.workers), through=peer.third
        )
        if peer.third is not None:
            self._surroundings.went_round(peer.id)
        peer.is_unreachable, peer.died_at = False, 0.0
        self.mirrors.opened_stream(peer.id)
        for room in self._rooms.values():
            room.tell_again(peer.id)

    def restarted(self, peer: Peer) -> None:
        """Who was there is not there any more."""
        log.warning("a node has started anew", node=peer.id)
        for room in self._rooms.values():
            self._forget(room, peer)

    def closed_stream(self, peer: Peer, reason: str) -> None:
        log.warning("the stream to a node is broken", node=peer.id, reason=reason)
        for room in self._rooms.values():
            room.hush(peer.id)
        self._judge(peer)

    def tell_voices(self, peer: Peer, live: LiveRoom) -> None:
        """Who speaks, to one who knows nothing of the room yet."""
        voices = live.voices.of_this_node()
        if voices:
            peer.say_if_it_keeps_up(_voices(live, voices))

    def links_ready(self, node: str) -> None:
        self.mirrors.links_ready(node)

    def received(self, peer: Peer, message: CascadeMessage) -> None:
        """Raises ControlError. What a newer release says beside is ignored."""
        self._hearing.received(peer, message)

    # Inside.

    def _tell_left(self, name: str, participant: Participant) -> None:
        room = self._rooms.get(name)
        here = room.live.room.participants.get(participant.identity) if room is not None else None
        if here is not None and here.session is not None and here.id == participant.id:
            # It has come back.
            return
        self._encoded.pop(participant.id, None)
        for peer in self._sharing(name):
            feed = peer.feed(name)
            if feed is not None:
                feed.left(participant, models_pb2.DISCONNECT_REASON_UNSPECIFIED)

    def _forget(self, room: RemoteRoom, peer: Peer) -> None:
        """It has nothing to do with the room any more."""
        room.forget(peer.id)
        for session in room.live.room.sessions():
            for track in session.participant.tracks.values():
                set_wishes(session, track, peer.id, (), ())

    def _sharing(self, name: str) -> Iterator[Peer]:
        return (peer for peer in self.peers.values() if name in peer.shared)

    def _say(self, node: str, message: CascadeMessage) -> None:
        peer = self.peers.get(node)
        if peer is not None:
            peer.say(message)

    def _holders_of(self, name: str) -> Collection[str]:
        """Of those that are known to hold it."""
        return self._holders.get(name, frozenset())

    def _links_changed(self, peer: Peer, link: int) -> None:
        if peer.relays.are_silent:
            self.mirrors.broken(peer.id)
        elif not peer.relays.is_well(link):
            self.mirrors.broken_link(link)
        else:
            self.mirrors.links_ready(peer.id)

    def _judge(self, peer: Peer) -> None:
        """Whether it is still there."""
        verdict = self._topology.verdict(peer)
        if verdict == "dead" and not self._is_missed(peer):
            self._surroundings.suspect(peer.id)
            self._bury(peer)
        elif verdict in ("dead", "unreachable"):
            if not peer.is_unreachable:
                log.warning("a node cannot be reached", node=peer.id)
                peer.is_unreachable = True
                self._surroundings.suspect(peer.id)
                self.mirrors.broken(peer.id, is_dead=verdict == "dead")
        elif verdict == "doubtful":
            self._surroundings.suspect(peer.id)

    def _is_missed(self, peer: Peer) -> bool:
        """It died a moment ago, and who was there may go on at another node: nobody has to see them leave."""
        now = time.monotonic()
        peer.died_at = peer.died_at or now
        return self._surroundings.is_kept(peer.id) and now - peer.died_at < MISSED

    def _bury(self, peer: Peer) -> None:
        log.warning("a node is gone, with everybody there", node=peer.id)
        peer.disconnect("it is gone")
        for name in peer.shared:
            peer.unshare(name)
        for room in self._rooms.values():
            self._forget(room, peer)
        self.peers.pop(peer.id, None)
        self.mirrors.buried(peer.id)
        peer.relays.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP, self.linger))
            self.mirrors.settle(time.monotonic())
            for peer in list(self.peers.values()):
                if not peer.is_wanted:
                    log.info("a node is not needed any more", node=peer.id)
                    del self.peers[peer.id]
                    await peer.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            for peer in list(self.peers.values()):
                if not peer.is_open and peer.streams:
                    self._judge(peer)

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATION)
            for peer in self.peers.values():
                if peer.is_open and peer.third is None:
                    peer.relays.rotate()


def _voices(live: LiveRoom, voices: Mapping[str, Voice]) -> bytes:
    told = cascade_pb2.RemoteVoices(room=live.name)
    for participant_id, voice in voices.items():
        told.speakers.add(participant_id=participant_id, level=voice.level, active=voice.active)
    return CascadeMessage(voices=told).SerializeToString()
