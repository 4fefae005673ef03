"""Nodes of a cluster in this process, which hear of each other's rooms as if by the shared state."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import grpc

from control_plane.cluster import certs
from control_plane.cluster.cascade.around import Third
from control_plane.cluster.cascade.cascade import Cascade
from control_plane.cluster.cascade.topology import Heartbeat
from control_plane.errors import UnauthenticatedError, UnavailableError
from control_plane.media import Media
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from control_plane.services.cascade import CascadeService
from control_plane.services.through import ThroughService
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import KEY, SECRET, token


class PlainSurroundings:
    """Channels without TLS, whose metadata says who calls, and heartbeats as the test says."""

    def __init__(self, caller: str, ports: dict[str, int], gone: set[str]) -> None:
        self._caller = caller
        self._ports = ports
        self._gone = gone
        self.suspected: list[str] = []
        self._open: dict[int, grpc.aio.Channel] = {}
        self.cut: set[str] = set()

    def heartbeat(self, node: str) -> Heartbeat:
        return "expired" if node in self._gone else "heard"

    def node_ids(self) -> list[str]:
        return sorted(self._ports)

    def went_round(self, node: str) -> None:
        """Nothing else goes there."""

    def is_kept(self, node: str) -> bool:
        return False

    def suspect(self, node: str) -> None:
        self.suspected.append(node)

    def straight(self, node: str) -> Any:
        port = self._ports.get(node)
        if port is None or node in self.cut:
            raise UnavailableError(f"no way to {node}")
        channel = self._open.setdefault(port, grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        return _Named(channel, self._caller)

    def thirds(self, node: str) -> list[Third]:
        return [Third(name) for name in self._ports if name not in (node, self._caller)]

    async def close(self) -> None:
        for channel in self._open.values():
            await channel.close()


class _Named:
    """A channel whose calls say whose they are."""

    def __init__(self, channel: grpc.aio.Channel, caller: str) -> None:
        self._channel = channel
        self._metadata = (("node", caller),)

    def stream_stream(self, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._named(self._channel.stream_stream(*args, **options))

    def unary_unary(self, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._named(self._channel.unary_unary(*args, **options))

    def _named(self, call: Any) -> Callable[..., Any]:
        return lambda *request, metadata=(), **rest: call(*request, metadata=(*metadata, *self._metadata), **rest)


def caller(context: Any) -> str:
    named = context.auth_context().get("x509_subject_alternative_name")
    if named:
        # By the third node through which it calls.
        return certs.node_of([name.decode() for name in named])
    found: str | None = dict(context.invocation_metadata() or ()).get("node")
    if found is None:
        raise UnauthenticatedError("no node")
    return found


class ClusterNode:
    """A control plane with its cascade, and a listener for other nodes."""

    def __init__(self, name: str, media: Media, cluster: "TestCluster", *, former: bool = False) -> None:
        self.name = name
        self.media: Any = media
        self.plane = ControlPlane(
            media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", limits=cluster.limits, version=name)
        )
        self.channels = PlainSurroundings(name, cluster.ports, cluster.gone)
        self.cascade: Cascade
        self.channel: grpc.aio.Channel
        self._cluster = cluster
        self._server: grpc.aio.Server | None = None
        self.clients: list[SignalingClient] = []
        self.former = former
        """Of a release that knows nothing of ways round."""

    async def start(self) -> None:
        await self.plane.start()
        self.plane.node.id = self.name
        self.cascade = Cascade(self.plane.node, self.channels, fan_out=self._cluster.fan_out)
        self.cascade.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.plane.port}")
        await self.listen()

    async def listen(self) -> None:
        self._server = grpc.aio.server()
        own = [CascadeService(self.cascade, caller).handler()]
        through = ThroughService(self.name, caller, self.channels.straight, lambda: self._cluster.ports)
        self._server.add_generic_rpc_handlers(own if self.former else (*own, through.handler(own)))
        self._cluster.ports[self.name] = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def deafen(self) -> None:
        """Its listener for nodes is gone, with every stream to it."""
        self._cluster.ports.pop(self.name, None)
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def stop(self) -> None:
        """Leaves properly. May be called twice."""
        for client in self.clients:
            client.call.cancel()
        await self.plane.stop()
        await self.crash()

    async def crash(self) -> None:
        """Nothing more is heard of it, and nobody is told."""
        await self.cascade.stop()
        await self.deafen()
        await self.channel.close()
        await self.channels.close()

    async def client(
        self, identity: str, room: str = "room", bearer: str | None = None, **join: Any
    ) -> SignalingClient:
        """Somebody who has joined here."""
        client = SignalingClient(self.channel, bearer or token(room=room, identity=identity))
        self.clients.append(client)
        await client.join(**join)
        return client

    def live(self, room: str = "room") -> Any:
        return self.plane.node.room(room)

    def identities(self, room: str = "room") -> set[str]:
        """Of all who are in the room as this node sees it."""
        return set(self.live(room).room.participants)

    def participant(self, identity: str, room: str = "room") -> Any:
        return self.live(room).room.participants.get(identity)


class TestCluster:
    """Nodes and who holds which room. Nothing of it is told by itself: see `hold`."""

    __test__ = False

    def __init__(self, media: Callable[[], Media], limits: NodeLimits | None = None, fan_out: int = 8) -> None:
        self.limits = limits or NodeLimits(resume_timeout=5.0)
        self.fan_out = fan_out
        self.ports: dict[str, int] = {}
        self.gone: set[str] = set()
        self.nodes: list[ClusterNode] = []
        self._media = media
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def node(self, name: str, *, former: bool = False) -> ClusterNode:
        node = ClusterNode(name, self._media(), self, former=former)
        await node.start()
        self._stack.push_async_callback(node.stop)
        self.nodes.append(node)
        return node

    def hold(self, *nodes: ClusterNode, room: str = "room") -> None:
        """All of these hold the room."""
        names = sorted(node.name for node in nodes)
        for node in nodes:
            node.cascade.holders_changed(room, names)
