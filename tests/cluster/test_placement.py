"""Where participants go: a table of small clusters, properties over random ones, and a day of a large one."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.cluster.placement import Result, Scenario, by_name, simulate
from bench.cluster.placement.figures import figures
from control_plane.cluster.placement import FULL, NodeView, Paths, place

ROOT = Path(__file__).parents[2]
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


def day(scenario: Scenario) -> tuple[Result, dict[str, float]]:
    result = simulate(scenario)
    return result, {figure.name: figure.value for figure in figures(scenario, result, 0.0)}


@pytest.fixture(scope="module")
def ordinary() -> tuple[Result, dict[str, float]]:
    """A tenth of what `python -m bench.cluster.placement` runs, with a region that fails at its busiest."""
    return day(Scenario(nodes=1_000, rooms=100_000))


def test_load_is_even_where_it_counts(ordinary: tuple[Result, dict[str, float]]) -> None:
    result, figure = ordinary
    assert result.participants > 400_000
    assert figure["imbalance.p50"] <= 2
    assert figure["imbalance.worst"] <= 2.6
    assert figure["busiest"] <= 1.1, "a node that is full takes nobody"
    assert np.nanmax(result.used) < FULL + 0.1
    assert figure["again.share"] <= 0.12


def test_people_are_served_near_to_them(ordinary: tuple[Result, dict[str, float]]) -> None:
    _, figure = ordinary
    assert 0 < figure["away.ordinary"] <= 0.07
    assert figure["away.day"] <= 0.07
    assert figure["away.by_choice"] <= 0.03
    assert figure["added_rtt"] <= 5


def test_a_region_that_fails_moves_its_own_people_and_nobody_else(ordinary: tuple[Result, dict[str, float]]) -> None:
    result, figure = ordinary
    assert result.failed > 3_000
    assert result.moved == sum(result.fled.values()) == sum(result.moves) == result.failed
    assert [hour for hour, moves in zip(result.hours, result.moves, strict=True) if moves] == [pytest.approx(14.0)]
    assert "frankfurt" not in result.fled
    assert result.fled["london"] > 0.5 * result.failed, "the nearest region takes most"
    assert figure["failure.away"] > 0.2
    assert figure["failure.recovery"] <= 30


def test_nobody_is_refused_while_there_is_room(ordinary: tuple[Result, dict[str, float]]) -> None:
    assert ordinary[1]["refused.share"] == 0


def test_a_cluster_that_is_too_small_refuses_the_rest() -> None:
    result, figure = day(Scenario(nodes=200, rooms=100_000))
    assert figure["refused.share"] > 0.1
    assert max(result.busiest) <= 1.1
    assert np.nanmax(result.used) > FULL, "it is full before anybody is refused"


def test_placing_by_load_and_distance_serves_nearer_than_placing_by_name(
    ordinary: tuple[Result, dict[str, float]],
) -> None:
    beside = simulate(Scenario(nodes=1_000, rooms=100_000), cost=by_name)
    assert beside.participants == ordinary[0].participants
    assert ordinary[0].added_rtt < 0.5 * beside.added_rtt
    assert ordinary[0].placed_away < 0.7 * beside.placed_away


def test_the_command_writes_its_figures_and_its_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.cluster.placement", "--nodes=500", "--rooms=50000", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in (0, 1), done.stderr
    written = json.loads((tmp_path / "placement.json").read_text())
    found = written["figures"]
    assert done.returncode == int(any(figure["pass"] is False for figure in found.values()))
    assert {"imbalance.p50", "away.day", "failure.moved", "refused.share"} <= set(found)
    assert len(written["series"]["hours"]) == len(written["series"]["away"]) == 288
    page = (tmp_path / "placement.html").read_text()
    assert page.count("<svg") == 5
    assert "50,000 rooms" in page
    assert "15 o'clock" in done.stderr, "it tells how far it is"
