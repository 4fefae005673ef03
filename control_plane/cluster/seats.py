"""Seats of rooms with a limit: no more are given than there are, by all nodes together.

A room with a limit has a record of who has a seat at which node, apart from the record that everybody watches. Whoever
comes to a node, by a join or with a session of another node, waits until the seat is written there, by
compare-and-swap; those who come meanwhile go into the next write. So who is moved has a seat all the time. Every write
of a node says who really is there, so whatever failed before is put right by it. While the shared state is away they
go by what their node knows.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from control_plane.cluster.records import key_of
from control_plane.cluster.registry import Registry
from control_plane.cluster.seat_record import MAX_SEATS, SeatRecord, decode, encode, mark, seated
from control_plane.cluster.state import Bucket, ConflictError, Entry, SharedState, StateUnavailableError
from control_plane.cluster.tasks import end
from control_plane.errors import LimitExceededError
from control_plane.rooms import full

log = structlog.get_logger(__name__)

# Seconds, as all here. Who has left is written after so long, with those who leave meanwhile.
GATHER: Final = 0.05
# Who finds a room full looks again, for one who has just left: longer finds more of them, shorter refuses sooner.
LOOK: Final = 0.15
PATIENCE: Final = 0.3
# A join gives up when others always write first.
MAX_WAIT: Final = 5.0
RETRY_AFTER: Final = 1.0
# A loser of the race to write waits so long at most, longer with each loss.
BACKOFF: Final = 0.005
MAX_BACKOFF: Final = 0.2
# After an outage: higher is right sooner, lower spares the shared state. Rooms a second.
RATE: Final = 500
RETRY: Final = 0.25
# Each record is compared with who is there: longer costs less, shorter puts right sooner what nobody noticed.
AUDIT: Final = 30.0
# Longer gives more rooms' seats back before a node ends; the others find out without that.
STOP_TIMEOUT: Final = 1.0
AT_ONCE: Final = 32
# Records whose nodes are all dead are deleted.
ORPHAN_CHECK: Final = 60.0


@dataclass(eq=False, slots=True)
class _Claim:
    """Somebody about to come."""

    mark: str
    limit: int
    since: float
    decided: "asyncio.Future[bool]"
    """Whether it has a seat, or goes by what this node knows."""
    looks: int = 0
    """At the room as it was then, and it was full."""

    @property
    def counts(self) -> bool:
        return self.decided.done() and not self.decided.cancelled() and self.decided.exception() is None


@dataclass(eq=False, slots=True)
class _Room:
    name: str
    claims: list[_Claim] = field(default_factory=list)
    written: frozenset[str] | None = frozenset()
    """What the shared state has of this node; None when that is not known."""
    entry: Entry | None = None
    """As this node wrote it last."""
    is_alone: bool = False
    """Nobody else had written between its last two writes: what it wrote is likely to be there still."""
    delay: float = GATHER
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    @property
    def waiting(self) -> list[_Claim]:
        return [claim for claim in self.claims if not claim.decided.done()]


class Seats:
    """`start` it after the registry."""

    def __init__(
        self,
        state: SharedState,
        registry: Registry,
        present: Callable[[str], Collection[str]],
        elsewhere: Callable[[str], Collection[tuple[str, str]]],
        orphan_check: float = ORPHAN_CHECK,
        audit: float = AUDIT,
    ) -> None:
        """`present`: identities of those who are on this node in the room of that name, if it has a limit. `elsewhere`:
        (node, identity) of the others, as far as this node knows."""
        self._state = state
        self._registry = registry
        self._present = present
        self._elsewhere = elsewhere
        self._orphan_check = orphan_check
        self._audit = audit
        self._bucket: Bucket
        self._rooms: dict[str, _Room] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once."""
        self._bucket = await self._state.bucket("seats")
        self._tasks = [asyncio.create_task(part) for part in (self._mend(), self._bury())]

    async def stop(self) -> None:
        """Gives back what is not needed any more: call it when nobody is here."""
        rooms, tasks, self._tasks = list(self._rooms.values()), self._tasks, []
        await end([*tasks, *(room.task for room in rooms if room.task is not None)])
        due = [room for room in rooms if self._is_due(room)]
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                for start in range(0, len(due), AT_ONCE):
                    await asyncio.gather(*map(self._write, due[start : start + AT_ONCE]))
        except (TimeoutError, StateUnavailableError) as error:
            log.info("the others will find out that seats are free", reason=str(error))

    @asynccontextmanager
    async def seat(self, name: str, identity: str, limit: int) -> AsyncIterator[bool]:
        """Somebody comes to a room within, or does not. True: they have a seat, as long as this lasts and they are
        present then. False: that could not be found out, and what this node knows has to do.

        Raises LimitExceededError.
        """
        if limit > MAX_SEATS:
            yield False
            return
        loop = asyncio.get_running_loop()
        room = self._room(name)
        claim = _Claim(mark(identity), limit, loop.time(), loop.create_future())
        room.claims.append(claim)
        try:
            if claim.mark in (room.written or ()) and claim.mark in self._here(room):
                claim.decided.set_result(True)
            else:
                room.woken.set()
                self._serve_soon(room)
            yield await claim.decided
        finally:
            room.claims.remove(claim)
            self._serve_soon(room)

    def changed(self, name: str) -> None:
        """Somebody has left a room with a limit, or it was not limited when they came. Returns at once."""
        self._serve_soon(self._room(name))

    # Inside.

    def _room(self, name: str) -> _Room:
        return self._rooms.setdefault(name, _Room(name))

    def _here(self, room: _Room) -> frozenset[str]:
        """Who is here, and who has been told that they may come."""
        return frozenset([*map(mark, self._present(room.name)), *(claim.mark for claim in room.claims if claim.counts)])

    def _unwritten(self, room: _Room) -> list[str]:
        """Who is on nodes of the release before, which knows no seats."""
        silent = {info.id for info in self._registry.nodes() if not info.seats}
        return [mark(identity) for node, identity in self._elsewhere(room.name) if node in silent] if silent else []

    def _is_due(self, room: _Room) -> bool:
        return self._here(room) != room.written

    def _serve_soon(self, room: _Room) -> None:
        self._rooms[room.name] = room
        if not self._tasks:
            # Not started, or stopped.
            self._go_by_what_is_known(room, "stopped")
        elif room.task is None:
            room.task = asyncio.create_task(self._serve(room))

    async def _serve(self, room: _Room) -> None:
        """Until nobody waits and what is written is so."""
        try:
            while room.waiting or self._is_due(room):
                if not room.waiting:
                    await _pause(room, room.delay)
                room.delay = GATHER
                room.woken.clear()
                try:
                    await self._write(room)
                except StateUnavailableError as error:
                    self._go_by_what_is_known(room, str(error))
                except Exception:
                    log.exception("seats were not written", room=room.name)
                    self._go_by_what_is_known(room, "failed")
                _refuse(room)
                if room.waiting:
                    await _pause(room, LOOK)
        finally:
            room.task = None
            for claim in room.waiting:
                claim.decided.set_result(False)
            if not room.claims and not room.written:
                self._rooms.pop(room.name, None)

    async def _write(self, room: _Room) -> None:
        """Gives seats to those who wait, as far as there are any, and writes who is here."""
        key, node = key_of(room.name), self._registry.id
        entry, fresh, attempt = room.entry, not room.is_alone, 0
        while True:
            if fresh:
                entry = await self._bucket.get(key)
                room.is_alone = entry is not None and room.entry is not None and entry.revision == room.entry.revision
            found = decode(entry.value) if entry is not None else None
            waiting = room.waiting
            before = found or SeatRecord(room.name)
            wanted = [(claim.mark, claim.limit) for claim in waiting]
            here, unwritten = self._here(room), self._unwritten(room) if wanted else []
            record, granted = seated(before, node, here, wanted, self._registry.is_dead, unwritten)
            if not fresh and not all(granted):
                # Somebody may have left since.
                fresh = True
                continue
            # Should this be cancelled, nobody knows.
            room.written = None
            try:
                room.entry = await self._store(key, entry, record, found)
            except ConflictError:
                _give_up(room)
                if not fresh:
                    fresh = True
                    continue
                attempt += 1
                await asyncio.sleep(random.uniform(0, min(BACKOFF * attempt, MAX_BACKOFF)))  # noqa: S311
                continue
            room.written = record.taken.get(node, frozenset())
            for claim, has_seat in zip(waiting, granted, strict=True):
                claim.looks += 1
                if has_seat and not claim.decided.done():
                    claim.decided.set_result(True)
            return

    async def _store(self, key: str, entry: Entry | None, record: SeatRecord, found: SeatRecord | None) -> Entry | None:
        """What is stored then."""
        if record == found:
            return entry
        if not record.taken:
            if entry is not None:
                await self._bucket.delete(key, entry.revision)
            return None
        value = encode(record)
        if entry is None:
            return Entry(key, value, await self._bucket.create(key, value))
        return Entry(key, value, await self._bucket.update(key, value, entry.revision))

    def _go_by_what_is_known(self, room: _Room, reason: str) -> None:
        room.written, room.entry, room.is_alone = None, None, False
        room.delay = self._spread()
        for claim in room.waiting:
            log.info("a join goes by what this node knows of its room", room=room.name, reason=reason)
            claim.decided.set_result(False)

    def _spread(self) -> float:
        """Rooms that all have to be written are not written at once."""
        return RETRY + random.uniform(0, len(self._rooms) / RATE)  # noqa: S311

    # Keeping it right.

    async def _mend(self) -> None:
        """What a former process of this node has left is cleared, after an outage all is written again, and now
        and then each record is looked at."""
        former, since, was_available = False, self._registry.since, self._state.available
        audited = 0.0
        while True:
            if not former:
                former = await self._clear_former()
            await asyncio.sleep(self._registry.timing.sweep)
            audited += len(self._rooms) * self._registry.timing.sweep / self._audit
            for room in list(itertools.islice(self._rooms.values(), int(audited))):
                self._look_at(room)
                audited -= 1
            available = self._state.available
            # Whoever took this node for dead meanwhile has taken its seats out.
            if self._registry.since != since or (available and not was_available):
                for room in list(self._rooms.values()):
                    self._write_anew(room)
            since, was_available = self._registry.since, available

    async def _clear_former(self) -> bool:
        try:
            entries = await self._bucket.entries()
        except StateUnavailableError:
            return False
        for entry in entries:
            record = decode(entry.value)
            if record is not None and self._registry.id in record.taken and record.room not in self._rooms:
                self._write_anew(self._room(record.room))
        return True

    def _look_at(self, room: _Room) -> None:
        # The one that was looked at longest ago comes first.
        self._rooms[room.name] = self._rooms.pop(room.name)
        room.written, room.is_alone = None, False
        self._serve_soon(room)

    def _write_anew(self, room: _Room) -> None:
        room.written, room.entry, room.is_alone = None, None, False
        room.delay = self._spread()
        self._serve_soon(room)

    async def _bury(self) -> None:
        """Deletes records whose nodes have all been dead for two looks. The least node alive looks after it."""
        seen: dict[str, int] = {}
        while True:
            await asyncio.sleep(self._orphan_check)
            if not self._registry.sees or self._registry.nodes()[0].id != self._registry.id:
                seen = {}
                continue
            try:
                orphans = {}
                for entry in await self._bucket.entries():
                    record = decode(entry.value)
                    if record is None or all(map(self._registry.is_dead, record.taken)):
                        orphans[entry.key] = entry.revision
                for key, revision in orphans.items():
                    if seen.get(key) == revision:
                        await self._bucket.delete(key, revision)
                seen = orphans
            except (ConflictError, StateUnavailableError):
                seen = {}


async def _pause(room: _Room, seconds: float) -> None:
    """A claim ends it."""
    try:
        async with asyncio.timeout(seconds):
            await room.woken.wait()
    except TimeoutError:
        return


def _refuse(room: _Room) -> None:
    """Those who have looked twice and long enough."""
    now = asyncio.get_running_loop().time()
    for claim in room.waiting:
        if claim.looks > 1 and now - claim.since >= PATIENCE:
            claim.decided.set_exception(full(room.name, claim.limit))


def _give_up(room: _Room) -> None:
    now = asyncio.get_running_loop().time()
    for claim in room.waiting:
        if now - claim.since >= MAX_WAIT:
            text = f"too many join room {room.name[:80]!r} at once"
            claim.decided.set_exception(LimitExceededError(text, retry_after=RETRY_AFTER))
