"""The goals of clusters, held against what was measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """`key` is that of `figures`; at most `most`, or at least `least`."""

    key: str
    what: str
    most: float | None = None
    least: float | None = None
    unit: str = ""
    digits: int = 0

    def holds(self, value: float | None) -> bool | None:
        """None: it was not measured."""
        if value is None:
            return None
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def text(self, value: float | None) -> str:
        """A value as people read it."""
        if value is None:
            return "not measured"
        if self.unit == "%":
            return f"{100 * value:.{self.digits}f} %"
        return f"{value:,.{self.digits}f}{' ' + self.unit if self.unit else ''}"


GOALS = [
    Goal("relay.ratio_to_client_packet", "a relayed packet's CPU against a client's", 0.5, unit="×", digits=2),
    Goal("hop.latency_ms.p99", "what a hop adds without loss, p99", 1.0, unit="ms", digits=2),
    Goal(
        "lossy_link.residual_loss", "link with 3 % random loss and 100 ms: lost in the end", 0.0005, unit="%", digits=3
    ),
    Goal("lossy_link.late_p95_rtt", "the same link: added delay p95", 1.2, unit="RTT", digits=2),
    Goal("lossy_link.redundancy", "the same link: redundancy", 0.12, unit="%", digits=1),
    Goal("failover.gap_ms.p95", "kill -9 of a node with its participants: gap p95", 2_000.0, unit="ms"),
    Goal("failover.gap_ms.p99", "the same: gap p99", 4_000.0, unit="ms"),
    Goal("failover.returned", "the same: who came back", least=1.0, unit="%", digits=1),
    Goal("drain.audio_gap_ms.p95", "drain: audio gap p95", 300.0, unit="ms"),
    Goal("drain.dropped", "drain: participants dropped", 0.0),
    Goal("bus_outage.packets_lost", "bus away: packets lost", 0.0),
    Goal("bus_outage.joins_failed", "bus away: joins on a known room that failed", 0.0),
    Goal("bus_outage.normal_s", "bus back: until all is normal", 3.0, unit="s", digits=1),
    Goal("partition.reroute_ms.p95", "path cut: until media goes around, p95", 1_000.0, unit="ms"),
    Goal("partition.ghost_or_deleted_rooms", "split brain: rooms with ghosts, or deleted", 0.0),
]


def evaluate(figures: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """All rows in the order of the table of goals: what, goal, measured, met (None: not measured)."""
    rows = []
    for goal in GOALS:
        value = figures.get(goal.key)
        bound = f"≤ {goal.text(goal.most)}" if goal.most is not None else f"≥ {goal.text(goal.least)}"
        row = {"key": goal.key, "what": goal.what, "goal": bound, "measured": goal.text(value)}
        rows.append(
            row | {"met": goal.holds(value), **{k: v for k, v in asdict(goal).items() if k in ("most", "least")}}
        )
    return rows
