"""Sessions that go from node to node: whole nodes with mutual TLS, with cores that only write down their commands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio

from control_plane.cluster import certs
from control_plane.cluster.cluster import Cluster, ClusterOptions
from control_plane.cluster.memory import MemoryState
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster.nodes import until
from tests.control_plane.client import SignalingClient, recorded
from tests.control_plane.conftest import KEY, SECRET, token
from tests.control_plane.recording import RecordingMedia

SPLIT = signaling_pb2.Join.LAYOUT_SPLIT
DISCONNECTED = models_pb2.Participant.STATE_DISCONNECTED


class Member:
    """A node of the cluster."""

    def __init__(self, name: str, folder: Path, state: MemoryState) -> None:
        self.media = RecordingMedia()
        identity = certs.load(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
        options = ClusterOptions(identity, address="127.0.0.1:0", state=state)
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


@pytest_asyncio.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Two nodes, a and b, which know each other."""
    certs.make(("a", "b", "c"), tmp_path)
    state = MemoryState()
    running = [Member(name, tmp_path, state) for name in ("a", "b")]
    for member in running:
        await member.start()
    await until(lambda: all(len(member.cluster.registry.nodes()) == 2 for member in running))
    yield running
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


async def test_a_participant_moves_and_nobody_notices(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice", metadata="kept")
    bob = await one.client("bob")
    carol = await other.client("carol")
    camera = await publish(alice)
    for client in (bob, carol):
        await client.until_participant("alice", lambda item: len(item.tracks) == 2)
        await client.offer("chromium_sendrecv")
    for member in members:
        await until(lambda member=member: member.media.named("subscribe"))
    drained = asyncio.create_task(one.cluster.drain(10))
    move = await alice.until("move_to")
    assert (move.node_id, move.session_id.rpartition(".")[2]) == ("b", "b")
    again = await other.client("alice", resume_session_id=move.session_id)
    assert (again.joined.resumed, again.joined.moved) == (True, True)
    assert again.joined.session_id == move.session_id
    assert again.joined.participant.id == alice.joined.participant.id
    assert again.joined.participant.metadata == "kept"
    assert {item.identity for item in again.joined.others} == {"bob", "carol"}
    assert camera in {track.id for track in again.joined.participant.tracks}
    assert one.person("alice").session is not None, "served where it was until its client has offered"

    answer = await again.offer("chromium_sendrecv")
    assert camera in answer.mid_to_track_id.values()
    await until(lambda: one.person("alice").session is None)
    assert one.person("alice").id == alice.joined.participant.id
    assert other.person("alice").session is not None
    # Those who receive it go on with other tracks of their cores, and keep their subscriptions.
    for member in members:
        await until(lambda member=member: len(member.media.named("redirect")) >= 2)
        assert member.media.named("unsubscribe") == [] or member is one
    await until(lambda: other.media.named("unmirror"))

    move = await bob.until("move_to")
    again_bob = await other.client("bob", resume_session_id=move.session_id)
    await again_bob.offer("chromium_sendrecv")
    progress = await drained
    assert (progress.total, progress.moved, progress.failed) == (2, 2, 0)
    for client in (again_bob, carol, again):
        await quiet(client)
    for client in (bob, again_bob, carol, again):
        assert list(disconnected(client)) == []
    assert one.plane.node.num_sessions == 0
