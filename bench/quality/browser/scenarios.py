"""What is run between real browsers: the scenarios of media quality that need one.

Times are seconds since the receiver's transport was ready, capacities bit/s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Direction = Mapping[str, object]
"""As `sfu_core/netem/README.md` has it."""


@dataclass(frozen=True)
class Path:
    """From the server to a receiver and back."""

    capacities: Sequence[tuple[float, int]]
    """(since, capacity), the first at 0."""
    delay_ms: float = 25
    """One way, each way."""
    down: Direction = field(default_factory=dict)
    up: Direction = field(default_factory=dict)
    changes: Sequence[tuple[float, Mapping[str, object]]] = ()
    """Others than of the capacity, towards the receiver."""


@dataclass(frozen=True)
class Scenario:
    """One run. The first of `paths` leads to the receiver that is measured, others to healthy ones in the same room."""

    name: str
    seconds: float
    paths: Sequence[Path]
    publishers: int = 1
    uplink_loss: float = 0.0
    """Of the last publisher, share of packets."""


def _one(name: str, seconds: float, path: Path) -> Scenario:
    return Scenario(name, seconds, [path])


MBPS = 1_000_000
# RFC 8867 5.1 has 100 s; here everything lasts two fifths of that.
PACE = 0.4
JITTER = {"max_ms": 30, "shape": "normal"}
LOSSY = 5 * MBPS
"""Capacity where loss is the subject."""


def _bursts(mean: float, burst: float) -> Direction:
    return {"loss": {"gilbert_elliott": {"mean": mean, "burst": burst}}}


SCENARIOS = [
    _one(
        "q2-10-1-10",
        34,
        Path([(0, 10 * MBPS), (8, 1 * MBPS), (22, 10 * MBPS)]),
    ),
    _one("q2-start-3m", 7, Path([(0, 3 * MBPS)])),
    _one("q2-start-10m", 7, Path([(0, 10 * MBPS)])),
    _one("q2-starve", 46, Path([(0, 5 * MBPS), (6, MBPS // 4), (36, 5 * MBPS)])),
    _one(
        "q1-5.1-50ms",
        100 * PACE,
        Path(
            [(at * PACE, kbps * 1_000) for at, kbps in ((0, 1_000), (40, 2_500), (60, 600), (80, 1_000))],
            delay_ms=50,
            down={"jitter": JITTER},
            up={"jitter": JITTER},
        ),
    ),
    _one("q3-5pct-150ms", 12, Path([(0, LOSSY)], delay_ms=75, down={"loss": {"independent": 0.05}})),
    _one("q3-10pct-150ms", 12, Path([(0, LOSSY)], delay_ms=75, down={"loss": {"independent": 0.10}})),
    _one("q3-step-50ms", 14, Path([(0, LOSSY)], changes=[(7, {"add_delay_ms": 50})])),
    _one("q4-video-5pct-5-150ms", 14, Path([(0, LOSSY)], delay_ms=75, down=_bursts(0.05, 5))),
    Scenario(
        "q6-room",
        20,
        [Path([(0, 10 * MBPS), (9, 700_000)], changes=[(9, {"loss": {"independent": 0.05}})]), Path([(0, 10 * MBPS)])],
        publishers=2,
        uplink_loss=0.05,
    ),
]
QUICK = ("q2-10-1-10", "q3-5pct-150ms", "q6-room")
