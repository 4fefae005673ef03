"""Room events on their way to who watches them."""

import asyncio
from collections.abc import Callable
from typing import Final

from control_plane.errors import LimitExceededError
from control_plane.live_room import LiveRoom
from control_plane.rooms import Participant
from pysfu.v1 import rooms_pb2

MAX_EVENTS: Final = 4_096
Accepts = Callable[["rooms_pb2.RoomEvent.Kind.ValueType", LiveRoom, Participant | None], bool]


class Watcher:
    """Room events of one `WatchEvents` call, a bounded number of them."""

    def __init__(self, room: str, accepts: Accepts | None = None) -> None:
        """`accepts`: which events of the node it is told; None: all."""
        self.room = room
        self._accepts = accepts
        self._queue: asyncio.Queue[rooms_pb2.RoomEvent | None] = asyncio.Queue(MAX_EVENTS)
        self._lost = False

    def accepts(
        self, kind: "rooms_pb2.RoomEvent.Kind.ValueType", live: LiveRoom, participant: Participant | None
    ) -> bool:
        return self.room in ("", live.name) and (self._accepts is None or self._accepts(kind, live, participant))

    def put(self, event: rooms_pb2.RoomEvent | None) -> None:
        """None: there will be no more."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._lost = True

    async def get(self) -> rooms_pb2.RoomEvent | None:
        """The next event; None after the last one. Raises LimitExceededError when some were lost."""
        if self._lost and self._queue.empty():
            raise LimitExceededError("events were lost: the watcher did not keep up")
        return await self._queue.get()
