"""What nodes agree on about the seats of a room with a limit. Pure functions: `seats` writes what they return.

A seat is an identity's, not a number: who moves, comes back, or is at two nodes for a moment has one seat.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from control_plane.cluster.records import MAX_HOLDERS
from control_plane.rooms import MAX_ROOM_NAME

# Of one room: a record of so many is 800 kB, and NATS takes values of 1 MB.
MAX_SEATS: Final = 100_000
# Octets by which an identity is known. Two of 10,000 are taken for one with a chance of 1 in 5 million.
MARK_BYTES: Final = 6
MARK: Final = 8
"""Characters of a mark."""


@dataclass(frozen=True, slots=True)
class SeatRecord:
    """`taken`: marks of who has a seat, by the id of the node that they are on, or about to join."""

    room: str
    taken: Mapping[str, frozenset[str]] = field(default_factory=dict)


@lru_cache(maxsize=65_536)
def mark(identity: str) -> str:
    """Stands for an identity: records stay small whatever identities are like, and tell nobody's name."""
    digest = hashlib.blake2b(identity.encode(), digest_size=MARK_BYTES).digest()
    return base64.b64encode(digest).decode()


def seated(
    record: SeatRecord,
    node: str,
    here: Collection[str],
    wanted: Sequence[tuple[str, int]],
    is_dead: Callable[[str], bool],
    unwritten: Collection[str] = (),
) -> tuple[SeatRecord, list[bool]]:
    """The record as `node` writes it: with those who are `here`, and of `wanted` (mark, limit) as many as there is room
    for, first come first served. The list says who has got a seat.

    Who has one already, here or at another node, gets it again. Those of dead nodes are free. `unwritten`: others who
    are known to be in the room, at nodes that write nothing.
    """
    taken = {other: marks for other, marks in record.taken.items() if other != node and not is_dead(other)}
    mine, everyone = set(here), set(here).union(unwritten, *taken.values())
    granted = []
    for one, limit in wanted:
        fits = one in everyone or len(everyone) < limit
        if fits:
            mine.add(one)
            everyone.add(one)
        granted.append(fits)
    if mine:
        taken[node] = frozenset(mine)
    return replace(record, taken=taken), granted


def encode(record: SeatRecord) -> bytes:
    taken = {node: "".join(sorted(marks)) for node, marks in sorted(record.taken.items())}
    return json.dumps({"room": record.room, "taken": taken}, separators=(",", ":")).encode()


def decode(value: bytes) -> SeatRecord | None:
    """None for what is no record. What a newer release adds is ignored."""
    try:
        found: Any = json.loads(value)
        room = str(found["room"])
        taken = {str(node): _marks(marks) for node, marks in found["taken"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    fits = len(taken) <= MAX_HOLDERS and sum(map(len, taken.values())) <= 2 * MAX_SEATS
    return SeatRecord(room, taken) if 0 < len(room) <= MAX_ROOM_NAME and fits else None


def _marks(text: str) -> frozenset[str]:
    if not isinstance(text, str) or len(text) % MARK:
        raise ValueError("no marks")
    return frozenset(text[start : start + MARK] for start in range(0, len(text), MARK))
