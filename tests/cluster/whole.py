"""Whole control planes of a cluster in this process: mutual TLS between them, a gateway each, no media."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from control_plane.cluster import certs
from control_plane.cluster.cluster import Cluster, ClusterOptions
from control_plane.cluster.memory import MemoryState
from control_plane.cluster.registry import Timing
from control_plane.gateway.app import build_app
from control_plane.gateway.options import GatewayOptions
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from pysfu.v1 import allocation_pb2_grpc, rooms_pb2_grpc
from tests.cluster.cut import CutState
from tests.control_plane.conftest import KEY, SECRET
from tests.control_plane.recording import RecordingMedia
from tests.e2e.harness.ports import free_port


class WholeNode:
    """One node, as `Whole` starts it."""

    def __init__(self, plane: ControlPlane, media: RecordingMedia, state: CutState, channel: grpc.aio.Channel) -> None:
        assert plane.cluster is not None
        self.plane = plane
        self.cluster: Cluster = plane.cluster
        self.media = media
        self.state = state
        self.channel = channel
        self.rooms: Any = rooms_pb2_grpc.RoomServiceStub(channel)
        self.allocation: Any = allocation_pb2_grpc.AllocationServiceStub(channel)
        self.url = ""
        self.app: web.Application | None = None
        """Of its gateway."""

    @property
    def identities(self) -> set[str]:
        """Of those who are on this very node."""
        return {session.participant.identity for session in self.plane.node.sessions()}

    async def die(self) -> None:
        """As far as others can see: its heartbeats and its listener end, nobody is told."""
        self.state.cut()
        await self.cluster.cascade.stop()
        assert self.cluster._server is not None
        await self.cluster._server.stop(0)


class Whole:
    """Starts nodes. All of them end with the exit stack."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self.folder = folder
        self.state = MemoryState()
        self.nodes: dict[str, WholeNode] = {}
        self._stack = stack

    def identity(self, node: str) -> certs.Identity:
        if not (self.folder / f"{node}.pem").exists():
            certs.make([node], self.folder)
        return certs.load(self.folder / "ca.pem", self.folder / f"{node}.pem", self.folder / f"{node}.key")

    async def start(
        self,
        node: str,
        region: str = "",
        timing: Timing | None = None,
        public_url: str = "",
        *,
        keep_sessions: bool = False,
        **limits: Any,
    ) -> WholeNode:
        media, state = RecordingMedia(), CutState(self.state)
        options = ClusterOptions(
            self.identity(node),
            address="127.0.0.1:0",
            region=region,
            gateway=public_url,
            relay_ip="127.0.0.1",
            state=state,
            timing=timing or Timing().scaled(0.2),
            keep_sessions=keep_sessions,
        )
        server = ServerOptions(
            {KEY: SECRET}, "127.0.0.1:0", limits=NodeLimits(**limits), version="test", cluster=options
        )
        plane = ControlPlane(media, server)
        await plane.start()
        self._stack.push_async_callback(plane.stop)
        self._stack.callback(state.mend)
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}"))
        found = self.nodes[node] = WholeNode(plane, media, state, channel)
        found.url, found.app = await self._stack.enter_async_context(gateway(plane))
        return found


@asynccontextmanager
async def gateway(plane: ControlPlane) -> AsyncIterator[tuple[str, web.Application]]:
    """The URL of a gateway of this node, and what it is."""
    options = GatewayOptions(
        channel=plane.local.channel,
        keys={KEY: SECRET},
        version="test",
        ready=lambda: True,
        metrics=lambda: b"",
        nodes=plane.cluster,
    )
    app = build_app(options)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", app
    finally:
        await runner.cleanup()
