"""Spare ways: asked for beforehand, taken without a word, and kept by nobody for longer than they are of use."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.cluster.cascade.mirror import Mirror
from control_plane.cluster.cascade.routes import SETTLED
from control_plane.cluster.cascade.spares import AT_ONCE, Spares
from control_plane.cluster.cascade.wire import Source
from pysfu.v1 import signaling_pb2
from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.real import RealCluster, frame
from tests.cluster.waiting import until
from tests.control_plane.recording import RecordingMedia


@pytest_asyncio.fixture
async def three() -> AsyncIterator[tuple[ClusterNode, ClusterNode, ClusterNode]]:
    """Nodes with a room that alice publishes to from the first; all of them are ready for a broken way."""
    async with TestCluster(RecordingMedia) as cluster:
        one, other, third = [await cluster.node(name) for name in "abc"]
        cluster.hold(one, other, third)
        alice = await one.client("alice", auto_publish=True)
        await alice.offer("aiortc_sendonly")
        for node in (other, third):
            await node.client(f"viewer-{node.name}")
        await until(lambda: is_ready(other, "c") and is_ready(third, "b"))
        yield one, other, third


def mirrors(node: ClusterNode) -> list[Mirror]:
    return node.cascade.mirrors.all()


def is_ready(node: ClusterNode, spare: str) -> bool:
    found = mirrors(node)
    return len(found) == 2 and all(
        mirror.via == "a" and mirror.spare is not None and mirror.spare.node == spare and mirror.spare.handle
        for mirror in found
    )


def silence(node: ClusterNode, other: str, *, alive: bool = False) -> None:
    """The core has noticed it of every link to a node."""
    for link in list(node.cascade.peers[other].relays.links.values()):
        node.cascade.link_alive(link.ours, alive)


async def test_a_way_that_breaks_is_left_at_once_for_the_spare_one(
    three: tuple[ClusterNode, ClusterNode, ClusterNode],
) -> None:
    _, other, third = three
    handles = {mirror.handle for mirror in mirrors(other)}
    silence(other, "a")
    # Nothing was awaited: no answer of any other node was needed.
    (link,) = other.cascade.peers["c"].relays.links.values()
    moved = other.media.named("mirror")[-2:]
    assert {call["link"] for call in moved} == {link.ours}
    assert {call["theirs"] for call in moved} == {mirror.handle for mirror in mirrors(third)}
    assert [mirror.route for mirror in mirrors(other)] == [("a", "c")] * 2
    voice = next(mirror for mirror in mirrors(other) if mirror.kind == "audio")
    assert voice.handle in handles, "who hears it goes on hearing the same"


async def test_who_could_not_pass_it_on_says_so_once_it_can(
    three: tuple[ClusterNode, ClusterNode, ClusterNode],
) -> None:
    """A second cut soon after the first finds everybody ready."""
    _, other, third = three
    silence(third, "a")
    assert all(mirror.via == "b" for mirror in mirrors(third))
    await until(lambda: all(mirror.spare is not None and not mirror.spare.handle for mirror in mirrors(other)))
    requests = [mirror.spare.number for mirror in mirrors(other) if mirror.spare is not None]
    silence(third, "a", alive=True)
    now = time.monotonic()
    third.cascade.mirrors.settle(now)
    third.cascade.mirrors.settle(now + SETTLED)
    assert is_ready(third, "b"), "who passed it on so far stays ready to"
    await until(lambda: is_ready(other, "c"), patience=0.5)
    assert requests == [mirror.spare.number for mirror in mirrors(other) if mirror.spare is not None], "nobody asked"


async def test_who_is_taken_from_does_not_come_back_for_it(three: tuple[ClusterNode, ClusterNode, ClusterNode]) -> None:
    """Nothing goes in a circle when both lose the home at the same time."""
    one, other, third = three
    silence(other, "a")
    silence(third, "a")
    await until(lambda: not any(mirror.route for node in (other, third) for mirror in mirrors(node)))
    silence(other, "a", alive=True)
    silence(third, "a", alive=True)
    await until(lambda: all(mirror.route for node in (other, third) for mirror in mirrors(node)))
    for node in (other, third):
        assert all(mirror.route in {("a",), ("a", "b"), ("a", "c")} for mirror in mirrors(node))
    assert one.identities() == other.identities() == third.identities()


async def test_no_spare_way_outlives_its_track(three: tuple[ClusterNode, ClusterNode, ClusterNode]) -> None:
    one, other, third = three
    await one.clients[0].send(leave=signaling_pb2.Leave())
    await until(lambda: not mirrors(other) and not mirrors(third))


async def test_a_node_that_holds_the_room_no_more_is_nobodys_spare_way() -> None:
    async with TestCluster(RecordingMedia) as cluster:
        one, other, third, fourth = [await cluster.node(name) for name in "abcd"]
        cluster.hold(one, other, third, fourth)
        alice = await one.client("alice", auto_publish=True)
        await alice.offer("aiortc_sendonly")
        for node in (other, third, fourth):
            await node.client(f"viewer-{node.name}")
        await until(lambda: is_ready(other, "c") or is_ready(other, "d"))
        leaves, stays = (third, "d") if is_ready(other, "c") else (fourth, "c")
        for node in (one, other):
            node.cascade.holders_changed("room", ["a", "b", stays])
        await until(lambda: is_ready(other, stays))
        await until(lambda: not any(node == "b" for mirror in mirrors(leaves) for node, _ in mirror.askers))


async def test_a_broken_stream_does_not_concern_media(three: tuple[ClusterNode, ClusterNode, ClusterNode]) -> None:
    _, other, _ = three
    before = len(other.media.named("mirror"))
    peer = other.cascade.peers["a"]
    peer.is_unreachable = True
    other.cascade.mirrors.broken("a")
    assert [mirror.via for mirror in mirrors(other)] == ["a", "a"]
    assert len(other.media.named("mirror")) == before


async def test_in_a_room_on_two_nodes_a_third_one_is_ready_and_does_not_stay_so_after_it() -> None:
    async with TestCluster(RecordingMedia) as cluster:
        one, other, third = [await cluster.node(name) for name in "abc"]
        cluster.hold(one, other)
        alice = await one.client("alice", auto_publish=True)
        await alice.offer("aiortc_sendonly")
        await other.client("viewer")
        await until(lambda: is_ready(other, "c"))
        assert not third.plane.node.rooms()
        silence(other, "a")
        assert all(mirror.route == ("a", "c") for mirror in mirrors(other))
        await alice.send(leave=signaling_pb2.Leave())
        await until(lambda: not mirrors(other) and not mirrors(third))


async def test_who_found_nobody_to_ask_asks_as_soon_as_a_stream_is_there(
    three: tuple[ClusterNode, ClusterNode, ClusterNode],
) -> None:
    _, other, _ = three
    silence(other, "c")
    silence(other, "a")
    silence(other, "c", alive=True)
    # As if the node had not answered.
    for mirror in mirrors(other):
        mirror.pending = None
        mirror.tried = {"a", "c"}
        if mirror.timer is not None:
            mirror.timer.cancel()
    other.cascade.mirrors.opened_stream("c")
    assert all(mirror.asked == "c" for mirror in mirrors(other)), "not only when the second is over"


def test_requests_are_spread_over_time() -> None:
    asked: list[int] = []

    def ask(mirror: Mirror, node: str) -> int:
        asked.append(mirror.source.handle)
        return len(asked)

    spares = Spares(ask, lambda node, number: None)
    many = [Mirror(Source("a", handle, 0), "audio") for handle in range(AT_ONCE + 10)]
    for mirror in many:
        mirror.route = ("a",)
    for second in range(3):
        spares.begin(float(second))
        for mirror in many:
            spares.settle(mirror, ["a", "c"])
    assert asked == [mirror.source.handle for mirror in many], "each once"


@pytest.mark.timeout(60)
async def test_media_goes_round_though_the_third_node_is_slow_to_answer(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c") as cluster:
        one, other, third = cluster.nodes
        await cluster.publisher(one)
        await cluster.peer(third, "carol")
        viewer = await cluster.viewer(other)
        tracks = await viewer.tracks()
        for track in tracks.values():
            await frame(track)
        found = other.cluster.cascade.mirrors
        await until(lambda: all(mirror.spare is not None and mirror.spare.handle for mirror in found.all()))
        # From now on it answers nothing any more.
        third.cluster.cascade.mirrors.received_request = lambda node, request: None  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        cut_at = loop.time()
        cluster.cables.cut("a", "b")
        await until(lambda: {mirror.via for mirror in found.all()} == {"c"}, patience=2.0)
        print(f"\nrerouted after {loop.time() - cut_at:.2f} s")
        for track in tracks.values():
            for _ in range(20):
                await frame(track)


@pytest.mark.timeout(60)
async def test_a_third_node_that_dies_on_the_way_round_is_left_for_a_fourth(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c", "d") as cluster:
        one, other, *thirds = cluster.nodes
        await cluster.publisher(one)
        for node in thirds:
            await cluster.peer(node, f"viewer-{node.name}")
        viewer = await cluster.viewer(other)
        tracks = await viewer.tracks()
        for track in tracks.values():
            await frame(track)
        found = other.cluster.cascade.mirrors

        def ready() -> set[str | None]:
            return {mirror.ready for mirror in found.all()}

        await until(lambda: len(found.all()) == 2 and ready() in ({"c"}, {"d"}))
        cluster.cables.cut("a", "b")
        await until(lambda: {mirror.via for mirror in found.all()} in ({"c"}, {"d"}))
        (via,) = {mirror.via for mirror in found.all()}
        dies, lives = thirds if via == "c" else reversed(thirds)
        await until(lambda: ready() == {lives.name})
        # Nobody needs to be asked.
        lives.cluster.cascade.mirrors.received_request = lambda node, request: None  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        await dies.die()
        died_at = loop.time()
        await until(lambda: {mirror.via for mirror in found.all()} == {lives.name}, patience=3.0)
        print(f"\ntaken from the fourth after {loop.time() - died_at:.2f} s")
        for track in tracks.values():
            for _ in range(20):
                await frame(track)
