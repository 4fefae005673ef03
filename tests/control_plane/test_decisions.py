"""Decisions over plain values, as tables."""

from typing import Any

import pytest

from control_plane.encodings import ordered_rids
from control_plane.limits import TokenBucket
from control_plane.measure import layer_counts, paths
from control_plane.quality import Path, Quality, quality, score
from control_plane.speakers import Voice, changes, floor, level, loudest
from control_plane.subscriptions import (
    AllowedSubscriber,
    SubscriptionRules,
    View,
    Wanted,
    max_temporal,
    wanted_of,
    wants,
)
from pysfu.v1 import models_pb2, signaling_pb2
from tests.control_plane.recording import Snapshot, rows


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Wanted()),
        ({"disabled": True}, Wanted(paused=True)),
        ({"width": 320, "height": 180}, Wanted(view=View(320, 180))),
        ({"width": 320}, Wanted()),
        ({"width": 1_000_000, "height": 180}, Wanted(view=View(65_535, 180))),
        ({"max_spatial": 1}, Wanted(max_spatial=1)),
        ({"max_spatial": 1, "width": 320, "height": 180}, Wanted(max_spatial=1)),
        ({"max_spatial": 1_000}, Wanted()),
        ({"fps": 15}, Wanted(max_temporal=1)),
        ({"priority": 1}, Wanted()),
        ({"priority": 2}, Wanted(view=View(priority=1))),
        ({"priority": 63}, Wanted(view=View(priority=5))),
        ({"priority": 2**32 - 1}, Wanted(view=View(priority=6))),
    ],
)
def test_settings_of_a_client(settings: dict[str, Any], expected: Wanted) -> None:
    assert wanted_of(signaling_pb2.UpdateTrackSettings(**settings)) == expected


@pytest.mark.parametrize(
    ("before", "levels", "expected"),
    [
        ((), {}, ()),
        ((), {"a": 0.1, "b": 0.2}, ("b",)),
        # Silence and a little more noise leave the floor to who has it.
        (("b",), {"a": 0.1}, ("a", "b")),
        (("b",), {}, ("b",)),
        (("b",), {"a": 0.3, "b": 0.2}, ("b",)),
        (("b",), {"a": 0.9, "b": 0.2}, ("a", "b")),
        (("a", "b", "c", "d"), {"c": 0.1}, ("c", "a", "b", "d")),
        (("a", "b", "c", "d"), {"e": 0.1}, ("e", "a", "b", "c")),
    ],
)
def test_floor(before: tuple[str, ...], levels: dict[str, float], expected: tuple[str, ...]) -> None:
    voices = {participant: Voice(loud, True) for participant, loud in levels.items()}
    assert floor(before, voices | {"z": Voice(1.0, False)}) == expected


@pytest.mark.parametrize(("fps", "expected"), [(0, 255), (5, 0), (7, 0), (8, 1), (15, 1), (16, 255), (60, 255)])
def test_frame_rate_picks_the_temporal_layer(fps: int, expected: int) -> None:
    assert max_temporal(fps) == expected


@pytest.mark.parametrize(
    ("automatic", "only", "explicit", "expected"),
    [
        (False, "", {}, False),
        (True, "", {}, True),
        (True, "bob", {}, False),
        (True, "alice", {}, True),
        (True, "", {"t": False}, False),
        (False, "", {"t": True}, True),
        (True, "bob", {"t": True}, True),
    ],
)
def test_explicit_choice_wins(automatic: bool, only: str, explicit: dict[str, bool], expected: bool) -> None:
    assert wants(automatic, only, explicit, "t", "alice") is expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (SubscriptionRules(), True),
        (SubscriptionRules(False), False),
        (SubscriptionRules(False, (AllowedSubscriber("bob", all_tracks=True),)), True),
        (SubscriptionRules(False, (AllowedSubscriber("", "PA_b", all_tracks=True),)), True),
        (SubscriptionRules(False, (AllowedSubscriber("carol", all_tracks=True),)), False),
        (SubscriptionRules(False, (AllowedSubscriber("bob", track_ids=frozenset({"t"})),)), True),
        (SubscriptionRules(False, (AllowedSubscriber("bob", track_ids=frozenset({"u"})),)), False),
    ],
)
def test_publisher_allows_by_identity_or_id(rules: SubscriptionRules, expected: bool) -> None:
    assert rules.allows("bob", "PA_b", "t") is expected


@pytest.mark.parametrize(("dbov", "expected"), [(0, 1.0), (20, 0.1), (40, 0.01), (127, 0.0), (200, 0.0)])
def test_levels_are_linear(dbov: int, expected: float) -> None:
    assert level(dbov) == expected


def test_the_loudest_track_speaks_for_its_participant() -> None:
    assert loudest([(40, True), (20, True), (0, False)]) == Voice(0.1, True)
    assert loudest([(10, False)]) == Voice()
    assert loudest([]) == Voice()


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, {"a": Voice(0.1, True)}, {"a"}),
        ({"a": Voice(0.1, True)}, {"a": Voice(0.105, True)}, set()),
        ({"a": Voice(0.1, True)}, {"a": Voice(0.3, True)}, {"a"}),
        ({"a": Voice(0.1, True)}, {"a": Voice()}, {"a"}),
        ({"a": Voice(0.1, True)}, {}, {"a"}),
        ({"a": Voice()}, {"b": Voice()}, set()),
    ],
)
def test_only_changes_of_voices_are_told(before: dict[str, Voice], now: dict[str, Voice], told: set[str]) -> None:
    assert set(changes(before, now)) == told


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (Path(0.0, 20, 2), Quality.EXCELLENT),
        (Path(0.02, 50, 5), Quality.EXCELLENT),
        (Path(0.05, 80, 5), Quality.GOOD),
        (Path(0.0, 600, 10), Quality.GOOD),
        (Path(0.15, 80, 5), Quality.POOR),
        (Path(0.05, 900, 50), Quality.POOR),
    ],
)
def test_quality_falls_with_loss_and_delay(path: Path, expected: Quality) -> None:
    assert quality(True, score(path)) is expected
    assert quality(False, score(path)) is Quality.LOST


def test_score_stays_within_its_scale() -> None:
    scores = [score(Path(loss / 10, rtt, 0)) for loss in range(11) for rtt in (0, 100, 10_000)]
    assert all(1 <= item <= 5 for item in scores)


def test_paths_are_the_worse_direction_since_the_last_look() -> None:
    snapshot = Snapshot()
    snapshot.peers = rows("peers", {"peer": 7, "rtt_ms": 30}, {"peer": 3, "rtt_ms": 10}, {"peer": 9})
    snapshot.layers = rows(
        "layers",
        {"track": 1, "layer": 1, "peer": 3, "packets": 200, "packets_lost": 20, "jitter_ms": 4},
        {"track": 1, "layer": 0, "peer": 3, "packets": 100, "packets_lost": 10, "jitter_ms": 2},
    )
    before = layer_counts(rows("layers", {"track": 1, "layer": 1, "peer": 3, "packets": 110, "packets_lost": 20}))
    snapshot.subscriptions = rows(
        "subscriptions",
        {"peer": 7, "layer": 0, "fraction_lost": 0.2, "rtt_ms": 50, "jitter_ms": 9, "bitrate_bps": 100},
        {"peer": 7, "layer": 2, "fraction_lost": 0.0, "bitrate_bps": 300},
        {"peer": 7, "layer": -1, "fraction_lost": 1.0, "bitrate_bps": 500},
    )
    found = paths(snapshot, before)
    assert found[3] == Path(10 / 200, 10, 4)
    assert found[7] == Path(0.05, 50, 9)
    assert found[9] == Path(0, 0, 0)


@pytest.mark.parametrize(
    ("rids", "announced", "expected"),
    [
        (("f", "h", "q"), (), ("q", "h", "f")),
        (("hi", "lo"), (), ("hi", "lo")),
        (("hi", "lo"), ("lo", "hi"), ("lo", "hi")),
        (("2", "1", "0"), ("0", "1", "2"), ("0", "1", "2")),
        ((), (), ()),
    ],
)
def test_layers_are_ordered_lowest_first(
    rids: tuple[str, ...], announced: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert ordered_rids(rids, [models_pb2.VideoLayer(rid=rid) for rid in announced]) == expected


def test_bucket_allows_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(10.5)
    assert not bucket.take(10.6)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
