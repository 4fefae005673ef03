"""`SignalingService`: one bidirectional stream per session."""

import asyncio
import contextlib
from typing import Any

import grpc
import structlog

from control_plane.auth import Verifier
from control_plane.cluster.moving.moving import Moving
from control_plane.errors import ControlError, InvalidArgumentError, LimitExceededError
from control_plane.node import Node, StateMismatchError
from control_plane.services.calls import Context, authenticate, refuse
from control_plane.session import Session
from pysfu.v1 import models_pb2, signaling_pb2

log = structlog.get_logger(__name__)

JOIN_TIMEOUT = 10.0
REFUSAL_PATIENCE = 1.0


class SignalingService:
    """Drives sessions. Responses are bytes: what many get is serialised once."""

    def __init__(self, node: Node, verifier: Verifier, moving: Moving | None = None) -> None:
        """`moving`: brings sessions of other nodes here."""
        self._node = node
        self._verifier = verifier
        self._moving = moving

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is to be given."""
        method = grpc.stream_stream_rpc_method_handler(
            self.session,
            request_deserializer=signaling_pb2.SessionRequest.FromString,
            response_serializer=bytes,
        )
        return grpc.method_handlers_generic_handler("pysfu.v1.SignalingService", {"Session": method})

    async def session(self, _: Any, context: Context) -> None:
        """From `join` to `left`, or to the loss of the stream."""
        try:
            session = await self._join(context)
        except StateMismatchError as error:
            left = signaling_pb2.Left(
                reason=models_pb2.DISCONNECT_REASON_STATE_MISMATCH, message=str(error), can_rejoin=True
            )
            await context.write(signaling_pb2.SessionResponse(left=left).SerializeToString())
            return
        except ControlError as error:
            await refuse(context, error)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("join failed")
            await refuse(context, error)
        outbox = session.outbox
        reader = asyncio.ensure_future(self._read(session, context, outbox))
        try:
            while (message := await outbox.get()) is not None:
                await context.write(message)
        finally:
            self._node.detached(session, outbox)
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reader
        if outbox.overflowed:
            await refuse(context, LimitExceededError("the client does not read its messages; resume the session"))

    async def _join(self, context: Context) -> Session:
        try:
            token = authenticate(context, self._verifier)
        except ControlError:
            # A client whose write meets a call that has ended reports that, not our reason: take its first message.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(context.read(), REFUSAL_PATIENCE)
            raise
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                first = await context.read()
        except TimeoutError:
            raise InvalidArgumentError(f"no join within {JOIN_TIMEOUT:.0f} s") from None
        if not isinstance(first, signaling_pb2.SessionRequest) or not first.HasField("join"):
            raise InvalidArgumentError("the first request must be `join`")
        await self._node.hold_to_join(token, first.join)
        if self._moving is not None:
            await self._moving.take(token, first.join)
        async with self._node.seat(token, first.join) as seated:
            return self._node.join(token, first.join, first.request_id, seated=seated)

    async def _read(self, session: Session, context: Context, outbox: object) -> None:
        """Feeds requests until the client half-closes; then the stream counts as lost."""
        try:
            while True:
                request = await context.read()
                if request is grpc.aio.EOF or session.outbox is not outbox:
                    break
                session.handle(request)
        finally:
            self._node.detached(session, outbox)
