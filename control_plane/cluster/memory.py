"""Shared state of a single node, and of clusters within one process in tests."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from control_plane.cluster.state import Bucket, Change, ConflictError, Entry, SharedState, StateUnavailableError

MAX_WAITING: Final = 1_024


class MemoryBucket(Bucket):
    """A dictionary with revisions."""

    def __init__(self, state: "MemoryState", ttl: float | None) -> None:
        self._state = state
        self._ttl = ttl
        self._entries: dict[str, tuple[Entry, float]] = {}
        self._revision = 0
        self._watchers: set[asyncio.Event] = set()
        self._log: dict[str, int] = {}
        """Revision of the last write or deletion of each key."""

    async def get(self, key: str) -> Entry | None:
        self._state.check()
        return self._get(key)

    async def put(self, key: str, value: bytes) -> int:
        self._state.check()
        return self._write(key, value)

    async def create(self, key: str, value: bytes) -> int:
        self._state.check()
        if self._get(key) is not None:
            raise ConflictError(key)
        return self._write(key, value)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        self._state.check()
        entry = self._get(key)
        if entry is None or entry.revision != revision:
            raise ConflictError(key)
        return self._write(key, value)

    async def delete(self, key: str, revision: int | None = None) -> None:
        self._state.check()
        entry = self._get(key)
        if entry is None:
            return
        if revision is not None and entry.revision != revision:
            raise ConflictError(key)
        del self._entries[key]
        self._changed(key)

    async def entries(self) -> list[Entry]:
        self._state.check()
        return [entry for key in list(self._entries) if (entry := self._get(key)) is not None]

    async def watch(self) -> AsyncGenerator[Change, None]:
        woken = asyncio.Event()
        self._watchers.add(woken)
        seen = 0
        try:
            while True:
                woken.clear()
                changed = [(revision, key) for key, revision in self._log.items() if revision > seen]
                for revision, key in sorted(changed):
                    seen = revision
                    entry = self._get(key)
                    yield Change(key, None if entry is None else entry.value)
                await woken.wait()
        finally:
            self._watchers.discard(woken)

    def _get(self, key: str) -> Entry | None:
        found = self._entries.get(key)
        if found is None:
            return None
        entry, written = found
        if self._ttl is not None and self._state.clock() - written >= self._ttl:
            del self._entries[key]
            return None
        return entry

    def _write(self, key: str, value: bytes) -> int:
        self._changed(key)
        self._entries[key] = (Entry(key, value, self._revision), self._state.clock())
        return self._revision

    def _changed(self, key: str) -> None:
        self._revision += 1
        self._log[key] = self._revision
        for woken in self._watchers:
            woken.set()


class MemoryState(SharedState):
    """`available` may be set, to see what an outage does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.is_away = False
        self._buckets: dict[str, MemoryBucket] = {}
        self._listeners: dict[str, set[asyncio.Queue[bytes]]] = {}

    @property
    def available(self) -> bool:
        return not self.is_away

    def check(self) -> None:
        """Raises StateUnavailableError while it is away."""
        if self.is_away:
            raise StateUnavailableError("the shared state is away")

    async def bucket(self, name: str, ttl: float | None = None) -> Bucket:
        return self._buckets.setdefault(name, MemoryBucket(self, ttl))

    async def publish(self, subject: str, payload: bytes) -> None:
        self.check()
        for queue in self._listeners.get(subject, ()):
            if not queue.full():
                queue.put_nowait(payload)

    async def listen(self, subject: str) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        listeners = self._listeners.setdefault(subject, set())
        listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            listeners.discard(queue)

    async def close(self) -> None:
        """There is nothing to close."""
