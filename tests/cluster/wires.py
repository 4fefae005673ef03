"""What calls between nodes go through in tests, to be cut there: then nothing passes, and nobody is told."""

import asyncio
import contextlib
import socket
from typing import Any


class Wires:
    """Between all nodes that were laid. `held`: (from, to) of what does not pass."""

    def __init__(self) -> None:
        self.held: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()
        self._addresses: dict[tuple[str, str, str], str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def lay(self, name: str, channels: Any) -> None:
        """From now on a node's calls go through wires."""
        address_of = channels._address_of

        def address(node: str) -> str | None:
            found = address_of(node)
            return found and self._wire(name, node, found)

        channels._address_of = address

    def cut(self, one: str, other: str) -> None:
        """Both ways between two nodes."""
        self.held |= {(one, other), (other, one)}

    def cut_one_way(self, one: str, other: str) -> None:
        """What the first sends to the other."""
        self.held.add((one, other))

    async def mend(self, one: str, other: str) -> None:
        async with self._changed:
            self.held -= {(one, other), (other, one)}
            self._changed.notify_all()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wire(self, caller: str, target: str, address: str) -> str:
        key = (caller, target, address)
        if key not in self._addresses:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            self._addresses[key] = f"127.0.0.1:{listener.getsockname()[1]}"
            self._spawn(self._serve(caller, target, address, listener))
        return self._addresses[key]

    async def _serve(self, caller: str, target: str, address: str, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                accepted, _ = await loop.sock_accept(listener)
                self._spawn(self._join(caller, target, address, accepted))

    async def _join(self, caller: str, target: str, address: str, accepted: socket.socket) -> None:
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        with accepted, socket.socket() as onward, contextlib.suppress(OSError):
            onward.setblocking(False)
            await self._let_through(caller, target)
            await loop.sock_connect(onward, (host, int(port)))
            ways = [
                asyncio.ensure_future(self._pass_on(accepted, onward, caller, target)),
                asyncio.ensure_future(self._pass_on(onward, accepted, target, caller)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(self, source: socket.socket, sink: socket.socket, start: str, end: str) -> None:
        loop = asyncio.get_running_loop()
        while content := await loop.sock_recv(source, 65_536):
            await self._let_through(start, end)
            await loop.sock_sendall(sink, content)

    async def _let_through(self, start: str, end: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: (start, end) not in self.held)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
