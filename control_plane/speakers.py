"""Who speaks, and how loud, as changes. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

SILENCE_DBOV: Final = 127
# Changes below this are not worth a message to everyone.
_STEP: Final = 0.02


@dataclass(frozen=True, slots=True)
class Voice:
    """`level` from 0 to 1, 1 loudest."""

    level: float = 0.0
    active: bool = False


# Speakers that are told apart in what they are worth to the allocation: who speaks, and who spoke before.
FLOOR: Final = 4
# Who is so many times as loud takes the floor from somebody who still speaks. Less follows a discussion closer, more
# spares a speaker's picture from coughs.
_LOUDER: Final = 4.0

QUIET: Final = Voice()


def level(dbov: int) -> float:
    """Linear level of `dbov` below overload, 0 (loudest) to 127 (silence), RFC 6464 section 3."""
    return 0.0 if dbov >= SILENCE_DBOV else float(round(10 ** (-max(dbov, 0) / 20), 3))


def loudest(voices: Iterable[tuple[int, bool]]) -> Voice:
    """Of one participant's audio tracks, each (dBov, active); inactive ones are quiet."""
    return max((Voice(level(dbov), True) for dbov, active in voices if active), key=lambda v: v.level, default=QUIET)


def floor(before: tuple[str, ...], voices: Mapping[str, Voice]) -> tuple[str, ...]:
    """Who has the floor, then who had it, the latest first; at most FLOOR of them.

    It is kept until silence, or until somebody is much louder.
    """
    active = {participant: voice.level for participant, voice in voices.items() if voice.active}
    if not active:
        return before
    first = max(active, key=lambda participant: active[participant])
    if before and before[0] in active and active[first] < _LOUDER * active[before[0]]:
        first = before[0]
    return (first, *(participant for participant in before if participant != first))[:FLOOR]


def changes(before: Mapping[str, Voice], now: Mapping[str, Voice]) -> dict[str, Voice]:
    """Whose voice is to be told: began, ceased, or notably louder or softer. Those gone from `now` are quiet."""
    told = {}
    for participant in before.keys() | now.keys():
        old, new = before.get(participant, QUIET), now.get(participant, QUIET)
        if old.active != new.active or (new.active and abs(old.level - new.level) >= _STEP):
            told[participant] = new
    return told
