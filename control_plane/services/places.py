"""Rooms of the whole cluster and the nodes that host them."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from control_plane.cluster.cluster import Cluster
from control_plane.cluster.records import RoomRecord
from control_plane.errors import UnavailableError
from control_plane.node import Node
from pysfu.v1 import allocation_pb2

USUAL_PLACES: Final = 1_000
MAX_PLACES: Final = 10_000
# Seconds. The whole bucket is read for an answer: longer spares the bus, shorter shows new rooms sooner.
KEPT: Final = 2.0


class RoomPlaces:
    """Asks the shared state once for all who ask at about the same time."""

    def __init__(self, node: Node, cluster: Cluster | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._cluster = cluster
        self._clock = clock
        self._read_at: float | None = None
        self._records: list[RoomRecord] = []
        self._partial = False
        self._reading = asyncio.Lock()

    async def answer(self, limit: int) -> allocation_pb2.ListRoomPlacesResponse:
        """`limit` rooms at most, by name."""
        if self._cluster is None:
            names = sorted((live.name, live.room.info.id) for live in self._node.rooms())
            rooms = [
                allocation_pb2.RoomPlace(room=name, room_id=id, owner=self._node.id, epoch=1, nodes=[self._node.id])
                for name, id in names[:limit]
            ]
            return allocation_pb2.ListRoomPlacesResponse(rooms=rooms, total=len(names))
        async with self._reading:
            if self._read_at is None or self._clock() - self._read_at > KEPT:
                await self._read(self._cluster)
        return allocation_pb2.ListRoomPlacesResponse(
            rooms=[place_of(record) for record in self._records[:limit]],
            total=len(self._records),
            partial=self._partial,
        )

    async def _read(self, cluster: Cluster) -> None:
        try:
            found, self._partial = await cluster.directory.all(), False
        except UnavailableError:
            found, self._partial = cluster.directory.records(), True
        self._records = sorted((record for record in found if not record.ended), key=lambda record: record.name)
        self._read_at = self._clock()


def place_of(record: RoomRecord) -> allocation_pb2.RoomPlace:
    return allocation_pb2.RoomPlace(
        room=record.name, room_id=record.id, owner=record.owner, epoch=record.epoch, nodes=record.holders
    )
