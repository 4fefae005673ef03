"""Whatever happens in whatever order: in the end every node sees the same people and tracks, each once."""

import asyncio
import random
from typing import Any

import pytest

from pysfu.v1 import signaling_pb2
from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient
from tests.control_plane.recording import RecordingMedia

NODES = 3
STEPS = 30


class Churn:
    """Random steps on some nodes, from a seed."""

    def __init__(self, cluster: TestCluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.people: dict[str, tuple[ClusterNode, SignalingClient]] = {}
        self.deaf: ClusterNode | None = None

    async def step(self) -> None:
        action = self.random.choice(
            (self.join, self.join, self.join, self.leave, self.publish, self.unpublish, self.cut)
        )
        await action()
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.06)))

    async def join(self) -> None:
        """Somebody new, or somebody who is there already, at any node."""
        identity = f"p{self.random.randrange(8)}"
        node = self.random.choice(self.cluster.nodes)
        self.people[identity] = (node, await node.client(identity, auto_publish=True))

    async def leave(self) -> None:
        if self.people:
            identity = self.random.choice(sorted(self.people))
            _, client = self.people.pop(identity)
            await client.send(leave=signaling_pb2.Leave())

    async def publish(self) -> None:
        session = self._somebody()
        if session is not None and not session.participant.tracks:
            client = next(client for _, client in self.people.values() if client.joined.session_id == session.id)
            await client.offer("chromium_publish")

    async def unpublish(self) -> None:
        session = self._somebody()
        if session is not None and session.participant.tracks:
            track = self.random.choice(sorted(session.participant.tracks))
            session.handle(signaling_pb2.SessionRequest(unpublish=signaling_pb2.Unpublish(track_id=track)))

    async def cut(self) -> None:
        """A node's streams break and are made again."""
        if self.deaf is not None:
            await self.deaf.listen()
            self.deaf = None
        else:
            self.deaf = self.random.choice(self.cluster.nodes)
            await self.deaf.deafen()

    async def heal(self) -> None:
        if self.deaf is not None:
            await self.deaf.listen()

    def _somebody(self) -> Any:
        sessions = [
            session
            for node in self.cluster.nodes
            if node.plane.node.is_live("room")
            for session in node.live().room.sessions()
            if any(client.joined.session_id == session.id for _, client in self.people.values())
        ]
        return self.random.choice(sorted(sessions, key=lambda one: one.participant.identity)) if sessions else None


def seen(node: ClusterNode) -> dict[str, tuple[str, frozenset[str]]]:
    """Everybody by identity: id and announced tracks."""
    return {
        one.identity: (one.id, frozenset(track.id for track in one.tracks.values() if track.announced))
        for one in node.live().room.participants.values()
    }


def agree(nodes: list[ClusterNode]) -> bool:
    """All see the same, and each is at home exactly once."""
    views = [seen(node) for node in nodes]
    homes = [one.participant.identity for node in nodes for one in node.live().room.sessions()]
    return all(view == views[0] for view in views) and sorted(homes) == sorted(views[0])


def nothing_is_left(nodes: list[ClusterNode]) -> bool:
    """Of what was there in between: each node has what the others publish, and nothing else."""
    published = {track for _, tracks in seen(nodes[0]).values() for track in tracks}
    here = (sum(len(one.participant.tracks) for one in node.live().room.sessions()) for node in nodes)
    return all(len(node.cascade.mirrors.all()) == len(published) - own for node, own in zip(nodes, here, strict=True))


@pytest.mark.timeout(100)
@pytest.mark.parametrize("seed", range(8))
async def test_everybody_agrees_in_the_end(seed: int) -> None:
    async with TestCluster(RecordingMedia) as cluster:
        nodes = [await cluster.node(f"node-{index}") for index in range(NODES)]
        cluster.hold(*nodes)
        for index, node in enumerate(nodes):
            await node.client(f"stays-{index}")
        churn = Churn(cluster, seed)
        for _ in range(STEPS):
            await churn.step()
        await churn.heal()
        await until(lambda: agree(nodes) and nothing_is_left(nodes), patience=30)
