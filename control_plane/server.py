"""The control plane as one object: the node, its services and their gRPC server, in one event loop."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.auth import Verifier
from control_plane.cluster.cluster import Cluster, ClusterOptions
from control_plane.cluster.describe import Description
from control_plane.cluster.load import Capacity
from control_plane.media import Media
from control_plane.monitor import Monitor
from control_plane.node import Node, NodeLimits
from control_plane.services.allocation import AllocationService
from control_plane.services.local import LocalServices
from control_plane.services.rooms import RoomService
from control_plane.services.signaling import SignalingService
from control_plane.services.stats import StatsService
from control_plane.store import InProcessStore, RoomStore
from pysfu.v1 import allocation_pb2_grpc, rooms_pb2_grpc, stats_pb2_grpc

log = structlog.get_logger(__name__)

SERVICES: Final = (
    "pysfu.v1.AllocationService",
    "pysfu.v1.RoomService",
    "pysfu.v1.SignalingService",
    "pysfu.v1.StatsService",
)
# An offer is 256 KiB at most, a data message too; metadata and layers come on top.
MAX_REQUEST_BYTES: Final = 1024 * 1024
# A full list of a big room.
MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
STOP_GRACE: Final = 2.0


class GrpcBindError(Exception):
    """The gRPC address could not be opened. `address` is "host:port"."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"cannot listen on {address} for gRPC")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`keys`: API key → secret. `address`: "host:port", port 0 picks one."""

    keys: Mapping[str, str]
    address: str = "127.0.0.1:7890"
    credentials: grpc.ServerCredentials | None = None
    limits: NodeLimits = field(default_factory=NodeLimits)
    version: str = ""
    cluster: ClusterOptions | None = None
    """None: a node by itself."""


class ControlPlane:
    """Start it once, stop it once. `media` is opened by the caller and shut down by `stop`."""

    def __init__(self, media: Media, options: ServerOptions, store: RoomStore | None = None) -> None:
        self.node: Node
        self.description: Description
        self.port = 0
        self.cluster: Cluster | None = None
        self.local = LocalServices(MAX_REQUEST_BYTES)
        """The services, for whoever calls them from this process."""
        self._media = media
        self._options = options
        self._store = store or InProcessStore()
        self._health = health.aio.HealthServicer()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    async def start(self) -> None:
        """Serves when it returns. Raises GrpcBindError or ClusterBindError."""
        options, media = self._options, self._media
        node_id = options.cluster.identity.node if options.cluster is not None else ""
        self.node = Node(media, self._store, options.limits, options.version, node_id)
        limits = options.limits
        capacity = Capacity(limits.max_participants, limits.packets_per_second, limits.egress_bps)
        description = self.description = Description(self.node, media.snapshot, options.version, capacity)
        if options.cluster is not None:
            self.cluster = Cluster(options.cluster, self.node, description)
        verifier = Verifier(options.keys)
        services = Services(self.node, verifier, description, self.cluster)
        services.add(self.local)
        self._server = build_server(services, media, self._health)
        try:
            if options.credentials is None:
                self.port = self._server.add_insecure_port(options.address)
            else:
                self.port = self._server.add_secure_port(options.address, options.credentials)
        except RuntimeError as error:
            raise GrpcBindError(options.address) from error
        if self.port == 0:
            raise GrpcBindError(options.address)
        self._media.listen(self.node.on_event)
        if self.cluster is not None:
            await self.cluster.start(services.add)
        await self._server.start()
        self._tasks.append(asyncio.create_task(Monitor(self.node, self._media.snapshot).run()))
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        log.info("control plane serves", address=options.address, port=self.port, node=self.node.id)

    async def drain(self, patience: float = 30.0) -> None:
        """Takes no more joins, then waits at most `patience` seconds until everyone has left or moved elsewhere."""
        self.node.drain()
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if self.cluster is not None:
            await self.cluster.drain(patience)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.node.idle.wait(), patience)

    async def stop(self) -> None:
        """Tells everyone, closes the server and the media core. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "node"):
            self.node.stop()
            await asyncio.gather(self._server.stop(STOP_GRACE), self.local.stop(STOP_GRACE))
        if self.cluster is not None:
            await self.cluster.stop()
        self._media.shutdown()
        log.info("control plane stopped", node=self.node.id)

    async def _set_health(self, status: Any) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)


@dataclass(frozen=True, slots=True)
class Services:
    """What clients call, and other nodes for them with their tokens."""

    node: Node
    verifier: Verifier
    description: Description
    cluster: Cluster | None = None

    def add(self, server: Any) -> None:
        node, verifier, cluster = self.node, self.verifier, self.cluster
        allocation = AllocationService(node, verifier, self.description.now, cluster)
        rooms_pb2_grpc.add_RoomServiceServicer_to_server(RoomService(node, verifier, cluster), server)
        allocation_pb2_grpc.add_AllocationServiceServicer_to_server(allocation, server)
        moving = cluster.moving if cluster is not None else None
        server.add_generic_rpc_handlers((SignalingService(node, verifier, moving).handler(),))


def build_server(services: Services, media: Media, health_servicer: Any) -> grpc.aio.Server:
    """Every service of this node on a server without an address."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
            ("grpc.so_reuseport", 0),
            # Finds vanished clients, so that their sessions begin to wait for resumption.
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )
    services.add(server)
    stats = StatsService(services.node, services.verifier, media.snapshot)
    stats_pb2_grpc.add_StatsServiceServicer_to_server(stats, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server
