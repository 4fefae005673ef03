"""Reliable data messages to one other node, and from it: in order, each once, also when the stream begins anew.

The sender counts them and keeps what the receiver has not confirmed; a new stream goes on after the last that arrived.
A node of a former release confirms nothing: what was on its way when a stream broke may be lost then.
"""

from collections import deque
from typing import Final

from control_plane import splice
from pysfu.v1 import cascade_pb2

# What has not been sent yet, and what has not been confirmed yet. More rides out longer breaks, for memory per node.
MAX_WAITING: Final = 4_096
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
MAX_SENT: Final = 16_384
MAX_SENT_BYTES: Final = 16 * 1024 * 1024


class _Line:
    """Messages in order, and how many octets they are."""

    def __init__(self) -> None:
        self.all: deque[tuple[int, bytes]] = deque()
        self.size = 0

    def append(self, number: int, content: bytes) -> None:
        self.all.append((number, content))
        self.size += len(content)

    def take(self) -> tuple[int, bytes]:
        number, content = self.all.popleft()
        self.size -= len(content)
        return number, content

    def clear(self) -> None:
        self.all.clear()
        self.size = 0


class Deliveries:
    """Kept as long as this process knows of the other node, whatever becomes of the streams."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the last that came from there; 0: none so far."""
        self._number = 0
        self._waiting = _Line()
        self._sent = _Line()
        self._confirms = False
        self._incarnation: int | None = None

    def put(self, message: bytes) -> bool:
        """A serialised `CascadeMessage` with `data`. False when too much waits: it is not sent."""
        size = len(message)
        if len(self._waiting.all) >= MAX_WAITING or self._waiting.size + size > MAX_WAITING_BYTES:
            return False
        self._number += 1
        self._waiting.append(self._number, message)
        return True

    def next_message(self) -> bytes | None:
        """With its number; None while there is nothing to send."""
        if not self._waiting.all:
            return None
        number, message = self._waiting.take()
        if self._confirms:
            self._sent.append(number, message)
            while len(self._sent.all) > MAX_SENT or self._sent.size > MAX_SENT_BYTES:
                self._sent.take()
        return message + _numbered(number)

    def opened(self, hello: cascade_pb2.CascadeHello) -> None:
        """A stream begins. What did not arrive is sent again."""
        if hello.incarnation != self._incarnation:
            if self._incarnation is not None:
                self._sent.clear()
            self._incarnation, self.received = hello.incarnation, 0
        self._confirms = hello.HasField("data_received")
        self.confirmed(hello.data_received if self._confirms else self._number)
        while self._sent.all:
            number, content = self._sent.all.pop()
            self._waiting.all.appendleft((number, content))
            self._waiting.size += len(content)
        self._sent.clear()

    def confirmed(self, number: int) -> None:
        """All up to that one have arrived."""
        while self._sent.all and self._sent.all[0][0] <= number:
            self._sent.take()

    def is_new(self, number: int) -> bool:
        """A message that came with that number has not come before. 0: it is of a release that does not count."""
        if number and number <= self.received:
            return False
        self.received = number or self.received
        return True

    def forget(self) -> None:
        """The other node is gone, or not needed any more."""
        self._waiting.clear()
        self._sent.clear()


def _numbered(number: int) -> bytes:
    """Parsers merge a message field that comes twice (Protocol Buffers encoding, "Last One Wins")."""
    return splice.field(
        cascade_pb2.CascadeMessage.DATA_FIELD_NUMBER, cascade_pb2.RemoteData(number=number).SerializeToString()
    )
