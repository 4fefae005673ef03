"""What rounds of a noisy measurement tell (`bench.cluster.relay`)."""

import random

import pytest

from bench.cluster.relay.cost import Round, Sample, interval, ratio


def test_a_disturbed_round_moves_little() -> None:
    calm = [Round(1.0, 0.5)] * 9
    assert ratio([*calm, Round(50.0, 0.5)]) == ratio([*calm, Round(1.0, 90.0)]) == 0.5


def test_the_interval_is_as_wide_as_rounds_differ() -> None:
    chance = random.Random(1)

    def rounds(count: int, noise: float) -> list[Round]:
        return [Round(chance.gauss(1.0, noise), chance.gauss(0.5, noise / 2)) for _ in range(count)]

    assert interval([Round(1.0, 0.5)] * 3) == (0.5, 0.5)
    widths = []
    for count, noise in ((20, 0.2), (20, 0.02), (200, 0.02)):
        low, high = interval(rounds(count, noise))
        assert low < 0.5 + noise / 4
        assert high > 0.5 - noise / 4
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    again = rounds(20, 0.1)
    assert interval(again) == interval(again)


@pytest.mark.parametrize(
    ("packets", "clients", "links", "whole"),
    [(100, 3_100, 0, True), (100, 3_000, 0, False), (100, 3_100, 50, False), (0, 0, 0, False)],
)
def test_a_round_counts_when_each_packet_went_to_each(packets: int, clients: int, links: int, whole: bool) -> None:
    assert Sample(0.1, packets, clients, links).is_whole(31, 0) is whole
