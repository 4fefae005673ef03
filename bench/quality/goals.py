"""The goals of media quality: what each metric of each scenario should be.

docs/media-quality.md says how they are measured.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Goal:
    """What a metric should be: at least `least`, at most `most`, or between. `quantile` of the seeds is judged."""

    least: float | None = None
    most: float | None = None
    quantile: float = 0.5

    @property
    def more_is_better(self) -> bool:
        """Whether the worst value is the smallest one."""
        return self.least is not None

    def holds(self, value: float) -> bool:
        """Whether `value` meets the goal."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def text(self, unit: str) -> str:
        """As people write it: "≤ 80 ms"."""
        of = " (p95)" if self.quantile != 0.5 else ""
        unit = f" {unit}" if unit else ""
        if self.least is not None and self.most is not None:
            return f"{self.least:g}–{self.most:g}{unit}{of}"
        if self.least is not None:
            return f"≥ {self.least:g}{unit}{of}"
        return f"≤ {self.most:g}{unit}{of}"


def at_least(value: float, *, quantile: float = 0.5) -> Goal:
    """`value` or more."""
    return Goal(least=value, quantile=quantile)


def at_most(value: float, *, quantile: float = 0.5) -> Goal:
    """`value` or less."""
    return Goal(most=value, quantile=quantile)


# (pattern of the scenario, variant, metric) and the goal. The first that fits holds.
GOALS: list[tuple[str, str, str, Goal]] = [
    # RFC 8867 5.1 to 5.3.
    ("q1-*", "", "use", at_least(85)),
    ("q1-*", "", "queue_p95", at_most(80)),
    ("q1-*", "", "fall", at_most(1)),
    ("q1-*", "", "rise", at_most(8)),
    ("q1-*", "", "steady_spread", at_most(10)),
    # Starts, falls and rises.
    ("q2-start-*", "", "top_layer", at_most(1.5)),
    ("q2-10-1-10", "", "top_layer", at_most(1.5)),
    ("q2-10-1-10", "", "top_layer_again", at_most(5, quantile=0.95)),
    ("q2-starve", "", "top_layer_again", at_most(5, quantile=0.95)),
    ("q2-*", "", "freeze", at_most(0.5)),
    # Random loss and a step of delay.
    ("q3-20pct-*", "", "use", at_least(60)),
    ("q3-*pct-*", "", "use", at_least(85)),
    ("q3-5pct-150ms", "", "frame_loss", at_most(0.1)),
    ("q3-step-50ms", "", "dip", at_most(10)),
    # Bursts.
    ("q4-video-*", "", "freeze_against_rtx", at_most(-40)),
    ("q4-video-*", "", "redundancy", at_most(10)),
    ("q4-audio-10pct-*", "", "concealment", at_most(1)),
    ("q4-audio-30pct-*", "", "concealment", at_most(3)),
    # Cellular networks.
    ("q5-*", "", "frame_delay_p95", at_most(450)),
    ("q5-*", "", "use", at_least(60)),
    ("q5-*", "", "freeze_share", at_most(2)),
    # One room.
    ("q6-*", "", "utility", at_least(95)),
    ("q6-*", "", "healthy_change", at_most(2)),
    ("q6-*", "", "switch_down", at_most(300)),
    ("q6-*", "", "switch_up", at_most(1000)),
    ("q6-*", "", "switch_freeze", at_most(0)),
    ("q6-*", "", "vanished_layer", at_most(250)),
    # Many joins, then picture loss without end.
    ("q7-*", "", "keyframes_per_s", at_most(0.5)),
    ("q7-*", "", "fps_share", at_least(95)),
    ("q7-*", "", "first_frame_p95", at_most(1)),
    # RFC 8867 5.4 to 5.8.
    ("q8-rtts", "", "jain", at_least(0.85)),
    ("q8-*", "", "jain", at_least(0.95)),
    ("q8-tcp-*", "", "share", Goal(least=35, most=65)),
    ("q8-pause", "", "resume", at_most(2)),
    ("q8-*", "", "concealment", at_most(1)),
]


def goal_of(scenario: str, variant: str, metric: str) -> Goal | None:
    """The goal of a metric, None where there is none."""
    for pattern, of_variant, of_metric, goal in GOALS:
        if fnmatchcase(scenario, pattern) and (variant, metric) == (of_variant, of_metric):
            return goal
    return None
