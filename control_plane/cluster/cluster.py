"""A node's part in its cluster, as one object: started and stopped with the control plane, when there is a cluster."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import grpc
import structlog

from control_plane.cluster.allocation import Allocation
from control_plane.cluster.cascade.around import Third, choose
from control_plane.cluster.cascade.cascade import Cascade
from control_plane.cluster.cascade.topology import Heartbeat
from control_plane.cluster.certs import Identity
from control_plane.cluster.channels import Channels, caller, server_credentials
from control_plane.cluster.describe import Description
from control_plane.cluster.directory import Directory
from control_plane.cluster.gateways import gateways
from control_plane.cluster.moving.drain import PREPARE_TIMEOUT, Drain, Progress
from control_plane.cluster.moving.keepers import Keepers, choose_keeper
from control_plane.cluster.moving.keeping import Keeping
from control_plane.cluster.moving.moving import Moving
from control_plane.cluster.nats import NatsState
from control_plane.cluster.records import RoomRecord
from control_plane.cluster.registry import USUAL, NodeInfo, Registry, Timing
from control_plane.cluster.seats import Seats
from control_plane.cluster.state import SharedState
from control_plane.cluster.tasks import end
from control_plane.cluster.through import Through
from control_plane.errors import ControlError, UnavailableError
from control_plane.node import Node
from control_plane.services.cascade import CascadeService
from control_plane.services.moving import MovingService
from control_plane.services.through import Handlers, ThroughService
from pysfu.v1 import models_pb2, moving_pb2, moving_pb2_grpc

log = structlog.get_logger(__name__)

STOP_GRACE: Final = 1.0
# Longer leaves more rooms behind properly when the shared state is slow.
LEAVE_TIMEOUT: Final = 3.0
# Of the shared state, on as many servers: of three one may be lost.
COPIES: Final = 3
# Snapshots of large rooms.
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024


class ClusterBindError(Exception):
    """The address for other nodes could not be opened."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"cannot listen on {address} for other nodes")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """`address`: "host:port" to listen on for other nodes, port 0 picks one. `announced`: where they reach it.

    `state`: instead of NATS, for tests.
    """

    identity: Identity
    nats: list[str] = field(default_factory=list)
    nats_credentials: Path | None = None
    address: str = "127.0.0.1:0"
    announced: str = ""
    region: str = ""
    url: str = ""
    gateway: str = ""
    """Where clients of other nodes' gateways may come; empty: they are not told."""
    grpc: str = ""
    relay_ip: str = ""
    fan_out: int = 8
    keep_sessions: bool = False
    """Another node keeps this one's sessions."""
    state: SharedState | None = None
    timing: Timing = USUAL


class Cluster:
    """What the rest asks: `registry`, `directory`, `channels`, `cascade`. It is the node's `RoomHolder`."""

    def __init__(self, options: ClusterOptions, node: Node, description: Description) -> None:
        self.options = options
        self.node = node
        self.port = 0
        self.description = description
        self._state = options.state or NatsState(
            options.nats,
            name=options.identity.node,
            replicas=COPIES if len(options.nats) >= COPIES else 1,
            credentials=str(options.nats_credentials or ""),
        )
        self.registry = Registry(self._state, self.describe, timing=options.timing)
        self.directory = Directory(self._state, self.registry, node.is_live)
        self.seats = Seats(self._state, self.registry, node.seated, self._elsewhere)
        self.keepers = Keepers()
        self.moving = Moving(
            node, self.channel, self.home_of, self.directory.holders, self.registry.answers, self.keepers.of
        )
        self.allocation = Allocation(
            self._state, self.registry, self.directory, self.home_of, self.is_kept, self.moving.kept.home_of
        )
        self.channels = Channels(options.identity, self._address_of)
        self.cascade = Cascade(node, self, relay_ip=options.relay_ip, fan_out=options.fan_out)
        self.keeping = Keeping(node, self._choose_keeper, self.registry.answers, self.channel, self.registry.announce)
        self.through = ThroughService(options.identity.node, caller, self._onward, self.node_ids)
        self.draining: Drain | None = None
        self._drained: asyncio.Future[Progress] | None = None
        self._lost: list[Callable[[str], None]] = []
        self._round: list[Callable[[str], None]] = []
        self._server: grpc.aio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        return self.options.identity.node

    @property
    def is_connected(self) -> bool:
        """The shared state is there."""
        return self._state.available

    async def start(self, add_services: Callable[[grpc.aio.Server], None]) -> None:
        """Listens and joins the others; returns also while the shared state is away. Raises ClusterBindError.

        `add_services`: puts what nodes may call on a server.
        """
        self._server = self._listen(add_services)
        await self._server.start()
        self.directory.record_changed.append(self._on_record)
        self.registry.listeners.append(self._on_node)
        self.node.holder = self
        self.directory.holders_changed.append(self.cascade.holders_changed)
        self.description.round_trips = self.cascade.round_trips
        self.description.link_nodes = self.link_nodes
        self.description.around = self.cascade.around
        self.description.keeper = lambda: self.keeping.keeper
        self.registry.heard.append(self._heard)
        self.cascade.start()
        await self.registry.start()
        await self.directory.start()
        await self.seats.start()
        await self.allocation.start()
        if self.options.keep_sessions:
            self._spawn(self.keeping.run())
        log.info("cluster node", node=self.id, region=self.options.region, port=self.port, nats=self.options.nats)

    def link_nodes(self) -> dict[int, str]:
        """The node to which each media link leads, by the link's handle."""
        return {link.ours: peer.id for peer in self.cascade.peers.values() for link in peer.relays.links.values()}

    async def stop(self) -> None:
        """Leaves the cluster: after the node's rooms have ended, so that nothing is held any more."""
        await self.cascade.stop()
        await end(list(self._tasks))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leave(), LEAVE_TIMEOUT)
        await self.channels.close()
        if self._server is not None:
            await self._server.stop(STOP_GRACE)
        await self._state.close()

    def describe(self) -> NodeInfo:
        """This node as the others are to see it now."""
        options = self.options
        return self.description.now(self._announced(), options.region, options.url, options.grpc, options.gateway)

    @property
    def incarnation(self) -> int:
        return self.description.incarnation

    def home_of(self, room: str, identity: str) -> str | None:
        """The node of a participant, of a room that is here."""
        participant = self.node.room(room).room.participants.get(identity) if self.node.is_live(room) else None
        if participant is None:
            return None
        return self.id if participant.session is not None else getattr(participant.home, "node", None)

    # Draining.

    async def drain(self, patience: float) -> Progress:
        """Nobody is sent here any more, and those who are here go elsewhere. Once; later calls wait for the first."""
        self.node.drain()
        self.registry.announce()
        if self._drained is None:
            self.draining = Drain(self.node, self.allocation.assign, self._prepare, self.registry.node)
            self.description.drain = self.draining.progress.shares
            self._drained = asyncio.ensure_future(self.draining.run(patience))
        progress = await asyncio.shield(self._drained)
        self.registry.announce()
        return progress

    def begin_drain(self, patience: float) -> None:
        """The same, without waiting."""
        self._spawn(self._drain(patience))

    # What the gateway and the cascade ask.

    def heartbeat(self, node: str) -> Heartbeat:
        """Unknown while nobody's can be heard."""
        if self.registry.node(node) is not None:
            return "heard"
        return "expired" if self.registry.sees else "unknown"

    def node_ids(self) -> list[str]:
        """Of all that live, this one included."""
        return [info.id for info in self.registry.nodes()]

    def channel(self, node: str) -> grpc.aio.Channel:
        """To another node, through a third one while it cannot be reached straight. Raises UnavailableError when it is
        not known."""
        third = self.cascade.way_round(node)
        if third is None and self.channels.is_failing(node):
            third = next((one.node for one in choose(self.cascade.thirds(node))), None)
        if third is None:
            return self.channels.to(node)
        # It is as one to whoever calls.
        return cast("grpc.aio.Channel", Through(self.channels.to(third), node))

    def goes_round(self, node: str) -> bool:
        """It lives, and is called through a third node, because what is straight to it is broken."""
        return self.cascade.way_round(node) is not None

    def straight(self, node: str) -> grpc.aio.Channel:
        """The same, through no other. Raises UnavailableError."""
        return self.channels.to(node)

    def thirds(self, node: str) -> list[Third]:
        """All nodes that may pass on what is said to that one."""
        here = self.cascade.round_trips()
        return [
            Third(info.id, here.get(info.id), info.links.get(node), info.draining)
            for info in self.registry.nodes()
            if info.fits and info.id not in (self.id, node)
        ]

    def suspect(self, node: str) -> None:
        """It broke off, or did not answer: nobody is sent there until it is heard again."""
        self.registry.suspect(node)

    def is_kept(self, node: str) -> bool:
        """Another node, which answers, has what it takes to go on with that one's sessions."""
        return self.registry.answers(self.keepers.of(node))

    def gateways(self) -> list[tuple[str, str]]:
        """Region and URL of each that clients may go on at, the best first."""
        known = gateways(self.registry.me, self.registry.nodes(), self.registry.is_suspected)
        return [(node.region, node.gateway) for node in known]

    def on_round(self, told: Callable[[str], None]) -> None:
        """`told` is called with the id of each node to which all is called through a third node from now on."""
        self._round.append(told)

    def went_round(self, node: str) -> None:
        for told in self._round:
            told(node)

    def on_lost(self, told: Callable[[str], None]) -> None:
        """`told` is called with the id of each node that is gone."""
        self._lost.append(told)

    # Rooms: what `Node` asks.

    async def hold(self, room: models_pb2.Room, *, may_create: bool) -> models_pb2.Room:
        """This node hosts the room of that name from now on. Returns it as all nodes have it: the one that there is,
        else `room`. Raises NotFoundError when there is none and none may be made, UnavailableError when that cannot be
        found out."""
        return room_of(await self.directory.hold(room, may_create=may_create))

    def release(self, room: models_pb2.Room, *, ended: bool) -> None:
        """It does not any more, unless it is live again. `ended`: no other node shall either. Returns at once."""
        self._spawn(self.directory.release(room.name, ended=ended))

    def seat(self, room: str, identity: str, limit: int) -> contextlib.AbstractAsyncContextManager[bool]:
        """For a join within it. True: all nodes together have a seat for this identity. False: that cannot be found out
        now. Raises LimitExceededError when the room is full."""
        return self.seats.seat(room, identity, limit)

    def seats_changed(self, room: str) -> None:
        """Who is on this node in a room with a limit has changed. Returns at once."""
        self.seats.changed(room)

    def describe_room(self, name: str, metadata: str) -> None:
        """Its metadata has changed here. Returns at once."""
        self._spawn(self._describe_room(name, metadata))

    # Inside.

    async def _drain(self, patience: float) -> None:
        await self.drain(patience)

    def _elsewhere(self, room: str) -> list[tuple[str, str]]:
        """(node, identity) of those in a room who are on other nodes."""
        people = self.node.room(room).room.participants.values() if self.node.is_live(room) else ()
        return [(getattr(one.home, "node", ""), one.identity) for one in people if one.session is None]

    async def _prepare(self, node: str, request: moving_pb2.PrepareMove) -> None:
        """Raises UnavailableError."""
        stub: Any = moving_pb2_grpc.MovingServiceStub(self.channel(node))
        try:
            await stub.Prepare(request, timeout=PREPARE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise UnavailableError(error.details() or "it does not answer") from error

    def _listen(self, add_services: Callable[[grpc.aio.Server], None]) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", 64 * 1024 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 500),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        own: Any = Handlers(server)
        add_services(own)
        own.add_generic_rpc_handlers((CascadeService(self.cascade, caller).handler(),))
        moving_pb2_grpc.add_MovingServiceServicer_to_server(MovingService(self.moving, caller), own)
        server.add_generic_rpc_handlers((self.through.handler(own.all),))
        try:
            self.port = server.add_secure_port(self.options.address, server_credentials(self.options.identity))
        except RuntimeError as error:
            raise ClusterBindError(self.options.address) from error
        if self.port == 0:
            raise ClusterBindError(self.options.address)
        return server

    def _heard(self, node: str) -> None:
        info = self.registry.node(node)
        if info is not None:
            self.keepers.heard(info)

    def _choose_keeper(self, current: str) -> str:
        registry = self.registry
        return choose_keeper(registry.me, registry.nodes(), registry.region_paths(), registry.answers, current)

    def _onward(self, node: str) -> grpc.aio.Channel:
        """For what others say to that node. Raises UnavailableError."""
        if not self.cascade.reaches(node):
            raise UnavailableError(f"node {node!r} cannot be reached from {self.id!r} either")
        return self.channels.to(node)

    def _announced(self) -> str:
        return self.options.announced or f"{self.options.address.rpartition(':')[0]}:{self.port}"

    def _address_of(self, node: str) -> str | None:
        info = self.registry.node(node)
        return info.address if info is not None and info.fits else None

    def _on_node(self, node: str, kind: str) -> None:
        if kind == "gone":
            self.moving.kept.gone(node)
            self.cascade.node_gone(node)
            for told in self._lost:
                told(node)
            self._spawn(self.channels.forget(node))

    def _on_record(self, record: RoomRecord) -> None:
        if not self.node.is_live(record.name):
            return
        live = self.node.room(record.name)
        if live.room.info.id != record.id:
            log.warning("a room was made twice, while nodes were cut off", room=record.name, id=record.id)
            self.node.renamed(live, record.id)
        if record.ended:
            self.node.end_room(live)
            return
        if live.room.info.max_participants != record.max_participants:
            live.room.info.max_participants = record.max_participants
            self.seats.changed(record.name)
        if live.room.info.metadata != record.metadata:
            live.room.info.metadata = record.metadata
            live.room_changed()

    async def _describe_room(self, name: str, metadata: str) -> None:
        try:
            await self.directory.describe(name, metadata)
        except ControlError as error:
            log.warning("metadata was not told to other nodes", room=name, reason=str(error))

    async def _leave(self) -> None:
        await self.allocation.stop()
        await self.directory.stop()
        await self.seats.stop()
        await self.registry.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work for the cluster failed", exc_info=task.exception())


def room_of(record: RoomRecord) -> models_pb2.Room:
    """The room that a record describes."""
    info = models_pb2.Room(id=record.id, name=record.name, metadata=record.metadata)
    info.max_participants = record.max_participants
    info.empty_timeout_seconds = record.empty_timeout
    info.created_at.FromMicroseconds(int(record.created_at * 1e6))
    return info
