"""Rooms on many nodes: no node feeds more than it should, everybody is fed, also when nodes come, go and die."""

from collections import Counter

import pytest

from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.waiting import until
from tests.control_plane.recording import RecordingMedia

FAN_OUT = 2


def feeders(nodes: list[ClusterNode], home: str) -> dict[str, str]:
    """From whom each node takes the one track of `home`, of those that have it."""
    return {
        node.name: mirror.via
        for node in nodes
        for mirror in node.cascade.mirrors.all()
        if mirror.source.node == home and mirror.via is not None and mirror.handle is not None
    }


def is_a_tree(nodes: list[ClusterNode], home: str) -> bool:
    found = feeders(nodes, home)
    names = {node.name for node in nodes}
    if found.keys() != names - {home} or not names.issuperset(found.values()):
        return False
    if max(Counter(found.values()).values()) > FAN_OUT:
        return False
    for node in found:
        seen = [node]
        while seen[-1] != home:
            seen.append(found[seen[-1]])
            if seen.count(seen[-1]) > 1:
                return False
    return True


@pytest.mark.timeout(100)
async def test_seven_nodes_are_a_tree_and_stay_one_when_one_of_them_dies() -> None:
    async with TestCluster(RecordingMedia, fan_out=FAN_OUT) as cluster:
        nodes = [await cluster.node(name) for name in "abcdefg"]
        cluster.hold(*nodes)
        home = nodes[0]
        alice = await home.client("alice", auto_publish=True)
        await alice.offer("aiortc_sendonly")
        for node in nodes[1:]:
            await node.client(f"viewer-{node.name}")
        everybody = {"alice", *(f"viewer-{node.name}" for node in nodes[1:])}
        await until(lambda: all(node.identities() == everybody for node in nodes))
        kinds = len(home.participant("alice").tracks)
        await until(lambda: len(feeders(nodes, "a")) == 6)
        await until(lambda: is_a_tree(nodes, "a"), patience=40)
        # What it is called at each hop is what the node before calls it.
        by_name = {node.name: node for node in nodes}
        for node in nodes[1:]:
            mirrors = node.cascade.mirrors.all()
            assert len(mirrors) == kinds
            for mirror in mirrors:
                above = by_name[mirror.via or ""]
                known = {m.handle for m in above.cascade.mirrors.all()} | {
                    c["handle"] for c in above.media.named("publish")
                }
                assert mirror.theirs in known
        inner = next(by_name[name] for name in feeders(nodes, "a").values() if name != "a")
        await inner.crash()
        cluster.gone.add(inner.name)
        left = [node for node in nodes if node is not inner]
        for node in left:
            node.cascade.node_gone(inner.name)
        cluster.hold(*left)
        await until(lambda: is_a_tree(left, "a"), patience=40)
