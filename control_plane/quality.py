"""How good a participant's connection is, by a simplified E-model (ITU-T G.107). Pure functions."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_BASE_R: Final = 93.2
_LOSS_IMPAIRMENT: Final = 2.5
# What buffering and coding add to the path, in ms.
_PROCESSING_MS: Final = 10.0
_EXCELLENT: Final = 4.1
_GOOD: Final = 3.3


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
