"""Messages on their way to a client: bounded, and already serialised where many get the same."""

import asyncio
from collections import deque
from typing import Final

from pysfu.v1 import signaling_pb2

MAX_MESSAGES: Final = 8_192
MAX_BYTES: Final = 16 * 1024 * 1024


class Outbox:
    """One reader. Full or closed, it takes nothing more; what was put before a close is still delivered."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.closed = False
        self.overflowed = False

    def put(self, message: signaling_pb2.SessionResponse | bytes) -> None:
        """Serialises a message that is not. Overflow closes: the client does not keep up, and may resume."""
        if self.closed:
            return
        data = message if isinstance(message, bytes) else message.SerializeToString()
        if len(self._queue) >= MAX_MESSAGES or self._bytes + len(data) > MAX_BYTES:
            self.overflowed = True
            self.close()
            return
        self._queue.append(data)
        self._bytes += len(data)
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def get(self) -> bytes | None:
        """The next message; None after the last one of a closed outbox."""
        while not self._queue:
            if self.closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        data = self._queue.popleft()
        self._bytes -= len(data)
        return data
