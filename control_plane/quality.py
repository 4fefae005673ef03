"""How good a participant's connection is, by a simplified E-model (ITU-T G.107). Pure functions."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_BASE_R: Final = 93.2
_LOSS_IMPAIRMENT: Final = 2.5
# What buffering and coding add to the path, in ms.
_PROCESSING_MS: Final = 10.0
_EXCELLENT: Final = 4.1
_GOOD: Final = 3.3
_BEST: Final = 4.4
# A better quality is told when the score is so far above its bound, for so many rounds. More is steadier, less sooner.
_BAND: Final = 0.1
_ROUNDS: Final = 2
# A path that carries this share of what is wanted is not felt as narrow.
_ENOUGH: Final = 0.9
# Points lost by freezing all the time; 5 % of it ends being excellent and good.
_FREEZING: Final = 22.0
# The best score with a video paused for lack of bandwidth, and what pausing all takes off it.
_WITH_PAUSED: Final = 4.0
_PAUSING: Final = 2.0


class Quality(IntEnum):
    """Numbers as in `ConnectionQualities.Quality`."""

    LOST = 1
    POOR = 2
    GOOD = 3
    EXCELLENT = 4


@dataclass(frozen=True, slots=True)
class Path:
    """One direction as measured. `loss` from 0 to 1."""

    loss: float
    rtt_ms: float
    jitter_ms: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a subscriber gets of what it wants."""

    wanted_bps: float
    """Everything at its best."""
    estimate_bps: float | None = None
    """What the path carries; `None` without an estimate."""
    frozen: float = 0.0
    """Share of the time in which pictures stood still, 0 to 1."""
    paused: float = 0.0
    """Share of the videos that are paused for lack of bandwidth, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Steady:
    """A quality that does not flicker. `better` counts rounds in which the score was above it."""

    quality: Quality
    better: int = 0


def score(path: Path) -> float:
    """Mean opinion score, 1 (bad) to 4.4 (as good as it gets)."""
    latency = path.rtt_ms / 2 + 2 * path.jitter_ms + _PROCESSING_MS
    rating = _BASE_R - (latency / 40 if latency < 160 else (latency - 120) / 10)
    rating -= max(path.loss, 0.0) * 100 * _LOSS_IMPAIRMENT
    rating = min(max(rating, 0.0), 100.0)
    return float(min(max(1 + 0.035 * rating + 7e-6 * rating * (rating - 60) * (100 - rating), 1.0), 5.0))


def quality(connected: bool, points: float) -> Quality:
    if not connected:
        return Quality.LOST
    return Quality.EXCELLENT if points >= _EXCELLENT else Quality.GOOD if points >= _GOOD else Quality.POOR


def delivered(points: float, delivery: Delivery) -> float:
    """The score of a path, lowered by what it does not deliver: never better than the path itself."""
    limits = [points, _BEST - _FREEZING * min(max(delivery.frozen, 0.0), 1.0)]
    if delivery.estimate_bps is not None and delivery.wanted_bps > 0:
        share = max(delivery.estimate_bps, 0.0) / delivery.wanted_bps / _ENOUGH
        # Half the bits are one resolution less: good, not excellent.
        limits.append(1 + (_BEST - 1) * math.sqrt(min(share, 1.0)))
    if delivery.paused > 0:
        limits.append(_WITH_PAUSED - _PAUSING * min(delivery.paused, 1.0))
    return max(min(limits), 1.0)


def steady(before: Steady | None, connected: bool, points: float) -> Steady:
    """Falls at once, rises when the score stays clearly above the bound. What was lost or unknown takes what is."""
    now = quality(connected, points)
    if before is None or before.quality is Quality.LOST or now <= before.quality:
        return Steady(now)
    clearly = quality(connected, points - _BAND)
    if clearly <= before.quality:
        return Steady(before.quality)
    if before.better + 1 < _ROUNDS:
        return Steady(before.quality, before.better + 1)
    return Steady(clearly)
