"""What is delivered lowers the score of a path, and a told quality does not flicker."""

import itertools
import random

import pytest

from control_plane.quality import Delivery, Path, Quality, Steady, delivered, quality, score, steady

PERFECT = score(Path(0.0, 20.0, 0.0))


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (Delivery(0), Quality.EXCELLENT),
        (Delivery(3e6), Quality.EXCELLENT),
        (Delivery(3e6, 3e6), Quality.EXCELLENT),
        (Delivery(3e6, 30e6), Quality.EXCELLENT),
        (Delivery(3e6, 2.6e6), Quality.EXCELLENT),
        (Delivery(3e6, 1.5e6), Quality.GOOD),
        (Delivery(3e6, 0.6e6), Quality.POOR),
        (Delivery(3e6, 0), Quality.POOR),
        (Delivery(3e6, -1), Quality.POOR),
        (Delivery(3e6, 3e6, frozen=0.01), Quality.EXCELLENT),
        (Delivery(3e6, 3e6, frozen=0.03), Quality.GOOD),
        (Delivery(3e6, 3e6, frozen=0.1), Quality.POOR),
        (Delivery(3e6, 3e6, frozen=7), Quality.POOR),
        (Delivery(3e6, 3e6, paused=0.1), Quality.GOOD),
        (Delivery(3e6, 3e6, paused=0.5), Quality.POOR),
    ],
)
def test_what_is_not_delivered_counts(delivery: Delivery, expected: Quality) -> None:
    assert quality(True, delivered(PERFECT, delivery)) is expected


def test_a_delivery_never_betters_its_path() -> None:
    for loss in (0.0, 0.05, 0.3):
        points = score(Path(loss, 300.0, 20.0))
        assert delivered(points, Delivery(1e6, 9e6)) == pytest.approx(points)
    assert delivered(1.0, Delivery(1e6, 0, 1, 1)) == 1.0


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((4.3, 4.05), "EXCELLENT GOOD"),
        ((4.3, 1.0), "EXCELLENT POOR"),
        # Within the band nothing rises, however long.
        ((4.05, 4.15, 4.15, 4.15), "GOOD GOOD GOOD GOOD"),
        ((4.05, 4.3, 4.3), "GOOD GOOD EXCELLENT"),
        ((4.05, 4.3, 4.0, 4.3, 4.3), "GOOD GOOD GOOD GOOD EXCELLENT"),
        ((2.0, 4.3, 4.3), "POOR POOR EXCELLENT"),
        ((2.0, 3.5, 4.15), "POOR POOR GOOD"),
        ((4.3, None, 4.3), "EXCELLENT LOST EXCELLENT"),
        ((None, None, 2.0), "LOST LOST POOR"),
    ],
)
def test_a_quality_falls_at_once_and_rises_late(scores: tuple[float | None, ...], expected: str) -> None:
    told: Steady | None = None
    seen = []
    for points in scores:
        told = steady(told, points is not None, points or 0.0)
        seen.append(told.quality.name)
    assert " ".join(seen) == expected


def test_a_noisy_score_rarely_changes_the_quality() -> None:
    noise = random.Random(1)
    scores = [4.1 + noise.uniform(-0.08, 0.08) for _ in range(1_000)]
    plain = [quality(True, points) for points in scores]
    told: Steady | None = None
    calm = []
    for points in scores:
        told = steady(told, True, points)
        calm.append(told.quality)

    def changes(values: list[Quality]) -> int:
        return sum(a is not b for a, b in itertools.pairwise(values))

    assert changes(plain) > 200
    assert changes(calm) <= 1
