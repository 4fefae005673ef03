"""The side-by-side of forwarding: what is made of measurements, and the page. The measuring itself is `--quick`."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.common import machine, stats, svg
from bench.common.progress import clock
from bench.forward import goals, measure, plan, report, results, servers

ABOUT = {
    "machine": {"cpu": "Some CPU", "cpus": 2, "virtual": True, "kernel": "6.1"},
    "commit": "0123456789abcdef",
    "dirty": False,
    "date": "2026-01-01T00:00:00+00:00",
    "forced": False,
    "minutes": 20.0,
}
MILLISECONDS = {"samples": 1_000, "p50": 0.1, "p90": 0.2, "p99": 0.5, "p999": 2.0}


def step(
    role: str, pps: float, cpu: float, *, loss: float = 0.0, bottleneck: str = "none", **more: Any
) -> dict[str, Any]:
    """A step as pysfu-load reports it: only what is read."""
    server = {
        "cpu_us": cpu,
        "process_us": cpu * 0.9,
        "user_us": cpu * 0.5,
        "system_us": cpu * 0.4,
        "busy": pps * cpu / 1e6,
    }
    return {
        "role": role,
        "rate": 300.0,
        "seconds": 2.5,
        "offered_pps": pps,
        "delivered_pps": pps * (1 - loss),
        "loss": loss,
        "shortfall": loss,
        "latency_ms": MILLISECONDS,
        "server": server,
        "load_us_per_packet": 0.6,
        "load_busy": 0.5,
        "bottleneck": bottleneck,
        "counts": {"authentication_failed": 0},
        **more,
    }  # fmt: skip


def run(turn: int, media: str, server: str, cpu: float, saturation: float) -> dict[str, Any]:
    """One server in one round: whole up to `saturation`, lossy above."""
    steps = [step("compare", 200_000, cpu), step("half", saturation / 2, cpu), step("ladder", saturation, cpu)]
    steps.append(step("ladder", saturation * 1.1, cpu, loss=0.2, server=steps[0]["server"] | {"busy": 0.99}))
    if server == "janus" or (server == "pysfu" and media == "video"):
        steps.append(step("beside janus", 50_000, cpu))
    if media == "audio":
        steps.append(step("natural", 43_500, cpu))
    return {"round": turn, "media": media, "server": server, "steps": steps}


def worker(turn: int, variant: str, process_us: float, split: dict[str, int]) -> dict[str, Any]:
    measured = step("", 200_000, process_us)
    measured["server"]["process_us"] = process_us
    return {"round": turn, "variant": variant, "step": measured, "packets_by_worker": split}


def joins(count: int, rate: float, middle: float) -> dict[str, Any]:
    quantiles = {"p50": middle, "p90": middle * 1.5, "p99": middle * 2, "max": middle * 3}
    return {
        "rate": rate,
        "joins": count,
        "seconds": count / rate + 0.3,
        "failed": 0,
        "failures": [],
        "joined_ms": quantiles,
        "connected_ms": quantiles,
        "first_media_ms": quantiles,
        "first_media_each_ms": [middle + index % 40 for index in range(count)],
        "rpc_ms": quantiles,
        "server_cpu_seconds": 4.0,
        "load_cpu_seconds": 3.0,
    }


@pytest.fixture
def raw() -> dict[str, Any]:
    """Two rounds and the dropped one; the second round ran on a machine half as fast."""
    costs = {"pysfu": 1.1, "gso+crypto": 1.0, "crypto": 1.4, "gso": 0.7, "plain": 1.0, "janus": 6.0}
    runs = [
        run(turn, media, name, costs[name] * turn, 900_000 / costs[name] / turn)
        for turn in (1, 2)
        for media, names in measure.CONTESTANTS.items()
        for name in names
    ]
    runs += [run(0, media, "pysfu", 77.0, 5_000_000) for media in ("video", "audio")]
    points = {"video": 30, "audio": 10}
    return {
        "plan": "full",
        "rounds": 2,
        "runs": runs,
        "background": [{"round": turn, "busy": [0.01, 0.03 if turn == 2 else 0.0]} for turn in (0, 1, 2)],
        "workers": [
            worker(0, "one", 1.0, {"0": 1_000}),
            worker(0, "two on one CPU", 1.02, {"0": 500, "1": 500}),
            worker(0, "two on two CPUs", 1.05, {"0": 520, "1": 480}),
        ],
        "joins": [joins(200, 20, 60)],
        "storms": [joins(1_000, 100, 300)],
        "memory": {
            media: {
                "kb_per_subscription": kb,
                "points": [{"subscriptions": n, "pss_kb": 100_000 + kb * n} for n in (100, 400, 1_000)],
            }
            for media, kb in points.items()
        },
        "relay": {"relay.ratio_to_client_packet": 0.4},
        "failures": [],
    }


@pytest.fixture
def result(raw: dict[str, Any]) -> dict[str, Any]:
    made = results.summarise(raw, ABOUT)
    return {**made, "goals": goals.evaluate(made)}


def test_medians_quartiles_slope() -> None:
    assert stats.median([3, None, 1, 2]) == 2
    assert stats.median([]) is None
    assert stats.quartiles([1, 2, 3, 4, 5]) == (2, 4)
    assert stats.quartiles([1, 2]) == (1.25, 1.75)
    assert stats.quartiles([None]) is None
    assert stats.slope([(0, 5), (10, 25), (20, 45)]) == (2, 5)
    with pytest.raises(ValueError, match="constant"):
        stats.slope([(1, 1), (1, 2)])


def test_histograms_keep_every_value() -> None:
    bins = stats.histogram([0, 1, 2, 3, 4, 10], 5)
    assert [count for *_, count in bins] == [2, 2, 1, 0, 1]
    assert bins[-1][1] == 10


def test_cpu_is_what_is_not_idle() -> None:
    before = machine.idle_ticks(
        "cpu  1 1 1 9 9 0 0 0 0 0\ncpu0 5 0 5 100 10 0 0 0 0 0\ncpu1 0 0 0 50 0 0 0 0 0 0\nintr 1\n"
    )
    assert before == {0: 110, 1: 50}
    after = {0: 110 + machine.TICKS, 1: 50 + 2 * machine.TICKS}
    assert machine.busy_shares(before, after, 2.0) == {0: 0.5, 1: 0.0}


def test_a_busy_machine_is_refused_and_the_culprit_named(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([{7: ("compiler", 1.0)}, {7: ("compiler", 3.0)}])
    monkeypatch.setattr(machine, "process_seconds", lambda: next(readings))
    monkeypatch.setattr(machine, "background", lambda cpus, seconds: dict.fromkeys(cpus, 0.01) | {1: 0.66})
    with pytest.raises(machine.BusyError, match=r"CPU 1 is 66\.0% busy.*compiler \(7\) 67%"):
        machine.require_quiet([0, 1])


def test_a_quiet_machine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "background", lambda cpus, seconds: dict.fromkeys(cpus, 0.01))
    assert machine.require_quiet([0, 1]) == {0: 0.01, 1: 0.01}


def test_the_first_round_is_dropped_and_medians_are_taken(result: dict[str, Any]) -> None:
    video = result["video"]
    # The background of 1 % of a CPU is 0.05 µs at 200,000 packets/s.
    assert video["cpu_us_per_packet"] == pytest.approx((1.1 + 2.2) / 2 - 0.05)
    assert video["ceiling_cpu_us_per_packet"] == pytest.approx(1.5 - 0.05)
    assert video["saturation_pps"] == pytest.approx((900_000 / 1.1 + 450_000 / 1.1) / 2)
    assert video["latency_ms"] == {"p50": 0.1, "p99": 0.5, "p999": 2.0}
    assert video["invalid"] == []


def test_ratios_are_taken_round_by_round(result: dict[str, Any]) -> None:
    assert result["video"]["ratio_to_ceiling"] == pytest.approx((1.05 / 0.95 + 2.15 / 1.95) / 2)
    assert result["audio"]["ratio_to_ceiling"] == pytest.approx((1.05 / 1.35 + 2.15 / 2.75) / 2)
    assert result["video"]["ratio_of_saturations"] == pytest.approx(1 / 1.1)


def test_saturation_tells_who_gave_way(raw: dict[str, Any]) -> None:
    assert results.summarise(raw, ABOUT)["video"]["saturation_limited_by"] == "server"
    for one in raw["runs"]:
        one["steps"][3]["load_busy"] = 0.99
    assert results.summarise(raw, ABOUT)["video"]["saturation_limited_by"] == "load"
    for one in raw["runs"]:
        del one["steps"][3]
    assert results.summarise(raw, ABOUT)["video"]["saturation_limited_by"] == "nobody"


def test_rounds_with_something_else_running_are_named(result: dict[str, Any]) -> None:
    assert result["disturbed_rounds"] == [2]


def test_peers_are_compared_at_their_load(result: dict[str, Any]) -> None:
    janus = result["peers"]["janus"]["video"]
    assert janus["at_pps"] == 50_000
    assert janus["ours_over_theirs"] == pytest.approx(0.15, abs=0.05)
    assert "audio" not in result["peers"]["janus"]


def test_what_the_issue_asks_for_is_there(result: dict[str, Any]) -> None:
    assert result.keys() >= {"machine", "commit", "rounds", "video", "audio", "ceiling", "workers_2_over_1", "curves"}
    wanted = {
        "cpu_us_per_packet",
        "ceiling_cpu_us_per_packet",
        "ratio_to_ceiling",
        "saturation_pps",
        "latency_ms",
        "loss",
    }
    for media in ("video", "audio"):
        assert result[media].keys() >= wanted
        assert all(result[media][name] is not None for name in wanted)
    assert (result["memory_kb_per_video_subscription"], result["memory_kb_per_audio_subscription"]) == (30, 10)
    assert result["workers_2_over_1"] == pytest.approx(1.05)
    assert result["join_ms"] == {"p50": 60, "p99": 120}
    storm = result["join_storm"]
    assert (storm["joins"], storm["seconds"], storm["failed"], storm["rpc_ms"]["p99"]) == (1_000, 10.3, 0, 600)


def rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in goals.evaluate(result)}


def test_goals_are_met_or_missed(result: dict[str, Any]) -> None:
    assert {what for what, row in rows(result).items() if row["met"] is not True} == {"RPC during the storm, p99"}
    result["video"]["ratio_to_ceiling"] = 1.16
    assert rows(result)["video: CPU per packet against the ceiling"]["met"] is False


def test_a_doubtful_measurement_shows_nothing(raw: dict[str, Any]) -> None:
    for one in raw["runs"]:
        one["steps"][0]["bottleneck"] = "load"
    row = rows(results.summarise(raw, ABOUT))["video: CPU per packet against the ceiling"]
    assert row["met"] is None
    assert "the load engine was the bottleneck" in row["note"]


@pytest.mark.parametrize(("pps", "met"), [(600_000, True), (400_000, None)])
def test_a_lower_bound_is_enough_when_it_is_high(result: dict[str, Any], pps: int, met: bool | None) -> None:
    result["video"] |= {"saturation_pps": pps, "saturation_limited_by": "load"}
    assert rows(result)["video: saturation"]["met"] is met


def test_lost_packets_make_a_comparison_invalid(raw: dict[str, Any]) -> None:
    for one in raw["runs"]:
        if one["server"] == "pysfu":
            one["steps"][0] |= {"loss": 0.01, "shortfall": 0.01}
    invalid = results.summarise(raw, ABOUT)["video"]["invalid"]
    assert "pysfu: loss of 1.00%" in invalid


def test_nothing_measured_is_told_as_such(raw: dict[str, Any]) -> None:
    raw |= {
        "runs": [],
        "workers": [],
        "joins": [],
        "storms": [],
        "memory": {},
        "relay": {},
        "failures": ["round 1: it broke\nlog"],
    }
    result = results.summarise(raw, ABOUT)
    result["goals"] = goals.evaluate(result)
    assert {row["measured"] for row in result["goals"]} == {"not measured"}
    assert "Failed: round 1: it broke" in report.render(result)


class Page(HTMLParser):
    """Checks that elements nest and collects what is where."""

    EMPTY = {"meta", "line", "circle", "rect", "path"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(result: dict[str, Any]) -> None:
    html = report.render(result)
    page = Page()
    page.feed(html)
    assert page.open == []
    # Loss and latency of both media, CPU by part of both, memory, joins and the storm.
    assert page.seen.count("svg") == 9
    assert not re.search(r"""(src|href)=|url\(|@import|<script""", html)
    assert "nan" not in html.lower().replace("nano", "")
    for text in ("Janus", "ceiling (crypto, GSO)", "14 of 15 met", "p99 120 ms"):
        assert text in html


def test_text_from_elsewhere_is_escaped(raw: dict[str, Any]) -> None:
    raw["failures"] = ["<script>alert(1)</script>"]
    result = results.summarise(raw, ABOUT)
    result["goals"] = goals.evaluate(result)
    assert "<script>" not in report.render(result)


def test_axes_are_divided_evenly() -> None:
    assert list(svg.Axis("", 0, 100).marks()) == [0, 20, 40, 60, 80, 100]
    assert list(svg.Axis("", 0.01, 100, logarithmic=True).marks()) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert svg.Axis("", 0.01, 100, logarithmic=True).place(1) == pytest.approx(0.5)
    assert svg.Axis("", 0.01, 100, logarithmic=True).place(0) == 0
    assert [svg.number(value) for value in (0, 250_000, 1_500_000, 0.01)] == ["0", "250k", "1.5M", "0.01"]


def test_curves_are_medians_of_neighbours() -> None:
    points = [
        {"round": turn, "offered_pps": pps, "delivered_pps": pps, "loss": loss, "p50": 1, "p99": 2, "p999": 3}
        for turn, pps, loss in (
            (1, 100_000, 0.0),
            (2, 101_000, 0.1),
            (3, 102_000, 0.2),
            (0, 100_500, 0.9),
            (0, 50_000, 0.0),
        )
    ]
    assert [(point["offered_pps"], point["loss"]) for point in report.binned(points)] == [(50_000, 0.0), (101_000, 0.1)]


def test_ladders_move_a_little_each_round_but_not_the_latency_step() -> None:
    ladders = [plan.ladder(plan.LADDER, 100_000, turn) for turn in range(1, 6)]
    assert {steps[0] for steps in ladders} == {50_000}
    assert len({steps[-1] for steps in ladders}) == 5
    assert all(steps == sorted(steps) for steps in ladders)


def test_rates_by_shape() -> None:
    assert plan.shape("video").rate(150_000) == 300
    assert plan.shape("audio").rate(30 * 29 * 50) == 50


def test_times() -> None:
    assert (clock(0), clock(61.9), clock(1_500)) == ("0:00", "1:01", "25:00")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_server_is_pinned_and_ended_with_its_block(log: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "import os, time; print(os.sched_getaffinity(0), flush=True); time.sleep(60)"]

    def interrupted() -> None:
        with servers.process(command, [cpu], log) as child:
            servers._until(lambda: b"}" in log.read_bytes(), child, log)
            children.append(child)
            raise KeyboardInterrupt

    children: list[subprocess.Popen[bytes]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert log.read_text().strip() == str({cpu})
    assert children[0].returncode == -15


def test_a_server_that_ends_at_once_is_told_with_its_log(log: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such port')"]
    with (
        servers.process(command, list(os.sched_getaffinity(0)), log) as child,
        pytest.raises(servers.ServerError, match="ended with 1:\nno such port"),
    ):
        servers._until(lambda: False, child, log)
