"""Routes and suspicion: decisions as tables."""

import random

import pytest

from control_plane.cluster.cascade import routes
from control_plane.cluster.cascade.suspicion import Signs, Verdict, verdict

FEW = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("here", "holders", "broken", "first"),
    [
        ("b", FEW, set(), "a"),
        ("b", FEW, {"a"}, "c"),
        ("b", ["a", "b"], {"a"}, "x"),
        ("b", FEW, {"a", "c"}, "x"),
        ("b", FEW, {"a", "c", "x"}, None),
        ("x", FEW, set(), "a"),
    ],
)
def test_the_next_hop(here: str, holders: list[str], broken: set[str], first: str | None) -> None:
    found = routes.hops("a", here, holders, broken, fan_out=8, others=["x"])
    assert (found[0] if found else None) == first


@pytest.mark.parametrize(
    ("holders", "broken", "mute", "found"),
    [
        (FEW, set(), set(), ["a", "c"]),
        (FEW, set(), {"a"}, ["a", "c"]),
        (FEW, set(), {"c"}, ["a", "c"]),
        ([*FEW, "d"], set(), set(), ["a", "d", "c"]),
        ([*FEW, "d"], set(), {"d"}, ["a", "c", "d"]),
        ([*FEW, "d"], {"a"}, {"c", "d"}, ["x", "d", "c"]),
    ],
)
def test_who_cannot_hear_a_request_is_asked_last(
    holders: list[str], broken: set[str], mute: set[str], found: list[str]
) -> None:
    assert routes.hops("a", "b", holders, broken, 8, ["x"] if broken else [], mute) == found


@pytest.mark.parametrize(
    ("hops", "via", "ready", "found"),
    [
        # The home needs no words, and stays before who has answered.
        (["a", "c", "d"], None, "d", ["a", "d", "c"]),
        (["a", "c", "d"], None, None, ["a", "c", "d"]),
        (["c", "d"], None, "d", ["d", "c"]),
        (["c", "a"], "a", "c", ["c", "a"]),
        (["c", "d", "a"], "a", "d", ["d", "c", "a"]),
        # What comes is not given up for what is worse.
        (["c", "a", "d"], "a", "d", ["c", "a", "d"]),
        (["a", "c"], "a", "c", ["a", "c"]),
        # From there nothing passes any more.
        (["c"], "a", "d", ["c"]),
        (["c", "d"], "a", "d", ["d", "c"]),
        ([], None, "d", []),
    ],
)
def test_who_has_answered_goes_before_who_would_have_to_be_asked(
    hops: list[str], via: str | None, ready: str | None, found: list[str]
) -> None:
    assert routes.by_readiness(hops, "a", via, ready) == found


@pytest.mark.parametrize(
    ("hops", "via", "unfit", "found"),
    [
        (["a", "c", "d"], "a", set(), "c"),
        (["a", "c", "d"], "a", {"c"}, "d"),
        (["a", "c", "d"], "a", {"c", "d"}, None),
        (["a"], "a", set(), None),
        # A parent in a tree: after it comes the home, which need not be asked.
        (["c", "a", "d"], "c", set(), None),
        # A better way is asked for before it is taken.
        (["c", "a", "d"], "a", set(), "c"),
        # A detour.
        (["c", "d"], "c", set(), "d"),
        ([], "a", set(), None),
    ],
)
def test_who_is_asked_beforehand(hops: list[str], via: str, unfit: set[str], found: str | None) -> None:
    assert routes.spare(hops, "a", via, unfit) == found


@pytest.mark.parametrize(
    ("holders", "broken", "needed"),
    [
        (FEW, set(), False),
        (FEW, {"x"}, False),
        (FEW, {"a"}, True),
        (FEW, {"c"}, True),
        (["a", "b"], set(), True),
        # It only passes it on.
        (["a"], set(), False),
        (["a"], {"a"}, True),
    ],
)
def test_when_nodes_outside_of_the_room_are_needed(holders: list[str], broken: set[str], needed: bool) -> None:
    assert routes.needs_outside("a", "b", holders, broken) == needed


@pytest.mark.parametrize(
    ("better", "has_failed", "seconds"),
    [("a", False, 0.0), ("a", True, routes.SETTLED), ("c", False, routes.SETTLED), ("c", True, routes.SETTLED)],
)
def test_only_a_straight_way_that_never_failed_is_taken_at_once(better: str, has_failed: bool, seconds: float) -> None:
    assert routes.patience(better, "a", has_failed=has_failed) == seconds


@pytest.mark.parametrize(("count", "fan_out"), [(2, 1), (9, 8), (10, 8), (25, 8), (25, 4), (100, 3), (1_000, 8)])
def test_no_node_feeds_more_than_allowed_and_all_are_fed(count: int, fan_out: int) -> None:
    nodes = [f"node-{index}" for index in range(count)]
    home = nodes[0]
    fed: dict[str, int] = {}
    for node in nodes[1:]:
        parent = routes.hops(home, node, nodes, frozenset(), fan_out)[0]
        fed[parent] = fed.get(parent, 0) + 1
    assert sum(fed.values()) == count - 1
    assert max(fed.values()) <= fan_out


@pytest.mark.parametrize(("count", "deepest"), [(2, 1), (9, 1), (10, 2), (73, 2), (74, 3)])
def test_trees_are_flat(count: int, deepest: int) -> None:
    nodes = [f"node-{index}" for index in range(count)]
    depths = {"node-0": 0}
    for node in routes.tree("node-0", nodes)[1:]:
        depths[node] = depths[routes.hops("node-0", node, nodes, frozenset(), 8)[0]] + 1
    assert max(depths.values()) == deepest


def test_trees_of_different_homes_burden_different_nodes() -> None:
    nodes = [f"node-{index}" for index in range(25)]
    inner = {tuple(sorted(routes.tree(home, nodes)[1:4])) for home in nodes}
    assert len(inner) > 20


def test_ways_never_lead_in_a_circle_whatever_is_broken() -> None:
    randomness = random.Random(5)
    nodes = [f"node-{index}" for index in range(12)]
    for _ in range(200):
        home = randomness.choice(nodes)
        for node in nodes:
            if node == home:
                continue
            # Whoever follows first choices around what is broken for it reaches the home, or is refused.
            way: list[str] = []
            at = node
            while at != home:
                broken = {other for other in nodes if randomness.random() < 0.2}
                found = [
                    hop
                    for hop in routes.hops(home, at, nodes, broken, 2)
                    if not routes.refusal(hop, at, [*way, at], ())
                ]
                if not found:
                    break
                way.append(at)
                at = found[0]
            assert len(set(way)) == len(way) <= routes.MAX_ROUTE


@pytest.mark.parametrize(
    ("path", "route", "refused"),
    [
        (["b"], ["a"], False),
        (["b", "h"], ["a"], True),
        (["b"], ["a", "b"], True),
        (["d", "b"], ["a", "d"], True),
        (["b"], [], False),
        (["e", "d", "b"], ["a"], False),
        (["e", "d", "b"], ["a", "f"], True),
        (["f", "e", "d", "b"], [], True),
    ],
)
def test_who_passes_a_track_on(path: list[str], route: list[str], refused: bool) -> None:
    assert bool(routes.refusal("h", path[-1], path, route)) == refused


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (Signs(True), "alive"),
        (Signs(True, heartbeat="expired"), "alive"),
        (Signs(True, links_silent=True), "alive"),
        (Signs(False, 0.1), "alive"),
        (Signs(False, 0.0, broke_off=True), "doubtful"),
        (Signs(False, 0.8, broke_off=True), "unreachable"),
        (Signs(False, 0.1, links_silent=True), "alive"),
        (Signs(False, 0.1, refused=True), "doubtful"),
        (Signs(False, 0.1, refused=True, links_silent=True), "dead"),
        (Signs(False, 0.8), "unreachable"),
        (Signs(False, 0.8, links_silent=True), "unreachable"),
        (Signs(False, 0.8, refused=True), "unreachable"),
        (Signs(False, 0.8, refused=True, links_silent=True), "dead"),
        (Signs(False, 0.1, heartbeat="expired"), "dead"),
        (Signs(False, 600.0, heartbeat="unknown", links_silent=True), "unreachable"),
    ],
)
def test_who_lives(signs: Signs, expected: Verdict) -> None:
    assert verdict(signs) == expected
