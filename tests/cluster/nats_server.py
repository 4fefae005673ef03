"""Debian's nats-server as its users run it, on a free port of the loopback."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.harness.ports import free_port


class NatsServer:
    """An async context manager. `stop` and `start` make an outage; what is stored survives it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="pysfu-nats-")
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._folder.cleanup()

    async def start(self) -> None:
        log = Path(self._folder.name, "log").open("ab")  # noqa: ASYNC230, SIM115
        self._process = await asyncio.create_subprocess_exec(
            *("nats-server", "--addr", "127.0.0.1", "--port", str(self.port)),
            *("--jetstream", "--store_dir", self._folder.name),
            stdout=log,
            stderr=log,
        )
        log.close()
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)  # until the port is open there is nothing to wait on
                else:
                    writer.close()
                    return

    def lose_everything(self) -> None:
        """While it is stopped: what it has stored is gone."""
        shutil.rmtree(Path(self._folder.name, "jetstream"))

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(how)
            await self._process.wait()
