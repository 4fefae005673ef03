"""Real media between nodes: real cores, sealed links on loopback, mutual TLS, clients that know nothing of nodes."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.nodes import until
from tests.cluster.real import RealCluster, frame


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_publisher_on_one_node_is_seen_and_heard_on_another(tmp_path: Path, workers: int) -> None:
    async with RealCluster(tmp_path, "a", "b", workers=workers) as cluster:
        one, other = cluster.nodes
        await cluster.publisher(one)
        viewer = await cluster.viewer(other)
        tracks = await viewer.tracks()
        picture, sound = await frame(tracks["video"]), await frame(tracks["audio"])
        assert (picture.width, picture.height) == (640, 480)
        assert sound.sample_rate == 48_000


@pytest.mark.timeout(60)
async def test_both_ways_and_data(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b") as cluster:
        one, other = cluster.nodes
        await cluster.publisher(one, "alice")
        await cluster.publisher(other, "bob")
        for node, identity, publisher in ((one, "carol", "bob"), (other, "dave", "alice")):
            viewer = await cluster.viewer(node, identity, publisher)
            tracks = await viewer.tracks()
            assert (await frame(tracks["video"])).width == 640
        inboxes = []
        for node, identity in ((one, "eve"), (other, "frank")):
            peer = await cluster.peer(node, identity, auto_subscribe=False)
            channel = peer.connection.createDataChannel("chat")
            inbox: asyncio.Queue[str] = asyncio.Queue()
            opened = asyncio.Event()
            channel.on("open", opened.set)
            channel.on("message", inbox.put_nowait)
            await peer.negotiate()
            await asyncio.wait_for(opened.wait(), 10)
            inboxes.append((channel, inbox))
        (eve, eves), (frank, franks) = inboxes
        await until(lambda: one.participant("frank") and other.participant("eve"))
        frank.send("from frank")
        assert await asyncio.wait_for(eves.get(), 10) == "from frank"
        eve.send("from eve")
        assert await asyncio.wait_for(franks.get(), 10) == "from eve"
