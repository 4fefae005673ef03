"""`ThroughService`: calls between two other nodes are passed on, and those that come so are taken.

Bounded like any call: one message waits in each direction, and who does not read is not read from.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import grpc
import structlog

from control_plane.cluster.certs import name_of
from control_plane.cluster.tasks import is_cancelled
from control_plane.cluster.through import FOR, SERVICE, TO, straight
from control_plane.errors import (
    ControlError,
    InvalidArgumentError,
    LimitExceededError,
    PermissionDeniedError,
    UnavailableError,
)
from control_plane.services.calls import Context, refuse
from control_plane.services.handlers import find_handler

log = structlog.get_logger(__name__)

SERVICES: Final = frozenset({"Cascade", "Signaling", "Room", "Allocation", "Moving"})
# Calls of others that are passed on at a time. More serves larger cuts; each costs two streams.
MAX_CALLS: Final = 4_096
_TRAILING: Final = frozenset({"retry-after", "grpc-status-details-bin"})


class CarriedContext:
    """Of a call that came through a third node: who calls is whom that node names."""

    def __init__(self, context: Context, origin: str, third: str) -> None:
        self.carried_by = third
        self._context = context
        self._names: dict[str, tuple[bytes, ...]] = {"x509_subject_alternative_name": (name_of(origin).encode(),)}

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return self._names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def carried_by(context: Any) -> str | None:
    """The third node through which a call came; None for one that came straight."""
    return getattr(context, "carried_by", None)


class Handlers:
    """As a server to which services are added: puts them there, and remembers `all`."""

    def __init__(self, server: Any) -> None:
        self.all: list[grpc.GenericRpcHandler] = []
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self.all.extend(handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class ThroughService:
    """Of node `here`. `caller`: id of the node at the other end of a call. `channel`: straight to a node; raises
    UnavailableError when it is not known or cannot be reached. `nodes`: ids of all that are there."""

    def __init__(
        self,
        here: str,
        caller: Callable[[Any], str],
        channel: Callable[[str], grpc.aio.Channel],
        nodes: Callable[[], Collection[str]],
    ) -> None:
        self.calls = 0
        """Of others, that are passed on now."""
        self.passed_on = 0
        """So far."""
        self._here = here
        self._caller = caller
        self._channel = channel
        self._nodes = nodes

    def handler(self, own: Sequence[grpc.GenericRpcHandler]) -> grpc.GenericRpcHandler:
        """`own`: those of the calls that this node takes."""
        return _Handler(self, own)

    async def carry(self, method: str, context: Context) -> None:
        """Between the node that calls and the one that it names."""
        try:
            call = self._onward(method, context)
        except ControlError as error:
            await refuse(context, error)
        self.calls += 1
        self.passed_on += 1
        upwards = asyncio.ensure_future(_upwards(context, call))
        try:
            try:
                while (message := await call.read()) is not grpc.aio.EOF:
                    await context.write(message)
            except grpc.aio.AioRpcError:
                pass  # The caller is told the same.
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                await refuse(context, UnavailableError("the target is not known here any more"))
            code, details = await call.code(), await call.details()
            kept = tuple((key, value) for key, value in await call.trailing_metadata() or () if key in _TRAILING)
        finally:
            self.calls -= 1
            call.cancel()
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, details or "", kept)

    def origin(self, context: Context) -> tuple[str, str]:
        """Of a call that came through a third node: (who calls, the third). Raises ControlError."""
        third, origin = self._caller(context), _metadata(context, FOR)
        if origin in (self._here, third):
            raise PermissionDeniedError(f"{third!r} does not call for {origin[:64]!r}")
        if origin not in self._nodes():
            raise UnavailableError(f"no node {origin[:64]!r} is known here")
        return origin, third

    def _onward(self, method: str, context: Context) -> Any:
        origin, target = self._caller(context), _metadata(context, TO)
        if target in (self._here, origin):
            raise InvalidArgumentError(f"nothing goes from {origin!r} through {self._here!r} to {target[:64]!r}")
        if self.calls >= MAX_CALLS:
            raise LimitExceededError("too many calls of others are passed on here")
        if target not in self._nodes():
            raise UnavailableError(f"no node {target[:64]!r} is known here")
        kept = tuple((key, value) for key, value in context.invocation_metadata() or () if _is_passed_on(key))
        call: Any = self._channel(target).stream_stream(method)
        return call(metadata=(*kept, (FOR, origin)), timeout=context.time_remaining())


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, service: ThroughService, own: Sequence[grpc.GenericRpcHandler]) -> None:
        self._service = service
        self._own = own

    def service(self, details: Any) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = str(details.method)
        name = method.removeprefix(f"/{SERVICE}/")
        if name == method or name.partition("Service.")[0] not in SERVICES:
            return None
        marks = {key for key, _ in details.invocation_metadata} & {TO, FOR}
        if marks == {TO}:
            return grpc.stream_stream_rpc_method_handler(self._carrying(method))
        if marks == {FOR}:
            own = find_handler(self._own, straight(method), details.invocation_metadata)
            return None if own is None else self._carried(own)
        return None

    def _carrying(self, method: str) -> Any:
        async def carry(_: Any, context: Context) -> None:
            await self._service.carry(method, context)

        return carry

    def _carried(self, own: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        """The same, for whom the third node names."""
        kind = f"{'stream' if own.request_streaming else 'unary'}_{'stream' if own.response_streaming else 'unary'}"
        behaviour = getattr(own, kind)

        async def call(request: Any, context: Context) -> Any:
            return await behaviour(request, await self._context(context))

        async def generate(request: Any, context: Context) -> Any:
            async for response in behaviour(request, await self._context(context)):
                yield response

        return own._replace(**{kind: call if asyncio.iscoroutinefunction(behaviour) else generate})  # type: ignore[no-any-return]

    async def _context(self, context: Context) -> CarriedContext:
        try:
            return CarriedContext(context, *self._service.origin(context))
        except ControlError as error:
            log.warning("a call through another node was refused", peer=context.peer(), reason=str(error))
            await refuse(context, error)


async def _upwards(context: Context, call: Any) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while (message := await context.read()) is not grpc.aio.EOF:
            await call.write(message)
        await call.done_writing()


def _metadata(context: Context, key: str) -> str:
    return str(dict(context.invocation_metadata() or ()).get(key, ""))


def _is_passed_on(key: str) -> bool:
    return key not in (TO, FOR) and (key == "authorization" or key.startswith("pysfu-"))
