"""Chromium, the Python SDK and load clients in one room over nodes in regions, while paths break and nodes go.

Gaps are told, and held against what no busy machine excuses; the goals are measured with load clients, which cost less.
"""

import json

import pytest

from bench.cluster.lab.programs import Programs
from bench.cluster.scenarios import mixed
from bench.cluster.scenarios.mixed import CHROMIUM, PYTHON

pytestmark = [pytest.mark.usefixtures("paths"), pytest.mark.timeout(180)]

STAYS = ["signalReconnecting", "reconnected"]


def tell(_: str) -> None:
    """Nobody watches."""


async def test_a_browser_an_sdk_and_load_clients_meet_across_regions(built: Programs) -> None:
    found = await mixed.spanning(built, tell=tell)
    print(json.dumps(found))
    assert found["placed"] == {"a": 1, "b": 1, "c": 2}
    for phase in ("quiet", "cut", "mended"):
        assert (found[phase]["left"], found[phase]["rejoins"]) == ({}, 0), phase
        assert found[phase]["events"] == {CHROMIUM: [], PYTHON: []}, phase
    cut = found["cut"]["voices"]
    around = [cut[CHROMIUM][PYTHON], cut[PYTHON][CHROMIUM]]
    # It was cut, and media went round by the third node.
    assert max(around) > 200
    assert max(around) < 3_500, cut
    assert max(found["quiet"]["gap_ms"].values()) < 1_500, found["quiet"]
    # The browser was given one URL, of the node that died: it came back by another, without a click.
    kill = found["kill"]
    assert kill["events"][CHROMIUM][-1] == "reconnected"
    assert "disconnected" not in kill["events"][CHROMIUM]
    assert (kill["events"][PYTHON], kill["rejoins"]) == ([], 0)
    assert kill["gap_ms"][CHROMIUM] > 300
    assert found["kill_s"] < 15


async def test_a_browser_and_an_sdk_go_on_when_their_nodes_are_drained_stop_and_die(built: Programs) -> None:
    found = await mixed.moving(built, tell=tell)
    print(json.dumps(found))
    assert found["before"] == {"a": 2, "b": 0, "c": 2}
    # Nobody is seen to leave, and both have moved.
    assert {name: found["after"][name] for name in ("b", "c")} == {"b": 2, "c": 2}
    assert (found["drain"]["left"], found["drain"]["rejoins"]) == ({}, 0), found["drain"]
    assert found["drain"]["events"] == {CHROMIUM: STAYS, PYTHON: ["reconnecting", "reconnected"]}
    assert max(found["drain"]["gap_ms"].values()) < 3_000, found["drain"]
    # The browser was given a alone: it has found another gateway, and its session. Media does not notice.
    assert found["stop"]["events"] == {CHROMIUM: STAYS, PYTHON: ["reconnecting", "reconnected"]}
    assert (found["stop"]["left"], found["stop"]["rejoins"]) == ({}, 0), found["stop"]
    assert max(found["stop"]["gap_ms"].values()) < 1_500, found["stop"]
    # Nothing is left but c.
    assert found["end"]["c"] == 4
    assert found["kill"]["events"][CHROMIUM][-1] == found["kill"]["events"][PYTHON][-1] == "reconnected"
    assert "disconnected" not in found["kill"]["events"][CHROMIUM] + found["kill"]["events"][PYTHON]
    assert found["kill"]["gap_ms"][CHROMIUM] > 300
    assert found["kill_s"] < 15
