"""What is asked of all nodes at once: the rooms that there are, and what happens in them.

Each tells what it alone is to tell, so that nothing comes twice: of a room its owner, of participants their node.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import grpc
import structlog

from control_plane.cluster.cluster import Cluster
from control_plane.errors import LimitExceededError
from control_plane.live_room import LiveRoom
from control_plane.rooms import Participant
from control_plane.services.calls import Context
from control_plane.services.relay import hops, passed_on
from control_plane.watcher import Accepts, Watcher
from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc

log = structlog.get_logger(__name__)

# A node that does not answer is left out.
TIMEOUT: Final = 3.0
# How soon a node that came, or came back, is listened to.
LOOK: Final = 0.5
WAITING: Final = 4_096

_ROOM_KINDS: Final = frozenset(
    {
        rooms_pb2.RoomEvent.KIND_ROOM_STARTED,
        rooms_pb2.RoomEvent.KIND_ROOM_UPDATED,
        rooms_pb2.RoomEvent.KIND_ROOM_ENDED,
    }
)


async def rooms_everywhere(
    cluster: Cluster, context: Context, request: rooms_pb2.ListRoomsRequest, here: Iterable[models_pb2.Room]
) -> list[models_pb2.Room]:
    """`here`: those of this node. Asked by another node: the ones that this node owns."""
    own = [room for room in here if _owns(cluster, room.name)]
    if hops(context):
        return own
    others = [info.id for info in cluster.registry.nodes() if info.id != cluster.id and info.fits]
    answers = await asyncio.gather(*(_rooms_of(cluster, node, context, request) for node in others))
    found = {room.name: room for answer in answers for room in answer}
    found |= {room.name: room for room in own}
    # Of rooms whose owner has just died this node knows as much.
    found = {room.name: room for room in here} | found
    return [found[name] for name in sorted(found)]


def is_told_here(cluster: Cluster) -> Accepts:
    """Which of a node's events it tells, of those that several nodes see."""

    def accepts(kind: "rooms_pb2.RoomEvent.Kind.ValueType", live: LiveRoom, participant: Participant | None) -> bool:
        if kind in _ROOM_KINDS:
            record = cluster.directory.record(live.name)
            if record is None or record.owner != cluster.id or record.ended:
                return False
            # Else it began elsewhere, or goes on there.
            return kind == rooms_pb2.RoomEvent.KIND_ROOM_UPDATED or len(record.holders) == 1 or live.room.finished
        if participant is None or participant.session is not None:
            return True
        home = str(getattr(participant.home, "node", ""))
        return _owns(cluster, live.name) and cluster.registry.node(home) is None

    return accepts


async def events_everywhere(
    cluster: Cluster, context: Context, request: rooms_pb2.WatchEventsRequest, watcher: Watcher
) -> AsyncIterator[rooms_pb2.RoomEvent]:
    """Of this node, by its watcher, and of all others for as long as they are there. Raises LimitExceededError."""
    events: asyncio.Queue[rooms_pb2.RoomEvent | None] = asyncio.Queue(WAITING)
    lost = asyncio.Event()

    def put(event: rooms_pb2.RoomEvent | None) -> None:
        try:
            events.put_nowait(event)
        except asyncio.QueueFull:
            lost.set()

    tasks = [
        asyncio.create_task(_own_events(watcher, put)),
        asyncio.create_task(_others_events(cluster, context, request, put)),
    ]
    try:
        while (event := await events.get()) is not None:
            yield event
            if lost.is_set() and events.empty():
                raise LimitExceededError("events were lost: the watcher did not keep up")
        await asyncio.gather(tasks[0])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _own_events(watcher: Watcher, put: Callable[[rooms_pb2.RoomEvent | None], None]) -> None:
    try:
        while (event := await watcher.get()) is not None:
            put(event)
    finally:
        put(None)


async def _others_events(
    cluster: Cluster,
    context: Context,
    request: rooms_pb2.WatchEventsRequest,
    put: Callable[[rooms_pb2.RoomEvent | None], None],
) -> None:
    metadata = passed_on(context)
    following: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            there = {info.id for info in cluster.registry.nodes() if info.id != cluster.id and info.fits}
            for node in there:
                if node not in following or following[node].done():
                    following[node] = asyncio.create_task(_follow(cluster, node, metadata, request, put))
            await asyncio.sleep(LOOK)
    finally:
        for task in following.values():
            task.cancel()
        await asyncio.gather(*following.values(), return_exceptions=True)


async def _follow(
    cluster: Cluster,
    node: str,
    metadata: tuple[tuple[str, str], ...],
    request: rooms_pb2.WatchEventsRequest,
    put: Callable[[rooms_pb2.RoomEvent | None], None],
) -> None:
    stub: Any = rooms_pb2_grpc.RoomServiceStub(cluster.channel(node))
    try:
        async for event in stub.WatchEvents(request, metadata=metadata):
            put(event)
    except grpc.aio.AioRpcError as error:
        log.info("events of a node are not heard", node=node, reason=error.details())


async def _rooms_of(
    cluster: Cluster, node: str, context: Context, request: rooms_pb2.ListRoomsRequest
) -> list[models_pb2.Room]:
    with contextlib.suppress(Exception):
        stub: Any = rooms_pb2_grpc.RoomServiceStub(cluster.channel(node))
        answer = await stub.ListRooms(request, metadata=passed_on(context), timeout=TIMEOUT)
        return list(answer.rooms)
    log.warning("rooms of a node are not listed: it does not answer", node=node)
    return []


def _owns(cluster: Cluster, room: str) -> bool:
    record = cluster.directory.record(room)
    return record is not None and record.owner == cluster.id
