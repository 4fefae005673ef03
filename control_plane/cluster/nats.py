"""Shared state in NATS JetStream: buckets are its key-value stores, subjects its own."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeVar

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.kv import KV_DEL, KV_PURGE, KeyValue

from control_plane.cluster.state import Bucket, Change, ConflictError, Entry, SharedState, StateUnavailableError
from control_plane.cluster.tasks import end

log = structlog.get_logger(__name__)

# Longer rides out a slow server, shorter tells sooner that it is away. Seconds, as all here.
TIMEOUT: Final = 2.0
# Between attempts to connect: longer spares a server that comes back to a large cluster.
RECONNECT_WAIT: Final = 0.5
# Two unanswered pings end a connection.
PING_INTERVAL: Final = 2
MAX_WAITING: Final = 1_024
# How often a watcher looks whether its connection is still the same.
CHECK_INTERVAL: Final = 0.5
# A deleted key leaves a mark behind. After so many the old ones are swept.
SWEEP_AFTER: Final = 100
MARKS_LAST: Final = 1_800

T = TypeVar("T")


class NatsState(SharedState):
    """Connects by itself, for as long as it is open, again and again."""

    def __init__(
        self, servers: list[str], *, name: str, prefix: str = "pysfu", replicas: int = 1, credentials: str = ""
    ) -> None:
        """`servers`: nats:// or tls:// addresses. `replicas`: copies of each bucket. `credentials`: a file of NATS."""
        self._client = Client()
        self._prefix = prefix
        self._replicas = replicas
        self._connected = asyncio.Event()
        self._generation = 0
        self._connecting = asyncio.create_task(self._connect(servers, name, credentials))

    @property
    def available(self) -> bool:
        return bool(self._client.is_connected)

    async def bucket(self, name: str, ttl: float | None = None) -> Bucket:
        return NatsBucket(self, f"{self._prefix}-{name}", ttl)

    async def publish(self, subject: str, payload: bytes) -> None:
        await self.ask(lambda: self._client.publish(f"{self._prefix}.{subject}", payload))

    async def listen(self, subject: str) -> AsyncGenerator[bytes, None]:
        await self._connected.wait()
        # The client subscribes again by itself after an outage.
        subscription = await self._client.subscribe(f"{self._prefix}.{subject}", pending_msgs_limit=MAX_WAITING)
        try:
            async for message in subscription.messages:
                yield message.data
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()

    async def close(self) -> None:
        await end([self._connecting])
        if self._generation:
            await self._client.close()

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Raises StateUnavailableError instead of waiting for a connection."""
        if not self._client.is_connected:
            raise StateUnavailableError("not connected to NATS")
        try:
            async with asyncio.timeout(TIMEOUT):
                return await call()
        except nats.js.errors.KeyWrongLastSequenceError as error:
            raise ConflictError(str(error)) from error
        except (nats.js.errors.KeyNotFoundError, nats.js.errors.NoKeysError):
            raise
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise StateUnavailableError(f"NATS: {error or type(error).__name__}") from error

    async def key_value(self, name: str, ttl: float | None) -> KeyValue:
        """The bucket, made when it is not there."""
        stream = self._client.jetstream(timeout=TIMEOUT)
        try:
            return await stream.key_value(name)
        except nats.js.errors.BucketNotFoundError:
            config = KeyValueConfig(bucket=name, ttl=ttl, replicas=self._replicas)
            return await stream.create_key_value(config)

    @property
    def generation(self) -> int:
        """Grows with each connection; 0 before the first."""
        return self._generation if self._client.is_connected else 0

    async def connection(self) -> int:
        """The generation, once there is a connection."""
        while not self.generation:
            await self._connected.wait()
            await asyncio.sleep(0)
        return self.generation

    async def _connect(self, servers: list[str], name: str, credentials: str) -> None:
        options: dict[str, Any] = {"user_credentials": credentials} if credentials else {}
        await self._client.connect(
            servers,
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type]  # fractions are taken
            connect_timeout=TIMEOUT,  # type: ignore[arg-type]
            ping_interval=PING_INTERVAL,
            max_outstanding_pings=2,
            reconnected_cb=self._on_connected,
            disconnected_cb=self._on_disconnected,
            error_cb=self._on_error,
            **options,
        )
        await self._on_connected()

    async def _on_connected(self) -> None:
        self._generation += 1
        self._connected.set()
        log.info("shared state is there", server=getattr(self._client.connected_url, "netloc", ""))

    async def _on_disconnected(self) -> None:
        if not self._client.is_closed:
            self._connected.clear()
            log.warning("shared state is away")

    async def _on_error(self, error: Exception) -> None:
        log.debug("shared state", error=str(error) or type(error).__name__)


class NatsBucket(Bucket):
    """A key-value store, opened at its first use of each connection: a server that has lost it makes it anew."""

    def __init__(self, state: NatsState, name: str, ttl: float | None) -> None:
        self._state = state
        self._name = name
        self._ttl = ttl
        self._opened: tuple[int, KeyValue] | None = None
        self._marks = 0

    async def get(self, key: str) -> Entry | None:
        async def get() -> Entry | None:
            try:
                return _entry(await (await self._store()).get(key))
            except nats.js.errors.KeyNotFoundError:
                return None

        return await self._state.ask(get)

    async def put(self, key: str, value: bytes) -> int:
        async def put() -> int:
            return await (await self._store()).put(key, value)

        return await self._state.ask(put)

    async def create(self, key: str, value: bytes) -> int:
        async def create() -> int:
            return await (await self._store()).create(key, value)

        return await self._state.ask(create)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        async def update() -> int:
            return await (await self._store()).update(key, value, last=revision)

        return await self._state.ask(update)

    async def delete(self, key: str, revision: int | None = None) -> None:
        async def delete() -> None:
            store = await self._store()
            try:
                found = await store.get(key)
            except nats.js.errors.KeyNotFoundError:
                return
            if revision is not None and found.revision != revision:
                raise nats.js.errors.KeyWrongLastSequenceError
            try:
                await store.delete(key, last=found.revision if revision is None else revision)
            except nats.js.errors.APIError as error:
                raise nats.js.errors.KeyWrongLastSequenceError from error
            self._marks += 1
            if self._marks >= SWEEP_AFTER:
                self._marks = 0
                await store.purge_deletes(olderthan=MARKS_LAST)

        await self._state.ask(delete)

    async def entries(self) -> list[Entry]:
        async def entries() -> list[Entry]:
            watcher = await (await self._store()).watchall(ignore_deletes=True)
            try:
                found = []
                while (entry := await watcher.updates(TIMEOUT)) is not None:
                    found.append(_entry(entry))
                return found
            finally:
                await watcher.stop()

        return await self._state.ask(entries)

    async def watch(self) -> AsyncGenerator[Change, None]:
        known: set[str] = set()
        while True:
            generation = await self._state.connection()
            try:
                watcher = await self._state.ask(self._watcher)
            except StateUnavailableError:
                await asyncio.sleep(RECONNECT_WAIT)
                continue
            there: set[str] | None = set()
            try:
                while self._state.generation == generation:
                    try:
                        entry = await watcher.updates(CHECK_INTERVAL)
                    except TimeoutError:
                        continue
                    if entry is None:
                        # Everything has been told. What is not there any more went while nobody listened.
                        for key in known - (there or set()):
                            yield Change(key, None)
                        known, there = there or set(), None
                        continue
                    gone = entry.operation in (KV_DEL, KV_PURGE)
                    current = known if there is None else there
                    (current.discard if gone else current.add)(entry.key)
                    yield Change(entry.key, None if gone else entry.value or b"")
                known |= there or set()
            finally:
                await _stop(watcher)

    async def _store(self) -> KeyValue:
        generation = self._state.generation
        if self._opened is None or self._opened[0] != generation:
            self._opened = generation, await self._state.key_value(self._name, self._ttl)
        return self._opened[1]

    async def _watcher(self) -> KeyValue.KeyWatcher:
        return await (await self._store()).watchall()


def _entry(found: KeyValue.Entry) -> Entry:
    return Entry(found.key, found.value or b"", found.revision or 0)


async def _stop(watcher: KeyValue.KeyWatcher) -> None:
    try:
        await watcher.stop()
    except (nats.errors.Error, OSError) as error:
        log.debug("a watcher ended with its connection", error=str(error))
