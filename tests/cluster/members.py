"""Nodes of a cluster with mutual TLS, with cores that only write down their commands, and what their clients do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc

from control_plane.cluster import certs
from control_plane.cluster.cluster import Cluster, ClusterOptions
from control_plane.cluster.memory import MemoryState
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient, recorded
from tests.control_plane.conftest import KEY, SECRET, token
from tests.control_plane.recording import RecordingMedia

SPLIT = signaling_pb2.Join.LAYOUT_SPLIT
DISCONNECTED = models_pb2.Participant.STATE_DISCONNECTED


class Member:
    """A node of the cluster."""

    def __init__(self, name: str, folder: Path, state: MemoryState, *, keep_sessions: bool = False) -> None:
        self.media = RecordingMedia()
        self.media.fingerprint = ":".join([f"{ord(name):02X}"] * 32)
        identity = certs.load(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
        options = ClusterOptions(identity, address="127.0.0.1:0", state=state, keep_sessions=keep_sessions)
        limits = NodeLimits(resume_timeout=5.0)
        self.plane = ControlPlane(
            self.media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", limits=limits, version=name, cluster=options)
        )
        self.clients: list[SignalingClient] = []
        self.channel: grpc.aio.Channel

    @property
    def cluster(self) -> Cluster:
        assert self.plane.cluster is not None
        return self.plane.cluster

    async def start(self) -> None:
        await self.plane.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.plane.port}")

    async def stop(self) -> None:
        for client in self.clients:
            client.call.cancel()
        await self.channel.close()
        await self.plane.stop()

    async def die(self) -> None:
        """As if it was killed: nobody is told, its ports are closed and its heart beats no more."""
        for task in [*self.cluster.registry._tasks, *self.cluster._tasks]:
            task.cancel()
        for peer in self.cluster.cascade.peers.values():
            peer.disconnect("killed")
        assert self.cluster._server is not None
        await self.cluster._server.stop(0)
        for client in self.clients:
            client.call.cancel()

    async def client(self, identity: str, **join: Any) -> SignalingClient:
        client = SignalingClient(self.channel, token(identity=identity))
        self.clients.append(client)
        await client.join(**join)
        return client

    def person(self, identity: str) -> Any:
        return self.plane.node.room("room").room.participants.get(identity)

    def connect_all(self) -> None:
        """Every transport of the core is up."""
        for handle in range(1, 200):
            if self.plane.node.participant_of(handle) is not None:
                self.media.emit("connected", handle, "aead_aes_128_gcm")


@contextlib.asynccontextmanager
async def started(names: str, folder: Path, *, keep_sessions: bool = False) -> AsyncIterator[list[Member]]:
    """Nodes of these names, of a to c, which know each other."""
    certs.make("abc", folder)
    state = MemoryState()
    running = [Member(name, folder, state, keep_sessions=keep_sessions) for name in names]
    for member in running:
        await member.start()
    try:
        await until(lambda: all(len(member.cluster.registry.nodes()) == len(running) for member in running))
        yield running
    finally:
        for member in running:
            await member.stop()


async def publish(client: SignalingClient) -> str:
    """A microphone and a camera; the id of the camera."""
    for kind in ("audio", "video"):
        source = models_pb2.TRACK_SOURCE_CAMERA if kind == "video" else models_pb2.TRACK_SOURCE_MICROPHONE
        value = models_pb2.MEDIA_KIND_VIDEO if kind == "video" else models_pb2.MEDIA_KIND_AUDIO
        track = signaling_pb2.AddTrack(cid=cid(kind), kind=value, source=source, name=kind)
        await client.send(add_track=track)
        published = await client.until("track_published")
    await client.offer("chromium_sendrecv")
    return str(published.track.id)


def cid(kind: str) -> str:
    lines = recorded("chromium_sendrecv").split(f"m={kind} ")[1].split("\r\n")
    return next(line.split(" ")[1] for line in lines if line.startswith("a=msid:"))


def disconnected(client: SignalingClient) -> Iterable[str]:
    """Whom this client was told to have left."""
    for response in client.seen:
        yield from (one.identity for one in response.participants_changed.participants if one.state == DISCONNECTED)


async def quiet(client: SignalingClient) -> None:
    """Reads what has come."""
    with contextlib.suppress(TimeoutError):
        while True:
            await asyncio.wait_for(client.read(), 0.3)


async def answer(client: SignalingClient, offer: Any) -> None:
    """Takes everything."""
    sdp = offer.sdp.replace("a=sendonly", "a=recvonly").replace("a=ice-lite\r\n", "")
    sdp = sdp.replace("a=setup:actpass\r\n", "a=setup:active\r\n")
    lines = [line for line in sdp.split("\r\n") if not line.startswith(("a=ssrc", "a=candidate", "a=msid"))]
    description = signaling_pb2.SessionDescription(
        transport=signaling_pb2.TRANSPORT_SUBSCRIBER, sdp="\r\n".join(lines), id=offer.id
    )
    await client.send(answer=description)


async def take_offers(client: SignalingClient, sections: int = 2) -> Any:
    """Answers offers until one has tracks in so many sections; that one, answered too."""
    while True:
        offer = await client.until("offer")
        await answer(client, offer)
        if len(offer.mid_to_track_id) >= sections:
            return offer


def fingerprint(sdp: str) -> str:
    return sdp.split("a=fingerprint:sha-256 ")[1].split("\r\n")[0]


def mids(sdp: str) -> list[str]:
    return [line for line in sdp.split("\r\n") if line.startswith("a=mid:")]
