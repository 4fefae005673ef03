"""A cluster as its users run it: NATS and nodes with certificates, each a process of this machine, each a region."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from control_plane.cluster import certs
from tests.cluster.nats_server import NatsServer
from tests.e2e.harness.ports import free_port
from tests.e2e.harness.server import Server


class Nodes:
    """An async context manager. Who joins at a node's gateway is placed there, as nodes are in regions of their own."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._stack = AsyncExitStack()
        self.nodes: dict[str, Server] = {}

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pysfu-certs-")))
        certs.make(self._names, folder)
        nats = await self._stack.enter_async_context(NatsServer())
        for name in self._names:
            self.nodes[name] = await self._stack.enter_async_context(self._node(name, folder, nats.url))
        await self._known()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def __getitem__(self, name: str) -> Server:
        return self.nodes[name]

    async def pysfu(self, *arguments: str) -> str:
        """What the command says, asked of the last node."""
        asked = self.nodes[self._names[-1]].grpc_address
        command = [sys.executable, "-m", "pysfu", *arguments, "--url", asked, "--dev"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        text = said.decode()
        assert process.returncode == 0, text
        return text

    async def balancer(self) -> str:
        """The WebSocket URL of a load balancer: each connection goes to the first node that takes it."""
        server = await asyncio.start_server(self._balance, "127.0.0.1", 0)
        self._stack.push_async_callback(server.wait_closed)
        self._stack.callback(server.close)
        return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _balance(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for node in self.nodes.values():
            try:
                there = await asyncio.open_connection("127.0.0.1", node.http_port)
            except OSError:
                continue
            ways = [asyncio.create_task(_pump(reader, there[1])), asyncio.create_task(_pump(there[0], writer))]
            await asyncio.wait(ways)
            return
        writer.close()

    def _node(self, name: str, folder: Path, nats: str) -> Server:
        options: Sequence[str] = (
            *("--nats", nats, "--cluster-port", str(free_port()), "--region", name),
            *("--cluster-ca", str(folder / "ca.pem"), "--cluster-cert", str(folder / f"{name}.pem")),
            *("--cluster-key", str(folder / f"{name}.key")),
        )
        return Server(*options, workers=1)

    async def _known(self) -> None:
        async with asyncio.timeout(20):
            while True:
                said = await self.pysfu("node", "list")
                if all(name in said for name in self._names):
                    return


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
