"""Through which third node two nodes talk that cannot reach each other. A pure function of what is known."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

# Nodes that are asked in turn before the straight way is tried again. More finds a way more often, less returns sooner.
MAX_THIRDS: Final = 4
# Milliseconds that stand for a round trip which nobody has measured. More prefers nodes that are known to reach it.
UNKNOWN: Final = 400.0


@dataclass(frozen=True, slots=True)
class Third:
    """A node that may pass on what two others say to each other, as one of the two sees it."""

    node: str
    to_it: float | None = None
    """Milliseconds there and back; None: not measured."""
    beyond: float | None = None
    """From it to the other end, as it says itself."""
    draining: bool = False


def choose(thirds: Iterable[Third], spared: Collection[str] = (), most: int = MAX_THIRDS) -> list[Third]:
    """Those to be asked, best first. `spared`: nodes that could not do it a moment ago: they are asked last."""
    return sorted(thirds, key=lambda third: (third.node in spared, third.draining, _length(third), third.node))[:most]


def is_to_be_left(third: str, known: Collection[Third], spared: Collection[str] = ()) -> bool:
    """It is about to stop, or is not there any more, and another one could do it."""
    here = next((one for one in known if one.node == third), None)
    best = next(iter(choose((one for one in known if one.node != third), spared)), None)
    if best is None or best.draining or best.node in spared:
        return False
    return here is None or here.draining


def _length(third: Third) -> float:
    return sum(UNKNOWN if one is None else one for one in (third.to_it, third.beyond))
