"""Calls of services in the same process: the stubs and handlers of gRPC, without a network between.

Requests and responses are serialised all the same, so that no end sees what the other changes later. What calls mean
(statuses, deadlines, cancellation, half-closed streams, back pressure) is as with `grpc.aio`, of which a channel offers
what `UnaryUnaryMultiCallable`, `UnaryStreamMultiCallable` and `StreamStreamMultiCallable` of these services use.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast

import grpc
import structlog

from control_plane.services.handlers import find_handler

log = structlog.get_logger(__name__)

Metadata = Sequence[tuple[str, str | bytes]]
Serialize = Callable[[Any], bytes]
Deserialize = Callable[[bytes], Any]

# Messages that wait in a stream before their writer does. More rides out more of a burst, less tells the writer sooner
# that nobody reads.
WAITING: Final = 16


class LocalServices:
    """Take it for the server to which services are added, then for the channel that leads to them."""

    def __init__(self, max_request_bytes: int) -> None:
        self._max_request_bytes = max_request_bytes
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._calls: set[asyncio.Task[None]] = set()

    # As a server.

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """A server's shortcut to the same handlers."""

    async def stop(self, grace: float) -> None:
        """Ends the calls that have not ended after `grace` seconds."""
        if not self._calls:
            return
        _, calls = await asyncio.wait(self._calls, timeout=grace)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    # As a channel.

    @property
    def channel(self) -> grpc.aio.Channel:
        """For stubs."""
        return cast("grpc.aio.Channel", self)

    def unary_unary(
        self, method: str, request_serializer: Serialize, response_deserializer: Deserialize, **_: Any
    ) -> Callable[..., "UnaryCall"]:
        def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> UnaryCall:
            stream = self._begin(method, request_serializer, response_deserializer, metadata)
            stream.ask(request, timeout)
            return UnaryCall(stream)

        return call

    def unary_stream(
        self, method: str, request_serializer: Serialize, response_deserializer: Deserialize, **_: Any
    ) -> Callable[..., "StreamCall"]:
        def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> StreamCall:
            stream = self._begin(method, request_serializer, response_deserializer, metadata)
            stream.ask(request, timeout)
            return stream

        return call

    def stream_stream(
        self, method: str, request_serializer: Serialize, response_deserializer: Deserialize, **_: Any
    ) -> Callable[..., "StreamCall"]:
        def call(*, metadata: Metadata = ()) -> StreamCall:
            return self._begin(method, request_serializer, response_deserializer, metadata)

        return call

    def _begin(self, method: str, serialize: Serialize, deserialize: Deserialize, metadata: Metadata) -> "StreamCall":
        handler = self._handler(method, metadata)
        call = StreamCall(_Ends(serialize, handler.request_deserializer, self._max_request_bytes), deserialize)
        context = LocalContext(call, handler.response_serializer, metadata)
        call.task = asyncio.create_task(_serve(handler, context, call))
        self._calls.add(call.task)
        call.task.add_done_callback(self._calls.discard)
        return call

    def _handler(self, method: str, metadata: Metadata) -> Any:
        handler = find_handler(self._handlers, method, metadata)
        if handler is None:
            raise LookupError(f"no service here has {method}")
        return handler


class _Ends(NamedTuple):
    """How a request gets from the caller to the handler."""

    serialize: Serialize
    deserialize: Deserialize
    max_bytes: int


class _Pipe:
    """Messages from one writer to one reader."""

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._closed = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, message: Any) -> None:
        """Waits while WAITING messages are there. Raises asyncio.InvalidStateError when nobody reads any more."""
        while len(self._waiting) >= WAITING and not self._closed:
            self._room.clear()
            await self._room.wait()
        self.put_nowait(message)

    def put_nowait(self, message: Any) -> None:
        """However many are there. Raises asyncio.InvalidStateError when nobody reads any more."""
        if self._closed:
            raise asyncio.InvalidStateError("the call has ended")
        self._waiting.append(message)
        self._filled.set()

    async def get(self) -> Any:
        """`grpc.aio.EOF` once it is closed and empty."""
        while not self._waiting:
            if self._closed:
                return grpc.aio.EOF
            self._filled.clear()
            await self._filled.wait()
        message = self._waiting.popleft()
        self._room.set()
        return message

    def close(self) -> None:
        self._closed = True
        self._filled.set()
        self._room.set()


class _Status(NamedTuple):
    code: grpc.StatusCode
    details: str = ""
    trailing: Metadata = ()


class StreamCall:
    """What a caller has of a call, as `grpc.aio.StreamStreamCall` and `UnaryStreamCall`."""

    def __init__(self, ends: _Ends, deserialize: Deserialize) -> None:
        self.requests = _Pipe()
        self.responses = _Pipe()
        self.task: asyncio.Task[None]
        self.status: _Status | None = None
        self._ends = ends
        self._deserialize = deserialize
        self._cancelled = False

    async def write(self, request: Any) -> None:
        """Raises AioRpcError when it is too long, InvalidStateError when the call has ended."""
        await self.requests.put(self._handed_over(request))

    def ask(self, request: Any, timeout: float | None) -> None:
        """The only request, of a call that ends after `timeout` seconds. Who reads is told when it is too long."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            self.requests.put_nowait(self._handed_over(request))
        if timeout is not None:
            late = _Status(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
            timer = asyncio.get_running_loop().call_later(timeout, self._abandon, late)
            self.task.add_done_callback(lambda _: timer.cancel())

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not grpc.aio.EOF:
            yield response

    async def read(self) -> Any:
        """`grpc.aio.EOF` after the last one. Raises AioRpcError when the call has failed, CancelledError when it was
        cancelled by its caller."""
        content = await self.responses.get()
        if content is not grpc.aio.EOF:
            return self._deserialize(content)
        self._raise()
        return grpc.aio.EOF

    def cancel(self) -> bool:
        if self.status is not None:
            return False
        self._cancelled = True
        self._abandon(_Status(grpc.StatusCode.CANCELLED, "cancelled by the caller"))
        return True

    async def code(self) -> grpc.StatusCode:
        """Once it has ended."""
        return (await self._ended()).code

    async def details(self) -> str:
        return (await self._ended()).details

    def end(self, status: _Status) -> None:
        """The first status holds."""
        self.status = self.status or status
        self.requests.close()
        self.responses.close()

    def _abandon(self, status: _Status) -> None:
        self.end(status)
        self.task.cancel()

    def _handed_over(self, request: Any) -> Any:
        content = self._ends.serialize(request)
        if len(content) > self._ends.max_bytes:
            longer = f"a request is longer than {self._ends.max_bytes} B"
            self._abandon(_Status(grpc.StatusCode.RESOURCE_EXHAUSTED, longer))
            self._raise()
        return self._ends.deserialize(content)

    async def _ended(self) -> _Status:
        await asyncio.wait([self.task])
        return self.status or _Status(grpc.StatusCode.UNKNOWN)

    def _raise(self) -> None:
        status = self.status
        if self._cancelled:
            raise asyncio.CancelledError
        if status is not None and status.code is not grpc.StatusCode.OK:
            trailing = grpc.aio.Metadata(*status.trailing)
            raise grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details)


class UnaryCall:
    """One request that was made, awaited for its response."""

    def __init__(self, stream: StreamCall) -> None:
        self._stream = stream

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        try:
            return await self._stream.read()
        finally:
            self._stream.cancel()


class LocalContext:
    """What a handler has of a call, as `grpc.aio.ServicerContext`. Nobody is certified here."""

    def __init__(self, call: StreamCall, serialize: Serialize, metadata: Metadata) -> None:
        self._call = call
        self._serialize = serialize
        self._metadata = tuple(metadata)

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def auth_context(self) -> dict[str, Iterable[bytes]]:
        return {}

    def peer(self) -> str:
        return "local"

    async def read(self) -> Any:
        return await self._call.requests.get()

    async def write(self, response: Any) -> None:
        await self._call.responses.put(self._serialize(response))

    async def send_initial_metadata(self, _: Metadata) -> None:
        """The caller knows that it is heard."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        self._call.end(_Status(code, details, trailing_metadata))
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())


async def _serve(handler: Any, context: LocalContext, call: StreamCall) -> None:
    try:
        if handler.request_streaming:
            await handler.stream_stream(None, context)
        else:
            request = await context.read()
            if request is grpc.aio.EOF:
                return
            if handler.response_streaming:
                async with contextlib.aclosing(handler.unary_stream(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
            else:
                await context.write(await handler.unary_unary(request, context))
        call.end(_Status(grpc.StatusCode.OK))
    except (grpc.aio.AbortError, asyncio.InvalidStateError):
        call.end(_Status(grpc.StatusCode.CANCELLED, "the caller has gone"))
    except asyncio.CancelledError:
        call.end(_Status(grpc.StatusCode.UNAVAILABLE, "the node stops"))
        raise
    except Exception as error:
        log.exception("a call failed")
        call.end(_Status(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}"))
