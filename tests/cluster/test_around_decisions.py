"""Which third node is chosen."""

import pytest

from control_plane.cluster.cascade.around import MAX_THIRDS, Third, choose, is_to_be_left


@pytest.mark.parametrize(
    ("thirds", "spared", "expected"),
    [
        ([], (), []),
        ([Third("c", 10, 10), Third("d", 1, 12)], (), ["d", "c"]),
        ([Third("d", 5, 5), Third("c", 5, 5)], (), ["c", "d"]),
        # What nobody measured is taken for long, but not for impossible.
        ([Third("c", 10, None), Third("d", 200, 190)], (), ["d", "c"]),
        ([Third("c", 10, None), Third("d", 250, 190)], (), ["c", "d"]),
        ([Third("c", None, None), Third("d", 300, None)], (), ["d", "c"]),
        # Who stops comes after all who stay, and who could not do it a moment ago comes last.
        ([Third("c", 1, 1, draining=True), Third("d", 300, 300)], (), ["d", "c"]),
        ([Third("c", 1, 1), Third("d", 300, 300)], {"c"}, ["d", "c"]),
        ([Third("c", 1, 1), Third("d", 300, 300, draining=True)], {"c"}, ["d", "c"]),
        ([Third(name) for name in "hgfedc"], (), list("cdef")[:MAX_THIRDS]),
    ],
)
def test_the_shortest_way_round_is_asked_first(
    thirds: list[Third], spared: set[str] | tuple[()], expected: list[str]
) -> None:
    assert [third.node for third in choose(thirds, spared)] == expected


@pytest.mark.parametrize(
    ("known", "spared", "leaves"),
    [
        ([Third("c"), Third("d", 0, 0)], (), False),  # not for a shorter way: that would move too often
        ([Third("c", draining=True)], (), False),
        ([Third("c", draining=True), Third("d")], (), True),
        ([Third("c", draining=True), Third("d", draining=True)], (), False),
        ([Third("c", draining=True), Third("d")], {"d"}, False),
        ([Third("c", draining=True), Third("d"), Third("e")], {"d"}, True),
        ([Third("d")], (), True),
        ([], (), False),
    ],
)
def test_a_third_node_is_left_when_it_stops_and_another_can_do_it(
    known: list[Third], spared: set[str] | tuple[()], leaves: bool
) -> None:
    assert is_to_be_left("c", known, spared) is leaves
