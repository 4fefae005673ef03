"""Whole nodes in this process: real cores on loopback, mutual TLS, shared state in memory, clients with media."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import grpc
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from control_plane.cluster import certs
from control_plane.cluster.cluster import Cluster, ClusterOptions
from control_plane.cluster.memory import MemoryState
from control_plane.errors import UnavailableError
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from pysfu import Sfu
from tests.cluster.cables import Cables
from tests.cluster.wires import Wires
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import KEY, SECRET, token

PATIENCE = 15.0


class RealNode:
    """One node of a cluster."""

    def __init__(self, name: str, folder: Path, state: MemoryState, *, workers: int = 1, fan_out: int = 8) -> None:
        self.name = name
        self.media = Sfu(workers=workers, bind=["127.0.0.1"], port=0)
        identity = certs.load(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
        cluster = ClusterOptions(identity, address="127.0.0.1:0", state=state, fan_out=fan_out)
        options = ServerOptions(
            {KEY: SECRET}, "127.0.0.1:0", limits=NodeLimits(resume_timeout=5.0), version=name, cluster=cluster
        )
        self.plane = ControlPlane(self.media, options)
        self.cut: set[str] = set()
        """Nodes that it cannot call."""
        self.channel: grpc.aio.Channel

    async def start(self) -> None:
        await self.plane.start()
        channels, to = self.cluster.channels, self.cluster.channels.to

        def unless_cut(node: str) -> grpc.aio.Channel:
            if node in self.cut:
                raise UnavailableError("cut")
            return to(node)

        channels.to = unless_cut  # type: ignore[method-assign]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.plane.port}")

    async def stop(self) -> None:
        await self.channel.close()
        await self.plane.stop()

    async def die(self) -> None:
        """As if it was killed: nobody is told, its ports are closed and its heart beats no more."""
        self.media.shutdown()
        for task in self.cluster.registry._tasks:
            task.cancel()
        for peer in self.cluster.cascade.peers.values():
            peer.disconnect("killed")
        if self.cluster._server is not None:
            await self.cluster._server.stop(0)

    @property
    def cluster(self) -> Cluster:
        found = self.plane.cluster
        assert found is not None
        return found

    def live(self, room: str = "room") -> Any:
        return self.plane.node.room(room)

    def participant(self, identity: str, room: str = "room") -> Any:
        return self.live(room).room.participants.get(identity)


class RealCluster:
    """Nodes by the names that are given. `workers`: of all of them, or of each. `wired`: their calls can be cut, too;
    a node that has died refuses no connection then."""

    def __init__(self, folder: Path, *names: str, **options: Any) -> None:
        certs.make(names, folder)
        self.state = state = MemoryState()
        workers = options.pop("workers", 1)
        self._wired = options.pop("wired", False)
        counts = workers if isinstance(workers, tuple) else (workers,) * len(names)
        self.nodes = [
            RealNode(name, folder, state, workers=count, **options) for name, count in zip(names, counts, strict=True)
        ]
        self.cables = Cables()
        self.wires = Wires()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            self.cables.lay(node.name, node.media)
        self._stack.callback(self.cables.close)
        self._stack.push_async_callback(self.wires.close)
        for node in self.nodes:
            await node.start()
            if self._wired:
                self.wires.lay(node.name, node.cluster.channels)
            self._stack.push_async_callback(node.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def on_exit(self, work: Callable[[], Awaitable[Any]]) -> None:
        self._stack.push_async_callback(work)

    def cut(self, one: RealNode, other: RealNode) -> None:
        """Nothing arrives any more, neither media nor calls, and nobody is told. Of nodes that are wired."""
        self.cables.cut(one.name, other.name)
        self.wires.cut(one.name, other.name)

    async def mend(self, one: RealNode, other: RealNode) -> None:
        self.cables.mend(one.name, other.name)
        await self.wires.mend(one.name, other.name)

    def part(self, one: RealNode, other: RealNode) -> None:
        """Nothing passes between two nodes, neither media nor calls; all else goes on."""
        self.cables.cut(one.name, other.name)
        for here, there in ((one, other), (other, one)):
            here.cut.add(there.name)
            peer = here.cluster.cascade.peers[there.name]
            if peer._stream is not None:
                peer._stream.close("cut")

    def join_again(self, one: RealNode, other: RealNode) -> None:
        self.cables.mend(one.name, other.name)
        one.cut.discard(other.name)
        other.cut.discard(one.name)

    async def peer(self, node: RealNode, identity: str, room: str = "room", **join: Any) -> "Peer":
        """Somebody who has joined at a node."""
        peer = Peer(node.channel, identity, room)
        self.on_exit(peer.close)
        await peer.signaling.join(**join)
        return peer

    async def publisher(self, node: RealNode, identity: str = "alice", room: str = "room", **join: Any) -> "Peer":
        """Somebody who sends a voice and a picture."""
        peer = await self.peer(node, identity, room, auto_publish=True, **join)
        peer.connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
        peer.connection.addTransceiver(VideoStreamTrack(), direction="sendonly")
        await peer.negotiate()
        await peer.signaling.until("transport_changed")
        return peer

    async def viewer(self, node: RealNode, identity: str = "viewer", publisher: str = "alice") -> "Peer":
        """Somebody who gets what a publisher of another node sends."""
        peer = await self.peer(node, identity)
        await peer.receive(publisher)
        return peer

    async def chat(self, node: RealNode, identity: str) -> "tuple[RTCDataChannel, asyncio.Queue[str]]":
        """Somebody with an open data channel `chat`, and what comes by it."""
        peer = await self.peer(node, identity, auto_subscribe=False)
        channel = peer.connection.createDataChannel("chat")
        inbox: asyncio.Queue[str] = asyncio.Queue()
        opened = asyncio.Event()
        channel.on("open", opened.set)
        channel.on("message", inbox.put_nowait)
        await peer.negotiate()
        await asyncio.wait_for(opened.wait(), 10)
        return channel, inbox


class Peer:
    """A participant: an aiortc connection that its signaling client negotiates."""

    def __init__(self, channel: grpc.aio.Channel, identity: str, room: str) -> None:
        self.signaling = SignalingClient(channel, token(room=room, identity=identity))
        self.connection = RTCPeerConnection()
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.connection.on("track", self.received.put_nowait)

    async def negotiate(self) -> Any:
        """One offer and its answer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answer = await self.signaling.offer(self.connection.localDescription.sdp)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        return answer

    async def receive(self, publisher: str) -> None:
        """Waits until both tracks of somebody are known, and negotiates to receive them."""
        known = [
            other for other in self.signaling.joined.others if other.identity == publisher and len(other.tracks) == 2
        ]
        if not known:
            await self.signaling.until_participant(publisher, lambda item: len(item.tracks) == 2)
        for kind in ("audio", "video"):
            self.connection.addTransceiver(kind, direction="recvonly")
        answer = await self.negotiate()
        assert len(answer.mid_to_track_id) == 2

    async def tracks(self) -> dict[str, Any]:
        """Both, by kind."""
        found = [await asyncio.wait_for(self.received.get(), PATIENCE) for _ in range(2)]
        return {track.kind: track for track in found}

    async def close(self) -> None:
        await self.connection.close()
        self.signaling.call.cancel()


async def frame(track: Any) -> Any:
    """The next decoded one."""
    return await asyncio.wait_for(track.recv(), PATIENCE)
