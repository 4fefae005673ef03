"""One client session on a node's `SignalingService`, as both of the gateway's protocols hold it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from pysfu.v1 import signaling_pb2, signaling_pb2_grpc

JOIN_TIMEOUT: Final = 10.0
# Requests of one client that may wait for the node.
MAX_WAITING: Final = 1_024

HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}


# What a call ends with whose other end is not there any more.
_BROKEN: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


class JoinRefusedError(Exception):
    """The node refused. `status` is the HTTP status that says the same."""

    def __init__(self, code: grpc.StatusCode, details: str, retry_after: str | None = None) -> None:
        """`retry_after`: seconds, when the node says so."""
        self.code = code
        self.retry_after = retry_after
        self.status = HTTP_STATUS.get(code, 500)
        super().__init__(details)

    @property
    def headers(self) -> dict[str, str]:
        """Of the HTTP response."""
        return {} if self.retry_after is None else {"Retry-After": self.retry_after}


class Upstream:
    """Open it with `join`; then `send` requests and iterate over responses until the session ends."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        node: str = "",
        *,
        goes_round: bool = False,
        is_cut: Callable[[], bool] = bool,
        is_kept: Callable[[], bool] = bool,
    ) -> None:
        """`node`: the id of the node that the channel leads to, in a cluster; `goes_round`: through a third one.
        `is_cut`: the straight way to it is broken, and the node is not. `is_kept`: another can go on with its
        sessions."""
        self.node = node
        self.goes_round = goes_round
        self.can_resume = False
        """The client can be told to begin this stream anew."""
        self._is_cut = is_cut
        self._is_kept = is_kept
        self.broken = False
        """The node has gone away in the middle of the session."""
        self._stub: Any = signaling_pb2_grpc.SignalingServiceStub(channel)
        self._requests: asyncio.Queue[signaling_pb2.SessionRequest] = asyncio.Queue(MAX_WAITING)
        self._call: Any = None
        self._writing: asyncio.Task[None] | None = None

    async def join(self, token: str, join: signaling_pb2.Join) -> signaling_pb2.Joined:
        """Raises JoinRefusedError."""
        self.send(signaling_pb2.SessionRequest(request_id=1, join=join))
        self._call = self._stub.Session(metadata=(("authorization", f"Bearer {token}"),))
        self._writing = asyncio.create_task(self._write_requests())
        joined: signaling_pb2.Joined | None = None
        retry_after: str | None = None
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                first = await self._call.read()
            message = None if first is grpc.aio.EOF else first.WhichOneof("message")
            if message == "joined":
                joined = first.joined
                return joined
            if message == "left":
                # The session to resume is gone, or was never this client's.
                raise JoinRefusedError(grpc.StatusCode.NOT_FOUND, first.left.message)
            code, details = await self._call.code(), await self._call.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
            retry_after = retry_after_of(error)
        except TimeoutError:
            code, details = grpc.StatusCode.UNAVAILABLE, "the node did not answer"
        finally:
            if joined is None:
                self.close()
        raise JoinRefusedError(code, details or "the node refused the session", retry_after)

    @property
    def lives_on(self) -> bool:
        """The session does, at its node, though it is broken here."""
        return self.goes_round or self._is_cut()

    @property
    def goes_on(self) -> bool:
        """The same, or at another node if this one is dead."""
        return self.lives_on or self._is_kept()

    def send(self, request: signaling_pb2.SessionRequest) -> None:
        """Raises asyncio.QueueFull when the node does not keep up: the session should end then."""
        self._requests.put_nowait(request)

    async def responses(self) -> AsyncIterator[signaling_pb2.SessionResponse]:
        """Ends with the session, also when the node goes away: then it is `broken`."""
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                yield response
        except grpc.aio.AioRpcError as error:
            self.broken = error.code() in _BROKEN
        except asyncio.CancelledError:
            # `lose` cancels the call, not the task that reads from it.
            task = asyncio.current_task()
            if not self.broken or (task is not None and task.cancelling()):
                raise

    def lose(self) -> None:
        """The node is gone, whatever the connection to it seems to be."""
        self.broken = True
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        """Drops the stream. Without an earlier `leave` the node keeps the session for a while."""
        if self._call is not None and self._writing is not None:
            self._writing.cancel()
            self._call.cancel()

    async def _write_requests(self) -> None:
        # Not as an iterator given to the call: of a call that has ended by itself nothing ends the task that reads it.
        try:
            while True:
                await self._call.write(await self._requests.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # The session has ended; `responses` tells.


def retry_after_of(error: grpc.aio.AioRpcError) -> str | None:
    """Seconds, as a node says them along with a refusal."""
    value = dict(error.trailing_metadata() or ()).get("retry-after")
    return value if isinstance(value, str) and len(value) < 16 else None
