"""Which node keeps another's sessions."""

import pytest

from control_plane.cluster.moving.keepers import Keepers, choose_keeper
from control_plane.cluster.registry import NodeInfo


def node(name: str, region: str = "eu", **other: object) -> NodeInfo:
    return NodeInfo(name, 1, "", region=region, keeps=True, **other)  # type: ignore[arg-type]


PATHS = {("eu", "us"): 80.0, ("ap", "eu"): 250.0, ("ap", "us"): 150.0}


@pytest.mark.parametrize(
    ("nodes", "current", "expected"),
    [
        pytest.param([], "", "", id="nobody else"),
        pytest.param([node("b", "us"), node("c", "ap")], "", "b", id="the nearest region"),
        pytest.param([node("b", "us"), node("c", "eu")], "", "c", id="its own region"),
        pytest.param([node("b", "us"), node("c", "xx")], "", "b", id="a path that is not known"),
        pytest.param([node("c", "xx")], "", "c", id="better than nobody"),
        pytest.param([node("b", "us"), node("c", "ap")], "c", "b", id="a much nearer one than the present"),
        pytest.param([node("b", "us"), node("c", "us")], "c", "c", id="the present one stays"),
        pytest.param([node("b", "us", draining=True), node("c", "ap")], "b", "c", id="it drains"),
        pytest.param([node("b", "us", leaving=True), node("c", "ap")], "b", "c", id="it leaves"),
        pytest.param([NodeInfo("b", 1, "", region="us"), node("c", "ap")], "", "c", id="of the release before"),
        pytest.param([node("silent", "us"), node("c", "ap")], "silent", "c", id="it does not answer"),
    ],
)
def test_who_keeps(nodes: list[NodeInfo], current: str, expected: str) -> None:
    me = node("a")
    assert choose_keeper(me, [me, *nodes], PATHS, lambda name: name != "silent", current) == expected


def test_keepers_of_a_region_are_spread() -> None:
    nodes = [node(f"node-{number}") for number in range(20)]
    chosen = {choose_keeper(me, nodes, PATHS, lambda _: True, "") for me in nodes}
    assert len(chosen) > 8


def test_the_keeper_of_a_node_is_remembered_when_it_says_none() -> None:
    keepers = Keepers()
    assert keepers.of("a") == ""
    keepers.heard(node("a", keeper="b"))
    keepers.heard(node("a"))
    assert keepers.of("a") == "b"
