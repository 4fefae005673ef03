"""Two nodes that cannot reach each other, and a third that both reach: the room goes on as one."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.cluster.nodes import until
from tests.cluster.real import RealCluster, RealNode


def through(one: RealNode, other: RealNode) -> str | None:
    """The node by which the stream of two goes; None: straight, or there is none."""
    peer = one.cluster.cascade.peers[other.name]
    return peer.third if peer.is_open else None


def is_straight(one: RealNode, other: RealNode) -> bool:
    ends = one.cluster.cascade.peers[other.name], other.cluster.cascade.peers[one.name]
    return all(end.is_open and end.third is None for end in ends)


@pytest.mark.timeout(60)
async def test_who_joins_beyond_a_cut_is_seen_and_nobody_leaves_when_it_heals(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c", wired=True) as cluster:
        one, other, third = cluster.nodes
        for node, identity in ((one, "alice"), (other, "bob"), (third, "carol")):
            await cluster.peer(node, identity)
        everyone = {"alice", "bob", "carol"}
        await until(lambda: all(set(node.live().room.participants) == everyone for node in cluster.nodes))
        cluster.cut(one, other)
        cut_at = time.monotonic()
        late = await cluster.peer(one, "late")
        await until(lambda: other.participant("late"))
        seen = time.monotonic() - cut_at
        print(f"\nwho joins is seen across the cut after {seen:.2f} s")
        assert seen < 2.0
        assert through(one, other) == through(other, one) == "c"
        await cluster.mend(one, other)
        mended_at = time.monotonic()
        await until(lambda: is_straight(one, other))
        print(f"straight again after {time.monotonic() - mended_at:.2f} s")
        assert set(other.live().room.participants) == {*everyone, "late"}
        assert late.signaling.joined.participant.identity == "late"
        await asyncio.sleep(0.5)
        assert is_straight(one, other)
