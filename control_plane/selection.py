"""Which of a track's encodings each of its viewers receives. Pure functions."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Viewer:
    """One who subscribes. Encodings are numbers in the order of their publisher's preference."""

    decodes: tuple[int, ...]
    """Ascending; declared ones included."""
    current: int | None = None
    paused: bool = False
    """It wants nothing now, so nobody need encode for it."""


@dataclass(frozen=True, slots=True)
class Choice:
    now: int | None
    """None: nothing that it can decode is published."""
    best: int | None
    """What it is to have as soon as that flows."""


def needs(viewers: Iterable[Viewer]) -> set[int]:
    """The backups that somebody cannot do without."""
    return {viewer.decodes[0] for viewer in viewers if viewer.decodes and not viewer.paused} - {0}


def choose(
    viewers: Mapping[K, Viewer],
    published: Set[int],
    flowing: Set[int],
    *,
    regress: bool,
    elsewhere: Set[int] = frozenset(),
) -> tuple[dict[K, Choice], set[int]]:
    """The choice of each, and the encodings that somebody waits for.

    Everybody has the first encoding that it can decode. With `regress`, who can decode a backup that another one needs
    has that, so that the publisher need encode one picture once; `elsewhere` are those needed on other nodes. Nobody
    gives up what flows for what does not.
    """
    needed = needs(viewers.values()) | elsewhere
    choices, awaited = {}, set()
    for key, viewer in viewers.items():
        best = next((index for index in viewer.decodes if not regress or not needed or index in needed), None)
        if best is None and viewer.decodes:
            best = viewer.decodes[0]
        now = _now(viewer, best, published, flowing)
        choices[key] = Choice(now, best)
        if best is not None and now != best and not viewer.paused:
            awaited.add(best)
    return choices, awaited


def _now(viewer: Viewer, best: int | None, published: Set[int], flowing: Set[int]) -> int | None:
    if best is None:
        return None
    if viewer.current in published and viewer.current in viewer.decodes:
        return best if best in flowing else viewer.current
    return next((index for index in (best, *viewer.decodes) if index in published), None)
