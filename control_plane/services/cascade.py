"""`CascadeService`: other nodes call. Who they are is what their certificates say."""

from collections.abc import Callable
from typing import Any, Final

import grpc

from control_plane.cluster.cascade.cascade import Cascade
from control_plane.errors import ControlError, PermissionDeniedError
from control_plane.services.calls import Context, refuse, unary
from control_plane.services.through import carried_by
from pysfu.v1 import cascade_pb2

SERVICE: Final = "pysfu.v1.CascadeService"


class CascadeService:
    """`caller`: id of the node at the other end of a call. Raises UnauthenticatedError."""

    def __init__(self, cascade: Cascade, caller: Callable[[Any], str]) -> None:
        self._cascade = cascade
        self._caller = caller

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is to be given. What is said is serialised once for all who are told."""
        connect = grpc.stream_stream_rpc_method_handler(
            self.connect,
            request_deserializer=cascade_pb2.CascadeMessage.FromString,
            response_serializer=bytes,
        )
        invite = grpc.unary_unary_rpc_method_handler(
            self.invite,
            request_deserializer=cascade_pb2.CascadeInvitation.FromString,
            response_serializer=cascade_pb2.CascadeInvited.SerializeToString,
        )
        reach = grpc.unary_unary_rpc_method_handler(
            self.reach,
            request_deserializer=cascade_pb2.CascadeReach.FromString,
            response_serializer=cascade_pb2.CascadeReached.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Connect": connect, "Invite": invite, "Reach": reach})

    async def connect(self, _: Any, context: Context) -> None:
        """Until it breaks."""
        try:
            node = self._caller(context)
            if node >= self._cascade.node.id:
                raise PermissionDeniedError(f"of two nodes the one with the lesser id calls, and that is not {node!r}")
        except ControlError as error:
            await refuse(context, error)
        await self._cascade.peer(node).accept(context, carried_by(context))

    @unary
    async def invite(self, _: cascade_pb2.CascadeInvitation, context: Context) -> cascade_pb2.CascadeInvited:
        node = self._caller(context)
        if node <= self._cascade.node.id:
            raise PermissionDeniedError(f"{node!r} has the lesser id, or the same: it is to call")
        self._cascade.peer(node).invited()
        return cascade_pb2.CascadeInvited()

    @unary
    async def reach(self, _: cascade_pb2.CascadeReach, context: Context) -> cascade_pb2.CascadeReached:
        self._caller(context)
        return cascade_pb2.CascadeReached()
