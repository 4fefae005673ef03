"""A node's view of a shared state that it can be cut off from, as a partition of the network does."""

import asyncio
from collections.abc import AsyncGenerator

from control_plane.cluster.memory import MemoryState
from control_plane.cluster.state import Bucket, Change, Entry, SharedState, StateUnavailableError


class CutState(SharedState):
    """`cut` and `mend` it. What was missed is told after that, as `NatsState` does."""

    def __init__(self, common: MemoryState) -> None:
        self.common = common
        self.mended = asyncio.Event()
        self.mended.set()

    def cut(self) -> None:
        self.mended.clear()

    def mend(self) -> None:
        self.mended.set()

    @property
    def available(self) -> bool:
        return self.mended.is_set() and self.common.available

    def check(self) -> None:
        if not self.mended.is_set():
            raise StateUnavailableError("cut off")

    async def bucket(self, name: str, ttl: float | None = None) -> Bucket:
        return CutBucket(self, await self.common.bucket(name, ttl))

    async def publish(self, subject: str, payload: bytes) -> None:
        self.check()
        await self.common.publish(subject, payload)

    async def listen(self, subject: str) -> AsyncGenerator[bytes, None]:
        async for payload in self.common.listen(subject):
            if self.mended.is_set():
                yield payload

    async def close(self) -> None:
        """The common one goes on."""


class CutBucket(Bucket):
    def __init__(self, state: CutState, inner: Bucket) -> None:
        self._state = state
        self._inner = inner

    async def get(self, key: str) -> Entry | None:
        self._state.check()
        return await self._inner.get(key)

    async def put(self, key: str, value: bytes) -> int:
        self._state.check()
        return await self._inner.put(key, value)

    async def create(self, key: str, value: bytes) -> int:
        self._state.check()
        return await self._inner.create(key, value)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        self._state.check()
        return await self._inner.update(key, value, revision)

    async def delete(self, key: str, revision: int | None = None) -> None:
        self._state.check()
        await self._inner.delete(key, revision)

    async def entries(self) -> list[Entry]:
        self._state.check()
        return await self._inner.entries()

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Holds back what comes while it is cut, and tells it in the end."""
        inner = self._inner.watch()
        try:
            async for change in inner:
                await self._state.mended.wait()
                yield change
        finally:
            await inner.aclose()
