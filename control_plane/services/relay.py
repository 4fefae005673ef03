"""Calls about what is on another node: passed on to it with the caller's own token, which it checks again."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn

import grpc
import structlog

from control_plane.cluster.certs import CertificateError, node_of
from control_plane.cluster.cluster import Cluster
from control_plane.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from control_plane.node import Node
from control_plane.services.calls import Context
from control_plane.services.first_answer import first_answer

log = structlog.get_logger(__name__)

# A room that moves while it is asked for is found at the second or third.
MAX_HOPS: Final = 3
HOPS: Final = "pysfu-hops"
# A node that does not answer is not waited for longer; nor are several that are asked in turn.
TIMEOUT: Final = 5.0
# Of the nodes of a room, for one answer.
MAX_ASKED: Final = 4

_REFUSALS: Final = (InvalidArgumentError, NotFoundError, PermissionDeniedError, UnauthenticatedError)
_REFUSAL_CODES: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


class Relay:
    """Finds the node that a call is for. Without a cluster every call is for this one."""

    def __init__(self, node: Node, cluster: Cluster | None) -> None:
        self._node = node
        self._cluster = cluster

    async def target(
        self, context: Context, room: str, identity: str = "", *, owner: bool = False
    ) -> grpc.aio.Channel | None:
        """Where the room is, its `owner`, or the participant of it; None for this node. Raises UnavailableError."""
        if self._cluster is None:
            return None
        node = (await self._nodes(self._cluster, room, identity, owner=owner))[0]
        return None if node == self._node.id else self.channel(context, node)

    def channel(self, context: Context, node: str) -> grpc.aio.Channel:
        """To another node. Raises UnavailableError for a call that was passed on too often."""
        if self._cluster is None or hops(context) >= MAX_HOPS:
            raise UnavailableError("what was asked for moves between nodes, try again", retry_after=1.0)
        return self._cluster.channel(node)

    async def pass_on(self, context: Context, call: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """The other node's answer, or its refusal."""
        try:
            return await call(request, metadata=passed_on(context), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            await _refuse_alike(context, error)

    async def read(
        self,
        context: Context,
        request: Any,
        here: Callable[[], Awaitable[Any]],
        there: Callable[[grpc.aio.Channel], Callable[..., Awaitable[Any]]],
    ) -> Any:
        """What a node that has the room of the request tells, this one (`here`) or another; the next when one does not.

        Only for calls that change nothing: some nodes may be asked at the same time.
        """
        nodes = [self._node.id]
        if self._cluster is not None:
            nodes = await self._nodes(self._cluster, request.room, getattr(request, "identity", ""), suspected=True)
        # One of several that are asked asks one.
        nodes = nodes[: 1 if hops(context) else MAX_ASKED]
        loop = asyncio.get_running_loop()
        end = loop.time() + TIMEOUT

        async def ask(node: str) -> Any:
            if node == self._node.id:
                return await here()
            call = there(self.channel(context, node))
            return await call(request, metadata=passed_on(context), timeout=end - loop.time())

        try:
            return await first_answer([partial(ask, node) for node in nodes], _is_refusal)
        except grpc.aio.AioRpcError as error:
            await _refuse_alike(context, error)

    async def _nodes(
        self, cluster: Cluster, room: str, identity: str, *, owner: bool = False, suspected: bool = False
    ) -> list[str]:
        """Who knows of the room, or of the participant of it, the best first. Raises UnavailableError for none.

        `suspected`: those that are, too, as the last.
        """
        here = self._node.id
        if self._node.is_live(room) and not owner:
            home = cluster.home_of(room, identity) if identity else None
            return [here] if home in (None, here) else [home, here]
        record = await cluster.directory.find(room)
        if record is None or record.ended:
            return [here]
        registry = cluster.registry
        holders = dict.fromkeys([record.owner, *record.holders])
        alive = [node for node in holders if registry.node(node) is not None]
        able = [node for node in alive if suspected or not registry.is_suspected(node)]
        if not able:
            raise UnavailableError(f"no node of room {room[:80]!r} answers", retry_after=1.0)
        return sorted(able, key=registry.is_suspected)


def hops(context: Context) -> int:
    """How often other nodes have passed this call on. Of clients nothing is believed."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    try:
        node_of([name.decode("ascii", "replace") for name in names])
    except CertificateError:
        return 0
    value = _metadata(context).get(HOPS, "1")
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 3 else MAX_HOPS


def passed_on(context: Context) -> tuple[tuple[str, str], ...]:
    """Metadata of the same call to another node."""
    authorization = str(_metadata(context).get("authorization", ""))
    return ("authorization", authorization), (HOPS, str(hops(context) + 1))


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _REFUSAL_CODES
    return isinstance(error, _REFUSALS)


def _metadata(context: Context) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata() or ())


async def _refuse_alike(context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
    trailing = tuple((key, value) for key, value in error.trailing_metadata() or () if key in _KEPT)
    await context.abort(error.code(), error.details() or "", trailing)
    raise AssertionError("abort returned")


_KEPT: Final = frozenset({"retry-after", "grpc-status-details-bin"})
