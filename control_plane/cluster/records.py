"""What nodes agree on about a room, and how it changes. Pure functions: `directory` writes what they return."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from control_plane.rooms import MAX_METADATA_BYTES, MAX_ROOM_NAME

# Every node but a few at the edges of a large webinar.
MAX_HOLDERS: Final = 1_024


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """`holders`: ids of the nodes that host the room, sorted. `owner`: the one of them that keeps the record.

    `epoch` grows with each change of owner: what somebody says who owned an earlier one does not count.
    """

    name: str
    id: str
    epoch: int
    owner: str
    holders: tuple[str, ...]
    created_at: float
    """Seconds since 1970, by the clock of the node that made it."""
    metadata: str = ""
    max_participants: int = 0
    empty_timeout: int = 0
    ended: bool = False
    """Somebody has ended it for everyone: who holds it lets go, and who comes now makes another one."""


def key_of(name: str) -> str:
    """Names have any characters, keys of buckets have not."""
    return hashlib.blake2b(name.encode(), digest_size=20).hexdigest()


def held_by(record: RoomRecord, node: str, is_dead: Callable[[str], bool]) -> RoomRecord:
    """With `node` as a holder. An owner that is dead, or is none of the holders, is followed by it."""
    holders = _sorted([holder for holder in record.holders if not is_dead(holder)], node)
    if record.owner in holders:
        return replace(record, holders=holders)
    return replace(record, holders=holders, owner=node, epoch=record.epoch + 1)


def left_by(record: RoomRecord, node: str) -> RoomRecord | None:
    """Without `node`; None when nobody holds it then."""
    holders = tuple(holder for holder in record.holders if holder != node)
    if not holders:
        return None
    if record.owner != node:
        return replace(record, holders=holders)
    return replace(record, holders=holders, owner=holders[0], epoch=record.epoch + 1)


def cleaned(record: RoomRecord, node: str, is_dead: Callable[[str], bool]) -> RoomRecord:
    """Without holders that are dead, if it is for `node` to remove them: it owns the record, or it is the least of
    those that are left by a dead owner."""
    left = tuple(holder for holder in record.holders if not is_dead(holder))
    if node not in left:
        return record
    if record.owner in left:
        return replace(record, holders=left) if record.owner == node else record
    if left[0] != node:
        return record
    return replace(record, holders=left, owner=node, epoch=record.epoch + 1)


def restored(lost: RoomRecord, node: str) -> RoomRecord:
    """For a record that somebody who was cut off has, and the shared state has not: the room goes on as it is."""
    return replace(lost, holders=(node,), owner=node, epoch=lost.epoch + 1)


def encode(record: RoomRecord) -> bytes:
    return json.dumps(asdict(record), separators=(",", ":")).encode()


def decode(value: bytes) -> RoomRecord | None:
    """None for what is no record."""
    try:
        found: Any = json.loads(value)
        holders = [str(holder) for holder in found["holders"]]
        record = RoomRecord(
            name=str(found["name"]),
            id=str(found["id"]),
            epoch=int(found["epoch"]),
            owner=str(found["owner"]),
            holders=tuple(sorted(set(holders))),
            created_at=float(found["created_at"]),
            metadata=str(found.get("metadata", "")),
            max_participants=int(found.get("max_participants", 0)),
            empty_timeout=int(found.get("empty_timeout", 0)),
            ended=found.get("ended") is True,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    fits = 0 < len(record.name) <= MAX_ROOM_NAME and len(record.metadata.encode()) <= MAX_METADATA_BYTES
    return record if fits and len(holders) <= MAX_HOLDERS and record.epoch >= 0 else None


def _sorted(holders: list[str], node: str) -> tuple[str, ...]:
    return tuple(sorted({*holders, node}))
