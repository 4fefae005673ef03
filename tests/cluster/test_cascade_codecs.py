"""Backup codecs where publisher and viewers are on different nodes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from pysfu.v1 import signaling_pb2
from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.waiting import until
from tests.control_plane.client import recorded
from tests.control_plane.recording import RecordingMedia
from tests.control_plane.test_backup_codecs import only, twice
from tests.control_plane.test_sessions import CAMERA, LAYERS, msid


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[list[ClusterNode]]:
    async with TestCluster(RecordingMedia) as cluster:
        running = [await cluster.node(name) for name in "abc"]
        cluster.hold(*running)
        yield running


async def publish(node: ClusterNode) -> Any:
    """Somebody with a camera in VP9 that can be had in VP8."""
    alice = await node.client("alice")
    camera = msid("chromium_simulcast", "video")
    track = signaling_pb2.AddTrack(
        cid=camera, layers=LAYERS, preferred_codec="video/vp9", backup_codecs=["video/vp8"], **CAMERA
    )
    await alice.send(add_track=track)
    await alice.offer("chromium_simulcast")
    node.media.emit("layer_active", node.media.named("publish")[-1]["handle"], 0, True)
    return alice


async def view(node: ClusterNode, identity: str, *codecs: str) -> None:
    """Somebody who decodes these alone."""
    viewer = await node.client(identity)
    if "alice" not in {other.identity for other in viewer.joined.others if other.tracks}:
        await viewer.until_participant("alice", lambda item: len(item.tracks) == 1)
    await viewer.offer(only(recorded("chromium_receive"), *codecs))


def track_of(node: ClusterNode) -> Any:
    return next(iter(node.participant("alice").tracks.values()))


async def test_a_backup_that_is_needed_on_another_node_is_asked_for_and_comes_there(nodes: list[ClusterNode]) -> None:
    one, other, third = nodes
    alice = await publish(one)
    await view(third, "carol", "VP8", "VP9")
    await view(other, "bob", "VP8")
    wanted = await alice.until("layers_wanted")
    while not any(layer.wanted for backup in wanted.backups for layer in backup.layers):
        wanted = await alice.until("layers_wanted")
    assert wanted.backups[0].mime_type == "video/VP8"
    # On a node where everybody decodes the first codec it is known that another node needs the backup.
    await until(lambda: track_of(third).needed_elsewhere == {1})
    backup = signaling_pb2.AddTrack(
        cid="backup-cid", track_id=track_of(one).id, preferred_codec="video/vp8", layers=LAYERS[:2], **CAMERA
    )
    await alice.send(add_track=backup)
    await alice.until("track_published")
    await alice.offer(twice(recorded("chromium_simulcast")))
    handles = {encoding.handle for encoding in track_of(one).encodings}
    assert len(handles) == 2
    assert None not in handles
    # It has come to both, and bob is subscribed to it.
    await until(lambda: {call["theirs"] for call in other.media.named("mirror")} >= handles)
    await until(lambda: {call["theirs"] for call in third.media.named("mirror")} >= handles)
    mirror = next(c["handle"] for c in other.media.named("mirror") if c["theirs"] == track_of(one).encodings[1].handle)
    await until(lambda: mirror in {call["track"] for call in other.media.named("subscribe")})
    # As soon as it flows, carol moves to it: the camera need be encoded only once.
    one.media.emit("layer_active", track_of(one).encodings[1].handle, 0, True)
    await until(lambda: third.media.named("redirect"))
    assert not other.media.named("redirect")


async def test_what_a_node_wished_for_is_forgotten_with_it(nodes: list[ClusterNode]) -> None:
    one, other, third = nodes
    await publish(one)
    await third.client("carol")
    await view(other, "bob", "VP8")
    await until(lambda: track_of(one).needed_elsewhere == {1} and track_of(one).encodings[1].awaited_by == {"b"})
    await until(lambda: track_of(third).needed_elsewhere == {1})
    await other.stop()
    await until(lambda: not track_of(one).needed_elsewhere and not track_of(one).encodings[1].awaited_by)
    await until(lambda: not track_of(third).needed_elsewhere)
