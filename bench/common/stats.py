"""Medians and slopes: what many rounds are reduced to."""

import statistics
from collections.abc import Iterable, Sequence


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are numbers; None when there are none."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def quartiles(values: Iterable[float | None]) -> tuple[float, float] | None:
    """First and third quartile by linear interpolation; None when there are no values."""
    present = sorted(value for value in values if value is not None)
    if not present:
        return None
    return _quantile(present, 0.25), _quantile(present, 0.75)


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: (slope, intercept). Raises ValueError when all x are the same."""
    result = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return result.slope, result.intercept


def histogram(values: Sequence[float], bins: int) -> list[tuple[float, float, int]]:
    """(from, to, count) of `bins` bins of equal width from 0 to the largest value."""
    width = max(values, default=1.0) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / width))] += 1
    return [(index * width, (index + 1) * width, count) for index, count in enumerate(counts)]
