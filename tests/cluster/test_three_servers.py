"""The shared state on three servers, as the chart runs them: one of them may be lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.cluster.nats import NatsState
from control_plane.cluster.state import Bucket, ConflictError, StateUnavailableError
from tests.chart import LEAST, of_kind, render
from tests.e2e.harness.ports import free_port

SERVERS = 3


def chart_config() -> Mapping[str, str]:
    """The Secret of the bundled servers."""
    return dict(of_kind(render(LEAST), "Secret")["sfu-pysfu-nats"]["stringData"])


class Bus:
    """Three servers of the chart's configuration, with this machine's ports and folders in place of the cluster's."""

    def __init__(self, folder: Path) -> None:
        secret = chart_config()
        self._folder = folder
        self._clients = [free_port() for _ in range(SERVERS)]
        self._routes = [free_port() for _ in range(SERVERS)]
        self._text = secret["nats.conf"].replace("http_port: 8222", "")
        for index, port in enumerate(self._routes):
            name = f"sfu-pysfu-nats-{index}.sfu-pysfu-nats:6222"
            assert name in self._text
            self._text = self._text.replace(name, f"127.0.0.1:{port}")
        self.urls = [f"nats://pysfu:{secret['password']}@127.0.0.1:{port}" for port in self._clients]
        self.strangers = [f"nats://pysfu:wrong@127.0.0.1:{port}" for port in self._clients]
        self._processes: list[asyncio.subprocess.Process | None] = [None] * SERVERS

    async def start(self, index: int) -> None:
        folder = self._folder / str(index)
        folder.mkdir(exist_ok=True)
        text = self._text.replace("port: 4222", f"host: 127.0.0.1\nport: {self._clients[index]}", 1)
        text = text.replace("port: 6222", f"host: 127.0.0.1\nport: {self._routes[index]}")
        (folder / "nats.conf").write_text(text.replace("/data", str(folder)))
        with (folder / "log").open("ab") as log:
            self._processes[index] = await asyncio.create_subprocess_exec(
                *("nats-server", "--config", str(folder / "nats.conf")),
                env=os.environ | {"POD_NAME": f"sfu-pysfu-nats-{index}"},
                stdout=log,
                stderr=log,
            )

    async def kill(self, index: int) -> None:
        process = self._processes[index]
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


@pytest_asyncio.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with AsyncExitStack() as stack:
        running = Bus(tmp_path)
        for index in range(SERVERS):
            stack.push_async_callback(running.kill, index)
            await running.start(index)
        yield running


async def written(bucket: Bucket, key: str, value: bytes) -> int:
    """Once it can be: servers elect who leads."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await bucket.put(key, value)
            except StateUnavailableError:
                await asyncio.sleep(0.1)


async def created(bucket: Bucket, key: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await bucket.create(key, b"")
            except ConflictError:
                return  # an attempt whose answer was lost
            except StateUnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


# nats-py leaves the socket of a connection that broke to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_of_three_may_be_lost(bus: Bus) -> None:
    state = NatsState(bus.urls, name="test", replicas=SERVERS)
    try:
        bucket = await state.bucket("rooms")
        revision = await written(bucket, "kept", b"1")
        for lost in range(SERVERS):
            await bus.kill(lost)
            await created(bucket, f"while-{lost}-is-away")
            entry = await bucket.get("kept")
            assert entry is not None
            assert (entry.value, entry.revision) == (b"1", revision)
            await bus.start(lost)
            # It has caught up before the next one goes.
            await written(bucket, "beat", b"")
            async with asyncio.timeout(30):
                while not await _is_whole(state):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.1)
        with pytest.raises(ConflictError):
            await bucket.create("while-0-is-away", b"")
    finally:
        await state.close()


async def _is_whole(state: NatsState) -> bool:
    """Every copy of the bucket is current."""
    try:
        info = await state.ask(lambda: state._client.jetstream().stream_info("KV_pysfu-rooms"))
    except StateUnavailableError:
        return False
    cluster = info.cluster
    return (
        cluster is not None
        and len(cluster.replicas or ()) == SERVERS - 1
        and all(peer.current for peer in cluster.replicas or ())
    )


async def test_nobody_without_the_password_gets_in(bus: Bus) -> None:
    known, stranger = NatsState(bus.urls, name="test", replicas=SERVERS), NatsState(bus.strangers, name="stranger")
    try:
        await written(await known.bucket("rooms"), "secret", b"1")
        assert not stranger.available
        with pytest.raises(StateUnavailableError):
            await (await stranger.bucket("rooms")).get("secret")
    finally:
        await known.close()
        await stranger.close()
