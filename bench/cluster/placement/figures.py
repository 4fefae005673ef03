"""What a simulated day comes to: figures, each with what it should be."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.cluster.placement.simulation import BUSY, STEP, Result, Scenario
from bench.quality.goals import Goal, at_least, at_most

# Share of those who come that are served elsewhere: from here on the day is not an ordinary one.
ORDINARY: Final = 0.06


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` is its key in the JSON; `percent`: a share, shown as such."""

    name: str
    what: str
    value: float
    goal: Goal | None = None
    unit: str = ""
    percent: bool = False

    @property
    def met(self) -> bool | None:
        """None where there is no goal. What could not be measured meets none."""
        return None if self.goal is None else bool(self.goal.holds(self.value))


def figures(scenario: Scenario, result: Result, seconds: float) -> list[Figure]:
    """`seconds`: what the simulation took."""
    imbalance = np.array(result.imbalance)
    hours = np.array(result.hours)
    away = np.array(result.away)
    people = max(result.participants, 1)
    ordinary = np.ones(len(hours), dtype=np.bool_)
    after = 0.0
    if scenario.fails is not None:
        _, begins, ends = scenario.fails
        failing = (hours >= begins - STEP / 2) & (hours < ends - STEP / 2)
        # People of rooms that fled join them where they are now: it takes a while until all is as before.
        ordinary = (hours < begins - STEP / 2) | (hours >= ends + 2)
        calm = np.flatnonzero((hours >= ends - STEP / 2) & (away <= ORDINARY))
        after = (hours[calm[0]] - ends) * 60 if len(calm) else float("inf")
    found = [
        Figure("seconds", "time that the day took to simulate", seconds, at_most(60), "s"),
        Figure(
            "imbalance.p50",
            f"fullest 1 % of nodes over the mean of their region, the worst region that is {BUSY:.0%} used; median",
            _finite(np.nanmedian(imbalance)),
            at_most(2),
        ),
        Figure("imbalance.worst", "the same, worst five minutes", _finite(np.nanmax(imbalance)), at_most(2.5)),
        Figure("busiest", "the fullest node of all", max(result.busiest), at_most(1.1)),
        Figure(
            "away.ordinary",
            "participants served from another region than their own, worst hour without a failure",
            float(_hourly(away)[ordinary].max(initial=0.0)),
            at_most(ORDINARY),
            percent=True,
        ),
        Figure(
            "away.day",
            "participants served from another region than their own, whole day",
            result.placed_away / people,
            at_most(0.06),
            percent=True,
        ),
        Figure(
            "away.by_choice",
            "of these, while the own region was open: they join a room nearby rather than open a link to it",
            result.placed_away_though_open / people,
            at_most(0.03),
            percent=True,
        ),
        Figure(
            "added_rtt",
            "round trip to the node beyond that to the own region, mean",
            result.added_rtt,
            at_most(5),
            "ms",
        ),
        Figure(
            "refused.share",
            "participants for whom no node was found",
            result.refused / people,
            at_most(0.0001),
            percent=True,
        ),
        Figure(
            "again.share",
            "placements that met a node which had become full, and were made again",
            result.asked_again / max(result.placements, 1),
            at_most(0.1),
            percent=True,
        ),
        Figure("split", "rooms on more than one node", result.split_rooms / scenario.rooms, percent=True),
    ]
    if scenario.fails is not None:
        found += [
            Figure("failure.failed", "participants on nodes of the region that fails", result.failed),
            Figure(
                "failure.moved",
                "of these, moved to other nodes",
                result.moved / max(result.failed, 1),
                at_least(0.999),
                percent=True,
            ),
            Figure(
                "failure.away",
                "participants placed away from their region while it is away, all regions together",
                float(away[failing].mean()),
                percent=True,
            ),
            Figure("failure.recovery", "minutes after its return until that is ordinary", after, at_most(30), "min"),
        ]
    return found


def _hourly(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over the hour until each: five minutes of a night have few rooms."""
    steps = round(1 / STEP)
    total = np.cumsum(np.concatenate((np.zeros(steps), values)))
    return np.asarray((total[steps:] - total[:-steps]) / np.minimum(np.arange(1, len(values) + 1), steps))


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("inf")
