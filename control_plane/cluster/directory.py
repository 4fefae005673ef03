"""Rooms of this node as the cluster knows them: every change of a record is a compare-and-swap.

Only rooms that are here are kept in memory. While the shared state is away they go on, and nothing is deleted; what was
to be written is written when it is back.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from control_plane.cluster.records import RoomRecord, cleaned, decode, encode, held_by, key_of, left_by, restored
from control_plane.cluster.registry import Kind, Registry
from control_plane.cluster.state import Bucket, ConflictError, Entry, SharedState, StateUnavailableError
from control_plane.cluster.tasks import end
from control_plane.errors import ControlError, LimitExceededError, NotFoundError, UnavailableError
from pysfu.v1 import models_pb2

log = structlog.get_logger(__name__)

# Writers of one key at the same time: each attempt at least one of them succeeds. More than nodes that join at once.
MAX_ATTEMPTS: Final = 200
# Seconds. A loser of the race waits so long at most, longer with each loss.
BACKOFF: Final = 0.005
MAX_BACKOFF: Final = 0.2
RETRY: Final = 0.25
RETRY_AFTER: Final = 2.0
# Records that are put right at a time.
AT_ONCE: Final = 32
# Whose holders are all dead is kept for them to come back, and for their clients to come elsewhere. Seconds.
ORPHAN_CHECK: Final = 60.0

# Seconds for which what was read of a room elsewhere will do: to place one more there, and to try a write with. Whoever
# joins a room asks for it three times within a moment; longer spares more round trips to the shared state, and finds
# out later that a room has gone elsewhere.
RECENT: Final = 2.0
MAX_RECENT: Final = 8_192

HoldersChanged = Callable[[str, tuple[str, ...]], None]
RecordChanged = Callable[[RoomRecord], None]


class Recent:
    """What was read of the shared state a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()

    def keep(self, key: str, entry: Entry | None) -> None:
        self._read[key] = self._clock(), entry
        self._read.move_to_end(key)
        if len(self._read) > MAX_RECENT:
            self._read.popitem(last=False)

    def has(self, key: str) -> bool:
        found = self._read.get(key)
        return found is not None and self._clock() - found[0] < RECENT

    def entry(self, key: str) -> Entry | None:
        """To be asked for what it `has`."""
        return self._read[key][1]

    def forget(self, key: str) -> None:
        self._read.pop(key, None)


class Directory:
    """`start` it after the registry. Holders of rooms that are here are told to `holders_changed`."""

    def __init__(
        self, state: SharedState, registry: Registry, is_live: Callable[[str], bool], orphan_check: float = ORPHAN_CHECK
    ) -> None:
        """`is_live`: whether a room of this name is on this node, so that its record must stay."""
        self.holders_changed: list[HoldersChanged] = []
        """Called with the name and the sorted ids, this node's among them; with none once it holds the room no more."""
        self.record_changed: list[RecordChanged] = []
        self._state = state
        self._registry = registry
        self._is_live = is_live
        self._orphan_check = orphan_check
        self._bucket: Bucket
        self._recent = Recent()
        self._held: dict[str, RoomRecord] = {}
        self._names: dict[str, str] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._due: set[str] = set()
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once."""
        self._bucket = await self._state.bucket("rooms")
        self._registry.listeners.append(self._on_node)
        parts = (self._watch(), self._put_right(), self._bury())
        self._tasks = [asyncio.create_task(part) for part in parts]

    async def stop(self) -> None:
        """Leaves every room; deletes only those that nobody else holds."""
        await end(self._tasks)
        if self._tasks:
            self._registry.listeners.remove(self._on_node)
        self._tasks = []
        names = list(self._held)
        for start in range(0, len(names), AT_ONCE):
            leaving = (self._leave(name) for name in names[start : start + AT_ONCE])
            results = await asyncio.gather(*leaving, return_exceptions=True)
            if any(isinstance(result, StateUnavailableError) for result in results):
                log.warning("rooms were not left in the shared state: it is away", rooms=len(names) - start)
                return

    def record(self, name: str) -> RoomRecord | None:
        """Of a room that is here, as it was last known."""
        return self._held.get(name)

    def records(self) -> list[RoomRecord]:
        return list(self._held.values())

    def holders(self, name: str) -> tuple[str, ...]:
        """Of a room that is here; empty for others."""
        record = self._held.get(name)
        return record.holders if record is not None else ()

    async def find(self, name: str, *, recent: bool = False) -> RoomRecord | None:
        """Of any room, as it is now; of those that are here, as it was last known. Raises UnavailableError.

        `recent`: as it was a moment ago (`RECENT`) will do.
        """
        if name in self._held:
            return self._held[name]
        key = key_of(name)
        if recent and self._recent.has(key):
            return _decoded(self._recent.entry(key))
        try:
            return await self._read(name)
        except StateUnavailableError as error:
            raise _away() from error

    async def all(self) -> list[RoomRecord]:
        """Every room of the cluster. Raises UnavailableError."""
        try:
            entries = await self._bucket.entries()
        except StateUnavailableError as error:
            raise _away() from error
        return [record for entry in entries if (record := decode(entry.value)) is not None]

    async def hold(self, room: models_pb2.Room, *, may_create: bool = True) -> RoomRecord:
        """This node hosts the room of that name from now on, until `release`. `room`: as it is when nobody has it yet.

        One compare-and-swap, none when the room is here. Raises UnavailableError while the shared state is away,
        NotFoundError when nobody has the room and it may not be made.
        """
        name = room.name
        async with self._locked(name):
            held = self._held.get(name)
            if held is not None:
                return held

            def change(found: RoomRecord | None) -> RoomRecord:
                if found is not None and not found.ended:
                    return held_by(found, self._registry.id, self._registry.is_dead)
                if not may_create:
                    raise NotFoundError(f"no room {name[:80]!r}")
                return _of(room, self._registry.id, found.epoch + 1 if found is not None else 1)

            try:
                record = await self._swap(name, change)
            except StateUnavailableError as error:
                raise _away() from error
            if record is None:
                raise AssertionError("a record that is held was deleted")
            self._know(name, record)
            return record

    async def release(self, name: str, *, ended: bool = False) -> None:
        """This node does not host it any more, unless it does again by now. `ended`: nor shall any other.

        Never fails: it is tried until it is done.
        """
        async with self._locked(name):
            if self._is_live(name) or name not in self._held:
                return
            if ended:
                self._held[name] = replace(self._held[name], ended=True)
            try:
                await self._leave(name)
            except StateUnavailableError:
                self._later(name)

    async def describe(self, name: str, metadata: str) -> None:
        """Writes what a room says of itself. Raises UnavailableError."""
        async with self._locked(name):
            if name not in self._held:
                return

            def change(found: RoomRecord | None) -> RoomRecord:
                known = found if found is not None else restored(self._held[name], self._registry.id)
                return _with_metadata(known, metadata)

            try:
                record = await self._swap(name, change)
            except StateUnavailableError as error:
                raise _away() from error
            if record is not None:
                self._know(name, record)

    # Writing.

    async def _read(self, name: str) -> RoomRecord | None:
        key = key_of(name)
        entry = await self._bucket.get(key)
        self._recent.keep(key, entry)
        return _decoded(entry)

    async def _swap(self, name: str, change: Callable[[RoomRecord | None], RoomRecord | None]) -> RoomRecord | None:
        """Applies `change` to the newest record, again when somebody was faster. Returns what is stored then."""
        key = key_of(name)
        for attempt in range(MAX_ATTEMPTS):
            is_recent = self._recent.has(key)
            entry = self._recent.entry(key) if is_recent else await self._bucket.get(key)
            self._recent.forget(key)
            found = _decoded(entry)
            try:
                wanted = change(found)
            except ControlError:
                if is_recent:
                    continue
                raise
            if wanted == found and (found is not None or entry is None):
                if is_recent:
                    continue
                return found
            try:
                if wanted is None:
                    await self._bucket.delete(key, entry.revision if entry is not None else None)
                elif entry is None:
                    await self._bucket.create(key, encode(wanted))
                else:
                    await self._bucket.update(key, encode(wanted), entry.revision)
            except ConflictError:
                pause = min(BACKOFF * (attempt + 1), MAX_BACKOFF)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311
                continue
            return wanted
        raise LimitExceededError(f"too many nodes change room {name[:80]!r} at once", retry_after=RETRY_AFTER)

    async def _leave(self, name: str) -> None:
        node, known = self._registry.id, self._held[name]

        def change(found: RoomRecord | None) -> RoomRecord | None:
            if found is None or node not in found.holders:
                return found
            if known.ended and known.id == found.id:
                found = replace(found, ended=True)
            return left_by(found, node)

        await self._swap(name, change)
        self._forget(name)

    def _know(self, name: str, record: RoomRecord) -> None:
        before = self._held.get(name)
        self._held[name] = record
        self._names[key_of(name)] = name
        if record == before:
            return
        for told in [*self.record_changed]:
            _safely(lambda told=told: told(record), name)  # type: ignore[misc]
        if before is None or before.holders != record.holders:
            self._tell_holders(name, record.holders)

    def _forget(self, name: str) -> None:
        self._held.pop(name, None)
        self._names.pop(key_of(name), None)
        self._tell_holders(name, ())

    def _tell_holders(self, name: str, holders: tuple[str, ...]) -> None:
        for told in self.holders_changed:
            _safely(lambda told=told: told(name, holders), name)  # type: ignore[misc]

    # Keeping records right.

    async def _watch(self) -> None:
        async for change in self._bucket.watch():
            name = self._names.get(change.key)
            if name is None:
                continue
            record = decode(change.value) if change.value is not None else None
            known = self._held[name]
            if record is None or record.name != name or self._registry.id not in record.holders:
                # Who was taken for dead while cut off, and whose room is here still, comes back.
                self._later(name)
            elif record.epoch >= known.epoch or record.id != known.id:
                self._know(name, record)
                if self._differs(record):
                    self._later(name)

    def _on_node(self, node: str, kind: Kind) -> None:
        if kind == "gone":
            for record in self._held.values():
                if node in record.holders:
                    self._later(record.name)

    def _differs(self, record: RoomRecord) -> bool:
        return cleaned(record, self._registry.id, self._registry.is_dead) != record

    def _later(self, name: str) -> None:
        self._due.add(name)
        self._woken.set()

    async def _put_right(self) -> None:
        """Writes what is due, and looks once a second whether holders have died of whom nobody told."""
        while True:
            try:
                async with asyncio.timeout(self._registry.timing.heartbeat):
                    await self._woken.wait()
            except TimeoutError:
                self._due.update(record.name for record in self._held.values() if self._differs(record))
            self._woken.clear()
            if not self._state.available:
                await asyncio.sleep(RETRY)
                self._woken.set()
                continue
            due = [self._due.pop() for _ in range(min(AT_ONCE, len(self._due)))]
            if self._due:
                self._woken.set()
            results = await asyncio.gather(*(self._put_one_right(name) for name in due), return_exceptions=True)
            failed = [name for name, result in zip(due, results, strict=True) if isinstance(result, Exception)]
            for result in results:
                if isinstance(result, Exception) and not isinstance(result, StateUnavailableError):
                    log.error("a room's record was not put right", exc_info=result)
            if failed:
                self._due.update(failed)
                await asyncio.sleep(RETRY)
                self._woken.set()

    async def _put_one_right(self, name: str) -> None:
        async with self._locked(name):
            if name not in self._held:
                return
            if not self._is_live(name):
                await self._leave(name)
                return
            known, node, is_dead = self._held[name], self._registry.id, self._registry.is_dead

            def change(found: RoomRecord | None) -> RoomRecord:
                if found is None:
                    return restored(known, node)
                if found.ended:
                    return found
                if node not in found.holders:
                    return held_by(found, node, is_dead)
                return cleaned(found, node, is_dead)

            record = await self._swap(name, change)
            if record is not None:
                if record.epoch != known.epoch:
                    log.info("a room has another owner", room=name, owner=record.owner, epoch=record.epoch)
                self._know(name, record)

    async def _bury(self) -> None:
        """Deletes records whose holders have all been dead for two looks. The least node alive looks after it."""
        seen: dict[str, int] = {}
        while True:
            await asyncio.sleep(self._orphan_check)
            nodes = self._registry.nodes()
            if not self._registry.sees or nodes[0].id != self._registry.id:
                seen = {}
                continue
            try:
                entries = await self._bucket.entries()
                orphans = {}
                for entry in entries:
                    record = decode(entry.value)
                    if record is not None and all(self._registry.is_dead(holder) for holder in record.holders):
                        orphans[entry.key] = entry.revision
                for key, revision in orphans.items():
                    if seen.get(key) == revision:
                        await self._bucket.delete(key, revision)
                        log.info("a room whose nodes are all gone was deleted", key=key)
                seen = orphans
            except ConflictError:
                continue
            except StateUnavailableError:
                seen = {}

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        """One change of a room at a time, first come first served."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = lock, users - 1


def _decoded(entry: Entry | None) -> RoomRecord | None:
    return decode(entry.value) if entry is not None else None


def _of(info: models_pb2.Room, node: str, epoch: int) -> RoomRecord:
    return RoomRecord(
        name=info.name,
        id=info.id,
        epoch=epoch,
        owner=node,
        holders=(node,),
        created_at=info.created_at.ToMicroseconds() / 1e6 if info.HasField("created_at") else time.time(),
        metadata=info.metadata,
        max_participants=info.max_participants,
        empty_timeout=info.empty_timeout_seconds,
    )


def _with_metadata(record: RoomRecord, metadata: str) -> RoomRecord:
    return replace(record, metadata=metadata)


def _away() -> UnavailableError:
    text = "the cluster's shared state is away: rooms that are not on this node cannot be reached now"
    return UnavailableError(text, retry_after=RETRY_AFTER)


def _safely(call: Callable[[], None], room: str) -> None:
    try:
        call()
    except Exception:
        log.exception("a listener failed", room=room)
