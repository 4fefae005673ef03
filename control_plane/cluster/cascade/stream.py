"""The stream between two nodes: who speaks first, what goes when, and when it counts as broken. Alike at both ends."""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

import grpc

from pysfu.v1 import cascade_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

PROTOCOL: Final = 1
OLDEST_PROTOCOL: Final = 1
# Seconds. Shorter finds what is broken sooner and costs more messages.
PING: Final = 0.25
# Pings without a word from the other end. Ticks of this loop, not time: who stood still itself breaks nothing.
SILENT_PINGS: Final = 3
# The same while media comes from there: TCP stands still for a second on long paths with losses, and the node lives.
PATIENT_PINGS: Final = 12
HELLO_TIMEOUT: Final = 5.0
SILENT: Final = "silent"


class Pipe(Protocol):
    """Either end of a gRPC stream."""

    async def read(self) -> Any:
        """A `CascadeMessage`, or `grpc.aio.EOF`."""

    async def write(self, message: Any) -> None:
        """Serialised messages. Returns when there is room for more."""


class StreamUser(Protocol):
    """Who speaks at this end."""

    def hello(self) -> cascade_pb2.CascadeHello: ...
    def opened(self, hello: cascade_pb2.CascadeHello) -> None:
        """The other end has said hello, too. Raises ControlError when there is nothing to talk about."""

    def received(self, message: CascadeMessage) -> None: ...
    @property
    def is_heard_otherwise(self) -> bool:
        """The other end is known to live."""

    def data_received(self) -> int:
        """What a pong is to confirm."""

    def data_confirmed(self, number: int) -> None:
        """What a pong confirms."""

    def next_message(self) -> bytes | None:
        """What is to be said next, serialised; None while there is nothing, until `Stream.wake`."""


class Stream:
    """One stream, from hello until it breaks."""

    def __init__(self, pipe: Pipe, user: StreamUser, patience: float = HELLO_TIMEOUT) -> None:
        """`patience`: seconds for the other end to say hello."""
        self.round_trip: float | None = None
        """In seconds, smoothed."""
        self._pipe = pipe
        self._user = user
        self._patience = patience
        self._first: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._heard = True
        self._pings: dict[int, float] = {}
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[str] = self._loop.create_future()

    def wake(self) -> None:
        """There is something to say."""
        self._wake.set()

    def close(self, reason: str) -> None:
        if not self._closing.done():
            self._closing.set_result(reason)

    async def run(self) -> str:
        """Speaks until it breaks; returns why it did."""
        greeting = asyncio.ensure_future(self._greet())
        try:
            await asyncio.wait({greeting, self._closing}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            if not greeting.done():
                return self._closing.result() if self._closing.done() else "no hello"
            first = greeting.result()
        finally:
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)
        if not isinstance(first, CascadeMessage) or not first.HasField("hello"):
            return "the other end does not begin with hello"
        if not spoken_by_both(first.hello):
            return f"it speaks protocols {first.hello.oldest_protocol} to {first.hello.newest_protocol} alone"
        self._user.opened(first.hello)
        parts = [asyncio.ensure_future(part) for part in (self._read(), self._write(), self._tick())]
        waiting: set[asyncio.Future[str]] = {*parts, self._closing}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _greet(self) -> Any:
        await self._pipe.write(CascadeMessage(hello=self._user.hello()).SerializeToString())
        return await self._pipe.read()

    async def _read(self) -> str:
        while True:
            message = await self._pipe.read()
            if not isinstance(message, CascadeMessage):
                return "closed by the other end" if message is grpc.aio.EOF else "no message"
            self._heard = True
            kind = message.WhichOneof("message")
            if kind == "ping":
                pong = cascade_pb2.CascadePong(number=message.ping.number, data_received=self._user.data_received())
                self._say_first(CascadeMessage(pong=pong))
            elif kind == "pong":
                self._on_pong(message.pong.number)
                self._user.data_confirmed(message.pong.data_received)
            elif kind is not None:
                self._user.received(message)

    async def _write(self) -> str:
        while True:
            self._wake.clear()
            message = self._first.popleft() if self._first else self._user.next_message()
            if message is None:
                await self._wake.wait()
            else:
                await self._pipe.write(message)

    async def _tick(self) -> str:
        silent = number = 0
        while silent < (PATIENT_PINGS if self._user.is_heard_otherwise else SILENT_PINGS):
            number += 1
            self._pings = {number: self._loop.time()}
            self._say_first(CascadeMessage(ping=cascade_pb2.CascadePing(number=number)))
            await asyncio.sleep(PING)
            silent = 0 if self._heard else silent + 1
            self._heard = False
        return SILENT

    def _say_first(self, message: CascadeMessage) -> None:
        # Who writes nothing is not asked anything new, so that these few are bounded.
        if len(self._first) < 2 * SILENT_PINGS:
            self._first.append(message.SerializeToString())
        self.wake()

    def _on_pong(self, number: int) -> None:
        sent = self._pings.pop(number, None)
        if sent is not None:
            now = self._loop.time() - sent
            self.round_trip = now if self.round_trip is None else 0.875 * self.round_trip + 0.125 * now


def spoken_by_both(hello: cascade_pb2.CascadeHello) -> bool:
    return hello.oldest_protocol <= PROTOCOL and hello.newest_protocol >= OLDEST_PROTOCOL
