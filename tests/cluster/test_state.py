"""Shared state: the same promises by both implementations."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from control_plane.cluster.memory import MemoryState
from control_plane.cluster.nats import NatsState
from control_plane.cluster.state import Bucket, Change, ConflictError, Entry, SharedState, StateUnavailableError
from tests.cluster.nats_server import NatsServer
from tests.e2e.harness.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[NatsServer]:
    async with NatsServer() as running:
        yield running


@pytest_asyncio.fixture(params=["memory", "nats"], loop_scope="module")
async def state(request: pytest.FixtureRequest, server: NatsServer) -> AsyncIterator[SharedState]:
    # A namespace for each test: the server is shared.
    opened = MemoryState() if request.param == "memory" else nats(server, request.node.name)
    await until_available(opened)
    yield opened
    await opened.close()


def nats(server: NatsServer, name: str = "test") -> NatsState:
    letters = "".join(letter if letter.isalnum() else "-" for letter in name)
    return NatsState([server.url], name="test", prefix=f"test-{letters}")


async def until_available(state: SharedState) -> None:
    async with asyncio.timeout(10):
        while not state.available:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


class Watching:
    """What a bucket's watcher tells, as a mirror of the bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.mirror: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(bucket))

    async def until(self, expected: dict[str, bytes]) -> None:
        async with asyncio.timeout(15):
            while self.mirror != expected:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, bucket: Bucket) -> None:
        async for change in bucket.watch():
            self.changes.append(change)
            if change.value is None:
                self.mirror.pop(change.key, None)
            else:
                self.mirror[change.key] = change.value
            self._changed.set()


async def test_a_key_is_written_read_and_deleted(state: SharedState) -> None:
    bucket = await state.bucket("rooms")
    assert await bucket.get("a") is None
    first = await bucket.put("a", b"1")
    assert await bucket.get("a") == Entry("a", b"1", first)
    second = await bucket.put("a", b"")
    assert second > first
    assert await bucket.get("a") == Entry("a", b"", second)
    await bucket.delete("a")
    assert await bucket.get("a") is None
    await bucket.delete("a")


async def test_only_one_of_two_writers_wins(state: SharedState) -> None:
    bucket = await state.bucket("rooms")
    results = await asyncio.gather(*(bucket.create("room", bytes([i])) for i in range(8)), return_exceptions=True)
    revisions = [result for result in results if isinstance(result, int)]
    assert len(revisions) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    results = await asyncio.gather(
        *(bucket.update("room", bytes([i]), revisions[0]) for i in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, int) for result in results) == 1
    with pytest.raises(ConflictError):
        await bucket.delete("room", revisions[0])
    current = await bucket.get("room")
    assert current is not None
    await bucket.delete("room", current.revision)
    with pytest.raises(ConflictError):
        await bucket.update("room", b"", current.revision)
    again = await bucket.create("room", b"anew")
    assert again > current.revision, "revisions never come again"


async def test_entries_are_those_that_are_there(state: SharedState) -> None:
    bucket = await state.bucket("rooms")
    assert await bucket.entries() == []
    for index in range(300):
        await bucket.put(f"key-{index}", str(index).encode())
    await bucket.delete("key-7")
    found = {entry.key: entry.value for entry in await bucket.entries()}
    assert found == {f"key-{index}": str(index).encode() for index in range(300) if index != 7}


async def test_what_is_not_written_again_expires(state: SharedState) -> None:
    bucket = await state.bucket("nodes", ttl=1.0)
    await bucket.put("dead", b"")
    for _ in range(8):
        await bucket.put("alive", b"")
        await asyncio.sleep(0.2)  # time itself is tested
    assert [entry.key for entry in await bucket.entries()] == ["alive"]
    assert await bucket.get("dead") is None


async def test_watchers_see_all_that_is_there_and_all_that_changes(state: SharedState) -> None:
    bucket = await state.bucket("rooms")
    await bucket.put("a", b"1")
    await bucket.put("gone", b"1")
    await bucket.delete("gone")
    watching = [Watching(bucket), Watching(bucket)]
    for one in watching:
        await one.until({"a": b"1"})
    await bucket.put("b", b"2")
    await bucket.put("a", b"3")
    for one in watching:
        await one.until({"a": b"3", "b": b"2"})
    await bucket.delete("a")
    for one in watching:
        await one.until({"b": b"2"})
        await one.close()


async def test_listeners_get_what_is_published(state: SharedState) -> None:
    events, other = state.listen("events"), state.listen("other")
    received = [asyncio.ensure_future(anext(events)), asyncio.ensure_future(anext(other))]
    async with asyncio.timeout(10):
        while not received[0].done():
            await state.publish("events", b"hello")
            await asyncio.sleep(0.02)  # it may not listen yet
    assert received[0].result() == b"hello"
    assert not received[1].done()
    received[1].cancel()
    await asyncio.gather(*received, return_exceptions=True)
    await events.aclose()
    await other.aclose()


async def test_an_outage_is_told_at_once_and_what_was_missed_is_seen_after_it() -> None:
    async with NatsServer() as server:
        state, writer = nats(server, "outage"), nats(server, "outage")
        await until_available(state)
        await until_available(writer)
        bucket = await state.bucket("rooms")
        await bucket.put("kept", b"1")
        await bucket.put("deleted", b"1")
        watching = Watching(bucket)
        await watching.until({"kept": b"1", "deleted": b"1"})
        await server.stop()
        async with asyncio.timeout(10):
            while state.available:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)
        begun = asyncio.get_running_loop().time()
        for call in (bucket.get("kept"), bucket.put("kept", b""), bucket.entries(), state.publish("x", b"")):
            with pytest.raises(StateUnavailableError):
                await call
        assert asyncio.get_running_loop().time() - begun < 0.5, "nobody waits for what is away"
        await server.start()
        await until_available(writer)
        other = await writer.bucket("rooms")
        await other.delete("deleted")
        await other.put("new", b"2")
        await watching.until({"kept": b"1", "new": b"2"})
        await until_available(state)
        assert await bucket.get("kept") is not None
        await watching.close()
        await state.close()
        await writer.close()


async def test_it_begins_before_its_server() -> None:
    server = NatsServer()
    state = nats(server)
    with pytest.raises(StateUnavailableError):
        await (await state.bucket("rooms")).get("a")
    async with server:
        await until_available(state)
        assert await (await state.bucket("rooms")).get("a") is None
        await state.close()


async def test_it_can_be_closed_before_there_is_a_server() -> None:
    state = NatsState([f"nats://127.0.0.1:{free_port()}"], name="test")
    await state.close()
    assert not state.available
