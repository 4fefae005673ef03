"""What is measured: one number or one time series per scenario, peer and seed; and what many seeds are reduced to."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.quality.goals import Goal, goal_of

# Coverage that an interval of the median has at least, where there are seeds enough.
COVERAGE = 0.95


@dataclass(frozen=True)
class Sample:
    """One number of one run.

    `scenario` is a name such as "q2-10-1-10". `variant` tells runs of one scenario apart of which goals are met by one
    alone ("rtx": without forward error correction); usually it is empty. `peer` is who was measured: "engine" (pysfu's
    engine in simulated time), "pysfu" or "janus" (between real browsers). An infinite `value` never came.
    """

    scenario: str
    variant: str
    peer: str
    metric: str
    unit: str
    seed: int
    value: float


@dataclass(frozen=True)
class Series:
    """How something went on in one run: `values` at `times`, seconds since the scenario began.

    `name` is one of "capacity", "estimate", "sent" (all bit/s), "queue" (ms), "layer", or any other.
    """

    scenario: str
    variant: str
    peer: str
    seed: int
    name: str
    unit: str
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Row:
    """A metric over all seeds.

    `interval` is that of the median (95 %, by order statistics; the extremes when seeds are few), `judged` what was
    held against the goal: the median, or the quantile that the goal names. `met` is None where there is no goal.
    """

    scenario: str
    variant: str
    peer: str
    metric: str
    unit: str
    goal: str
    median: float
    interval: tuple[float, float]
    worst: float
    judged: float
    seeds: int
    met: bool | None

    def as_json(self) -> dict[str, Any]:
        """With the names of the results' file; infinity, which JSON does not know, is null."""
        name = f"{self.scenario} ({self.variant})" if self.variant else self.scenario
        return {
            "scenario": name,
            "peer": self.peer,
            "metric": self.metric,
            "unit": self.unit,
            "goal": self.goal,
            "median": _finite(self.median),
            "interval": [_finite(bound) for bound in self.interval],
            "worst": _finite(self.worst),
            "seeds": self.seeds,
            "pass": self.met,
        }


def reduce(samples: Iterable[Sample]) -> list[Row]:
    """A row per scenario, variant, peer and metric, in the order in which they first appeared."""
    groups: dict[tuple[str, str, str, str, str], list[float]] = {}
    for sample in samples:
        key = (sample.scenario, sample.variant, sample.peer, sample.metric, sample.unit)
        groups.setdefault(key, []).append(sample.value)
    return [_row(*key, values) for key, values in groups.items()]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which the median lies with a probability of 95 %, whatever the distribution (binomial ranks)."""
    ordered = sorted(values)
    count = len(ordered)
    outside = 0.0
    rank = 0
    # Both ends lose one more rank as long as what is left covers enough.
    while rank < (count - 1) // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - COVERAGE:
            break
        rank += 1
    rank = max(0, rank - 1) if rank else 0
    return ordered[rank], ordered[count - 1 - rank]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _row(scenario: str, variant: str, peer: str, metric: str, unit: str, values: Sequence[float]) -> Row:
    goal: Goal | None = goal_of(scenario, variant, metric)
    judged = median(values) if goal is None or goal.quantile == 0.5 else quantile(values, goal.quantile)
    return Row(
        scenario=scenario,
        variant=variant,
        peer=peer,
        metric=metric,
        unit=unit,
        goal=goal.text(unit) if goal else "",
        median=median(values),
        interval=interval(values),
        worst=min(values) if goal and goal.more_is_better else max(values),
        judged=judged,
        seeds=len(values),
        met=goal.holds(judged) if goal else None,
    )


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
