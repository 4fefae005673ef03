"""Real media between nodes: real cores, sealed links on loopback, mutual TLS, clients that know nothing of nodes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control_plane.cluster.cascade.routes import SETTLED
from pysfu.v1 import models_pb2
from tests.cluster.real import RealCluster, RealNode, frame
from tests.cluster.waiting import until


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
        eve, eves = await cluster.chat(one, "eve")
        frank, franks = await cluster.chat(other, "frank")
        await until(lambda: one.participant("frank") and other.participant("eve"))
        frank.send("from frank")
        assert await asyncio.wait_for(eves.get(), 10) == "from frank"
        eve.send("from eve")
        assert await asyncio.wait_for(franks.get(), 10) == "from eve"


@pytest.mark.timeout(100)
@pytest.mark.parametrize("workers", [(1, 1, 1), (1, 2, 3)])
async def test_a_broken_way_is_left_for_one_over_a_third_node_and_taken_again_when_it_is_well(
    tmp_path: Path, workers: tuple[int, ...]
) -> None:
    async with RealCluster(tmp_path, "a", "b", "c", workers=workers) as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one)
        await cluster.peer(third, "carol")
        viewer = await cluster.viewer(other)
        tracks = await viewer.tracks()
        watched = asyncio.ensure_future(watch(tracks["video"]))
        await until(lambda: third.participant("alice") and third.participant("viewer"))
        await frame(tracks["audio"])
        cluster.cables.cut("a", "b")
        loop = asyncio.get_running_loop()
        cut_at = loop.time()
        await until(lambda: set(ways(other)) == {"c"})
        rerouted = loop.time() - cut_at
        assert rerouted < 2.5, "silence is noticed after 400 ms"
        await asyncio.sleep(1.0)
        cluster.cables.mend("a", "b")
        await until(lambda: set(ways(other)) == {"a"})
        assert loop.time() - cut_at > SETTLED
        await asyncio.sleep(0.5)
        watched.cancel()
        gaps = await watched
        print(f"\nrerouted after {rerouted:.2f} s, longest gap of the picture {max(gaps):.2f} s")
        assert max(gaps) < 3.0
        assert third.media.snapshot().links["media_sent"].sum() > 0


@pytest.mark.timeout(100)
async def test_a_way_that_is_broken_in_one_direction_is_left_in_both(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c") as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one, "alice")
        await cluster.publisher(other, "bob")
        await cluster.peer(third, "carol")
        viewers = [await cluster.viewer(other, "sees-alice", "alice"), await cluster.viewer(one, "sees-bob", "bob")]
        tracks = [await viewer.tracks() for viewer in viewers]
        await until(lambda: third.participant("alice") and third.participant("bob"))
        cluster.cables.cut_one_way("a", "b")
        # What b sends still arrives, but nothing that a asks for again would.
        await until(lambda: set(ways(one)) == set(ways(other)) == {"c"})
        for found in tracks:
            for _ in range(10):
                await frame(found["video"])
                await frame(found["audio"])


@pytest.mark.timeout(100)
async def test_who_passed_a_track_on_gets_it_from_those_it_passed_it_to(tmp_path: Path) -> None:
    """A way breaks while another node still comes the longer way over this one, and could come straight."""
    async with RealCluster(tmp_path, "a", "b", "c") as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one)
        viewers = [await cluster.viewer(other), await cluster.viewer(third, "third")]
        tracks = [await viewer.tracks() for viewer in viewers]
        for found in tracks:
            await frame(found["video"])
        cluster.cables.cut("a", "c")
        await until(lambda: set(ways(third)) == {"b"})
        cluster.cables.mend("a", "c")
        loop = asyncio.get_running_loop()
        await until(lambda: all(link.is_well for link in third.cluster.cascade.peers["a"].relays.links.values()))
        cluster.cables.cut("a", "b")
        cut_at = loop.time()
        await until(lambda: set(ways(other)) == {"c"} and set(ways(third)) == {"a"})
        rerouted = loop.time() - cut_at
        print(f"\nrerouted after {rerouted:.2f} s")
        assert rerouted < SETTLED / 2, "nobody waits for ways to be taken again by themselves"
        for found in tracks:
            for _ in range(10):
                await frame(found["video"])
                await frame(found["audio"])


@pytest.mark.timeout(100)
async def test_two_nodes_that_cannot_reach_each_other_keep_each_others_people_and_media_comes_over_a_third(
    tmp_path: Path,
) -> None:
    async with RealCluster(tmp_path, "a", "b", "c") as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one)
        await cluster.peer(third, "carol")
        viewer = await cluster.viewer(other)
        tracks = await viewer.tracks()
        await frame(tracks["audio"])
        watched = asyncio.ensure_future(watch(tracks["video"]))
        await until(lambda: third.participant("alice") and third.participant("viewer"))
        cluster.part(one, other)
        await until(lambda: set(ways(other)) == {"c"})
        await until(lambda: other.cluster.cascade.peers["a"].third == "c")
        # For longer than a node without a heartbeat is taken for alive.
        await asyncio.sleep(5.0)
        assert other.participant("alice") is not None
        assert one.participant("viewer") is not None
        late = await cluster.peer(one, "late")
        await until(lambda: other.participant("late"))
        cluster.join_again(one, other)
        await until(lambda: set(ways(other)) == {"a"})
        for _ in range(5):
            await frame(tracks["audio"])
        watched.cancel()
        gaps = await watched
        print(f"\nlongest gap of the picture {max(gaps):.2f} s")
        assert max(gaps) < 3.0
        states = {
            (seen.identity, seen.state)
            for answer in viewer.signaling.seen
            for seen in answer.participants_changed.participants
        }
        assert ("alice", models_pb2.Participant.STATE_DISCONNECTED) not in states, "nobody was gone in between"
        assert late.signaling.joined.participant.identity == "late"


def ways(node: RealNode) -> list[str | None]:
    """The nodes from which tracks come."""
    return [mirror.via for mirror in node.cluster.cascade.mirrors.all()]


async def watch(track: Any) -> list[float]:
    """Seconds between pictures, until it is cancelled."""
    loop = asyncio.get_running_loop()
    gaps = [0.0]
    before = loop.time()
    try:
        while True:
            await track.recv()
            gaps.append(loop.time() - before)
            before = loop.time()
    except asyncio.CancelledError:
        return [*gaps, loop.time() - before]


@pytest.mark.timeout(60)
async def test_a_node_that_is_killed_is_gone_within_a_second_and_its_people_with_it(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c") as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one)
        await cluster.peer(third, "carol")
        viewer = await cluster.viewer(other)
        await frame((await viewer.tracks())["video"])
        await until(lambda: third.participant("alice") and third.participant("viewer"))
        loop = asyncio.get_running_loop()
        await one.die()
        died = loop.time()
        await until(lambda: not any(node.participant("alice") for node in (other, third)))
        gone = loop.time() - died
        print(f"\ngone after {gone:.2f} s")
        assert gone < 3.0
        # Those who live notice nothing of it.
        assert other.participant("carol") is not None
        assert third.participant("viewer") is not None
        # She comes back at another node.
        await cluster.publisher(third)
        back = await cluster.viewer(other, "again")
        assert (await frame((await back.tracks())["video"])).width == 640


@pytest.mark.timeout(60)
async def test_media_passes_through_nodes_on_its_way(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    async with RealCluster(tmp_path, *names, fan_out=1) as cluster:
        await cluster.publisher(cluster.nodes[0])
        viewers = [await cluster.viewer(node, f"viewer-{node.name}") for node in cluster.nodes[1:]]
        for viewer in viewers:
            tracks = await viewer.tracks()
            assert (await frame(tracks["video"])).width == 640
            assert (await frame(tracks["audio"])).sample_rate == 48_000

        def is_a_chain() -> bool:
            return len({way for node in cluster.nodes[1:] for way in ways(node)}) == 3

        # Whoever came before the others were there moves to its place in the tree, and media goes on.
        await until(is_a_chain, patience=30)
        for viewer in viewers:
            for _ in range(10):
                await frame(viewer.connection.getReceivers()[1].track)
