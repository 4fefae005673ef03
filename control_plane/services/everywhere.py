"""What is asked of all nodes at once: the rooms that there are, and what happens in them.

Each tells what it alone is to tell, so that nothing comes twice: of a room its owner, of participants their node. Where
an owner does not answer, the others that hold its rooms are believed.
"""

import asyncio
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

# A node that does not answer is left out; a suspected one sooner.
TIMEOUT: Final = 3.0
TIMEOUT_OF_SUSPECTED: Final = 1.0
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
) -> rooms_pb2.ListRoomsResponse:
    """`here`: those of this node."""
    known = [rooms_pb2.HeldRoom(room=room, owner=_owner(cluster, room.name)) for room in here]
    own = [item.room for item in known if item.owner == cluster.id]
    if hops(context):
        return rooms_pb2.ListRoomsResponse(rooms=own, held=[item for item in known if item.owner != cluster.id])
    answers = await _rooms_of_others(cluster, context, request)
    found = {
        item.room.name: item.room
        for answer in answers.values()
        for item in answer.held
        if item.owner not in answers and item.owner != cluster.id
    }
    # Of rooms whose owner has just died this node knows as much.
    found |= {item.room.name: item.room for item in known}
    found |= {room.name: room for answer in answers.values() for room in answer.rooms}
    found |= {room.name: room for room in own}
    return rooms_pb2.ListRoomsResponse(rooms=[found[name] for name in sorted(found)])


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
        return _owner(cluster, live.name) == cluster.id and cluster.registry.node(home) is None

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


async def _rooms_of_others(
    cluster: Cluster, context: Context, request: rooms_pb2.ListRoomsRequest
) -> dict[str, rooms_pb2.ListRoomsResponse]:
    """By node, of those that answer."""
    metadata = passed_on(context)

    async def ask(node: str) -> rooms_pb2.ListRoomsResponse:
        stub: Any = rooms_pb2_grpc.RoomServiceStub(cluster.channel(node))
        answer: rooms_pb2.ListRoomsResponse = await stub.ListRooms(request, metadata=metadata, timeout=TIMEOUT)
        return answer

    others = [info.id for info in cluster.registry.nodes() if info.id != cluster.id and info.fits]
    asked = {asyncio.ensure_future(ask(node)): node for node in others}
    waiting = set(asked)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        while waiting:
            doubtful = all(cluster.registry.is_suspected(asked[task]) for task in waiting)
            left = begun + (TIMEOUT_OF_SUSPECTED if doubtful else TIMEOUT) - loop.time()
            if left <= 0:
                break
            _, waiting = await asyncio.wait(waiting, timeout=min(left, LOOK), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    answers = {node: task.result() for task, node in asked.items() if not task.cancelled() and task.exception() is None}
    if silent := sorted(set(others) - set(answers)):
        log.warning("rooms are listed without the word of nodes that do not answer", nodes=silent)
    return answers


def _owner(cluster: Cluster, room: str) -> str:
    """Empty while that is not known."""
    record = cluster.directory.record(room)
    return record.owner if record is not None else ""
