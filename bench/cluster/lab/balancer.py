"""A load balancer in a place of the lab: one address for all gateways, as those need who know one only."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from bench.cluster.lab.nodes import HTTP_PORT, Node
from bench.cluster.lab.world import Lab, clients_of

CONNECT_SECONDS = 1.0
CHUNK = 65_536


class Balancer:
    """Each connection goes to the first node that takes it. An async context manager."""

    def __init__(self, lab: Lab, place: str, nodes: Sequence[Node]) -> None:
        """`place`: a region that has clients. `nodes`: the nearest first."""
        address, self._namespace = lab.places[clients_of(place)]
        self._address = (address, HTTP_PORT)
        self._nodes = [(urlsplit(node.http).hostname, HTTP_PORT) for node in nodes]
        self.ws = f"ws://{address}:{HTTP_PORT}"
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = self._socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._address)
        self._server = await asyncio.start_server(self._serve, sock=listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there = await self._reach()
            if there is not None:
                await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        finally:
            writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for node in self._nodes:
            made = self._socket()
            made.setblocking(False)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(made, node), CONNECT_SECONDS)
            except OSError:
                made.close()
                continue
            return await asyncio.open_connection(sock=made)
        return None

    def _socket(self) -> socket.socket:
        def make() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

        return self._namespace.run(make) if self._namespace is not None else make()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
