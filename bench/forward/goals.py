"""The goals of performance, held against a result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

Result = Mapping[str, Any]

VIDEO_KB, AUDIO_KB = 40.0, 12.0


@dataclass(frozen=True)
class Goal:
    """One row: what was wanted, what came out. `met` is None when it was not measured or the measurement is invalid."""

    what: str
    goal: str
    measured: str
    met: bool | None
    note: str = ""


def evaluate(result: Result) -> list[dict[str, Any]]:
    """All rows, in the order of the table of goals."""
    video, audio = result["video"], result["audio"]
    storm, joins, workers = result["join_storm"], result["join_ms"], result["workers"]
    two = workers.get("two on two CPUs", {})
    latency, relay = video["latency_ms"] or {}, video["ceiling_latency_ms"] or {}
    rows = [
        _most(
            "video: CPU per packet against the ceiling",
            video["ratio_to_ceiling"],
            1.15,
            "{:.2f} ×",
            "; ".join(video["invalid"]),
        ),
        _least(
            "video: saturation",
            video["saturation_pps"],
            500_000,
            "{:,.0f} packets/s",
            _limited(video["saturation_limited_by"]),
        ),
        _least(
            "video: saturation against the ceiling's",
            video["ratio_of_saturations"],
            0.85,
            "{:.2f} ×",
            _limited(video["saturation_limited_by"]),
        ),
        _most(
            "audio: CPU per packet against the ceiling",
            audio["ratio_to_ceiling"],
            1.25,
            "{:.2f} ×",
            "; ".join(audio["invalid"]),
        ),
        _latency("p50", latency.get("p50"), 0.2, relay.get("p50")),
        _latency("p99", latency.get("p99"), 1.0, relay.get("p99")),
        _latency("p99.9", latency.get("p999"), 3.0, relay.get("p999")),
        _most("memory per video subscription", result["memory_kb_per_video_subscription"], VIDEO_KB, "{:.1f} KB"),
        _most("memory per audio subscription", result["memory_kb_per_audio_subscription"], AUDIO_KB, "{:.1f} KB"),
        _most(
            "two workers: CPU per packet against one",
            result["workers_2_over_1"],
            1.1,
            "{:.2f} ×",
            "; ".join(two.get("invalid", [])),
        ),
        _least("two workers: share of the lesser one", two.get("least_share_of_a_worker"), 0.45, "{:.2f}"),
        _link(result.get("relay", {})),
        _most("join to first media at 20 joins/s, p50", joins["p50"], 150.0, "{:.0f} ms"),
        _storm(storm),
        _most("RPC during the storm, p99", (storm.get("rpc_ms") or {}).get("p99"), 100.0, "{:.0f} ms"),
    ]
    return [asdict(row) for row in rows]


def _most(what: str, value: float | None, limit: float, form: str, doubt: str = "") -> Goal:
    """At most `limit`. A measurement in doubt shows nothing."""
    goal = f"≤ {form.format(limit)}"
    if value is None:
        return Goal(what, goal, "not measured", None, doubt)
    return Goal(what, goal, form.format(value), None if doubt else value <= limit, doubt)


def _link(relay: Result) -> Goal:
    what = "a packet over a link to another node against one to a client"
    row = _most(what, relay.get("ratio_to_client_packet"), 0.5, "{:.2f} ×")
    interval = relay.get("ratio_interval")
    return row if interval is None else replace(row, note="{:.2f} to {:.2f} (95 %)".format(*interval))


def _least(what: str, value: float | None, limit: float, form: str, doubt: str = "") -> Goal:
    """At least `limit`. In doubt the value is a lower bound, which shows something when it is high enough."""
    goal = f"≥ {form.format(limit)}"
    if value is None:
        return Goal(what, goal, "not measured", None, doubt)
    enough = value >= limit
    return Goal(what, goal, form.format(value), None if doubt and not enough else enough, doubt)


def _latency(quantile: str, value: float | None, limit: float, relay: float | None) -> Goal:
    row = _most(f"video: latency at half of saturation, {quantile}", value, limit, "{:.2f} ms")
    return row if relay is None else replace(row, note=f"the ceiling at half of its own: {relay:.2f} ms")


def _limited(limit: str | None) -> str:
    return {
        "load": "a lower bound: the load engine gave way first",
        "nobody": "a lower bound: every step was delivered",
        "unknown": "packets were lost while neither side was busy",
    }.get(limit or "", "")


def _storm(storm: Mapping[str, Any]) -> Goal:
    what, goal = "storm: 1,000 joins in 10 s", "none fails"
    if not storm:
        return Goal(what, goal, "not measured", None)
    note = f"server {storm['server_cpu_seconds']:.1f} s of CPU, load engine {storm['load_cpu_seconds']:.1f} s"
    measured = f"{storm['joins']:,.0f} joined in {storm['seconds']:.1f} s, {storm['failed']} failed"
    # The last one begins at 10 s; what it takes longer is the tail of its own join.
    complete = storm["failed"] == 0 and storm["seconds"] <= 11.0
    return Goal(what, goal, measured, complete if storm["joins"] >= 1_000 else None, note)
