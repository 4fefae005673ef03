"""`MovingService`: other nodes call. Who they are is what their certificates say."""

from collections.abc import Callable
from typing import Any, Final

from control_plane.cluster.moving.moving import Moving
from control_plane.errors import FailedPreconditionError
from control_plane.rooms import check_room_name
from control_plane.services.calls import Context, unary
from pysfu.v1 import moving_pb2, moving_pb2_grpc

# What a caller must read at least.
OLDEST_FORMAT: Final = 1


class MovingService(moving_pb2_grpc.MovingServiceServicer):
    """`caller`: id of the node at the other end of a call. Raises UnauthenticatedError."""

    def __init__(self, moving: Moving, caller: Callable[[Any], str]) -> None:
        self._moving = moving
        self._caller = caller

    @unary
    async def Prepare(self, request: moving_pb2.PrepareMove, context: Context) -> moving_pb2.Prepared:
        self._caller(context)
        check_room_name(request.room)
        return await self._moving.prepare(request)

    @unary
    async def Take(self, request: moving_pb2.TakeSession, context: Context) -> moving_pb2.SessionState:
        node = self._caller(context)
        check_room_name(request.room)
        if request.format < OLDEST_FORMAT:
            raise FailedPreconditionError(f"node {node!r} reads no format that this node writes")
        return self._moving.give(node, request)

    @unary
    async def Keep(self, request: moving_pb2.KeepSessions, context: Context) -> moving_pb2.SessionsKept:
        return self._moving.kept.keep(self._caller(context), request)
