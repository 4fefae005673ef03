"""Whether another node lives, from what is seen of it. Pure functions.

No sign alone is enough: a stream breaks when a network does, links fall silent, heartbeats are late when the bus is.
Dead is only who is missed by others too (the heartbeat expired while the bus can be reached), or whose machine says
that nobody is there.
"""

from dataclasses import dataclass
from typing import Final, Literal

# Seconds without a stream. Shorter suspects sooner, longer rides out a loop that stands still.
PATIENCE: Final = 0.75

Verdict = Literal["alive", "doubtful", "unreachable", "dead"]


@dataclass(frozen=True, slots=True)
class Signs:
    """What is seen of a node at a moment."""

    has_stream: bool
    """It speaks to us."""
    without_stream: float = 0.0
    """Seconds since it last did."""
    broke_off: bool = False
    """The stream ended at its other end, without a word: a node that lives and stays does not do that."""
    refused: bool = False
    """Its machine says that nobody listens."""
    links_silent: bool = False
    """There are media links and nothing comes over any."""
    heartbeat: Literal["heard", "expired", "unknown"] = "heard"
    """Unknown: the bus is away, so that nobody is heard."""


def verdict(signs: Signs) -> Verdict:
    """Who is dead is gone from every room; to who is unreachable, media finds another way. Who is doubtful is
    given nobody new and nobody back, so that no client waits for it."""
    if signs.has_stream:
        return "alive"
    if signs.heartbeat == "expired" or (signs.refused and signs.links_silent):
        return "dead"
    if signs.without_stream >= PATIENCE:
        return "unreachable"
    return "doubtful" if signs.refused or signs.broke_off else "alive"
