"""Searches for garbage while many come at once."""

import gc
from collections.abc import Iterator

import pytest

from control_plane import garbage


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_has_been_started_is_not_looked_at_again() -> None:
    garbage.settle()
    assert gc.get_freeze_count() > 10 * len(gc.get_objects())


def test_a_join_or_ten_bring_no_search() -> None:
    searches: list[str] = []
    garbage.settle()
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    try:
        kept: list[object] = [[] for _ in range(garbage.YOUNG // 2)]
        assert not searches
        kept += [[] for _ in range(garbage.YOUNG)]
        assert searches
    finally:
        gc.callbacks.pop()
