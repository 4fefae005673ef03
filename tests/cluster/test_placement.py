"""Where participants go: a table of small clusters, properties over random ones, and a day of a large one."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from bench.cluster.placement import Scenario, simulate
from control_plane.cluster.placement import FULL, NodeView, Paths, place

PATHS = Paths({("eu", "us"): 90.0, ("eu", "asia"): 160.0, ("us", "asia"): 140.0, ("eu", "eu2"): 15.0}, measured={})


def node(name: str, region: str = "eu", used: float = 0.0, **changes: object) -> NodeView:
    return NodeView(name, region, {"cpu": used}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "region", "holders", "expected"),
    [
        pytest.param([node("a", "us"), node("b", "eu")], "eu", [], "b", id="the nearest"),
        pytest.param([node("a", used=0.3), node("b", used=0.1)], "eu", [], "b", id="the emptiest of equals"),
        pytest.param([node("a", used=0.6), node("b")], "eu", ["a"], "a", id="where the room is"),
        pytest.param([node("a", used=0.85), node("b")], "eu", ["a"], "b", id="beside it when it is nearly full"),
        pytest.param([node("a", used=FULL), node("b", "us")], "eu", ["a"], "b", id="farther when it is full"),
        pytest.param([node("a", "us"), node("b", "eu")], "eu", ["a"], "a", id="over 90 ms rather than over a link"),
        pytest.param([node("a", "asia"), node("b", "eu")], "eu", ["a"], "b", id="a link rather than 160 ms"),
        pytest.param([node("a", "eu2"), node("b", "eu")], "eu", ["a"], "a", id="a neighbouring region is near enough"),
        pytest.param(
            [node("a", open=False), node("b", "us")], "eu", ["a"], "b", id="nobody goes where nothing is open"
        ),
        pytest.param([node("a", reserved=FULL), node("b", "us")], "eu", [], "b", id="what is promised is used"),
        pytest.param([node("a", used=FULL), node("b", open=False)], "eu", [], None, id="nowhere"),
        pytest.param([], "eu", [], None, id="no nodes"),
        pytest.param([node("a", "mars"), node("b", "eu")], "venus", [], None, id="unknown regions are equally far"),
    ],
)
def test_a_table_of_small_clusters(
    nodes: Sequence[NodeView], region: str, holders: Sequence[str], expected: str | None
) -> None:
    found = place("room", region, nodes, holders, PATHS)
    if region == "venus":
        assert sorted(found) == ["a", "b"]
    else:
        assert (found[0] if found else None) == expected


def test_measured_round_trips_count_before_those_of_regions() -> None:
    paths = Paths(PATHS.regions, measured={"a": 12.0, "b": 80.0})
    assert place("room", "eu", [node("a", "us"), node("b", "eu")], [], paths)[0] == "a"


def test_nobody_is_refused_who_could_be_taken() -> None:
    """Also where the regions that are looked at first are full."""
    full = [node(f"full-{region}-{index}", region, FULL) for region in "abcdefgh" for index in range(20)]
    assert place("room", "a", [*full, node("last", "z")], [], PATHS) == ["last"]


def test_every_order_of_nodes_gives_the_same() -> None:
    generator = random.Random(1)
    nodes = [node(f"n{index}", generator.choice(["eu", "us", "asia"]), generator.random()) for index in range(60)]
    holders = ["n3", "n30"]
    expected = place("room", "eu", nodes, holders, PATHS)
    assert len(expected) >= 20
    for _ in range(5):
        generator.shuffle(nodes)
        assert place("room", "eu", nodes, holders, PATHS) == expected


def test_rooms_spread_over_equal_nodes() -> None:
    nodes = [node(f"n{index}") for index in range(20)]
    first = [place(f"room {index}", "eu", nodes, [], PATHS)[0] for index in range(2_000)]
    counts = [first.count(one.id) for one in nodes]
    assert min(counts) > 50
    assert max(counts) < 160


def test_a_node_that_comes_or_goes_moves_few_rooms() -> None:
    nodes = [node(f"n{index}") for index in range(20)]
    rooms = [f"room {index}" for index in range(500)]
    before = [place(room, "eu", nodes, [], PATHS)[0] for room in rooms]
    after = [place(room, "eu", nodes[:-1], [], PATHS)[0] for room in rooms]
    assert all(one == other or one == "n19" for one, other in zip(before, after, strict=True))


def test_a_day_of_a_large_cluster() -> None:
    """A tenth of what `python -m bench.cluster.placement` runs, with a region that fails at its busiest."""
    result = simulate(Scenario(nodes=1_000, rooms=100_000))
    assert result.participants > 400_000
    assert result.failed > 3_000
    assert result.moved + result.refused >= result.failed, "those of the region that failed, and nobody else, move"
    assert result.moved > 0.9 * result.failed
    assert max(result.busiest) <= 1.1, "a node that is full takes nobody"
    assert result.refused < 0.001 * result.participants
    assert result.placed_away_though_open < 0.03 * result.participants
    assert result.added_rtt < 5
    assert np.nanmax(result.used) < FULL + 0.1
