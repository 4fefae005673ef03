"""Calls about what is on another node: passed on to it with the caller's own token, which it checks again."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import structlog

from control_plane.cluster.certs import CertificateError, node_of
from control_plane.cluster.cluster import Cluster
from control_plane.errors import UnavailableError
from control_plane.node import Node
from control_plane.services.calls import Context

log = structlog.get_logger(__name__)

# A room that moves while it is asked for is found at the second or third.
MAX_HOPS: Final = 3
HOPS: Final = "pysfu-hops"
# A node that does not answer is not waited for longer.
TIMEOUT: Final = 5.0


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
        node = await self._node_of(self._cluster, room, identity, owner=owner)
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

    async def _node_of(self, cluster: Cluster, room: str, identity: str, *, owner: bool) -> str:
        if self._node.is_live(room) and not owner:
            home = cluster.home_of(room, identity) if identity else None
            return home or self._node.id
        record = await cluster.directory.find(room)
        if record is None or record.ended:
            return self._node.id
        registry = cluster.registry
        holders = [record.owner, *record.holders]
        alive = [node for node in holders if registry.node(node) is not None and not registry.is_suspected(node)]
        if not alive:
            raise UnavailableError(f"no node of room {room[:80]!r} answers", retry_after=1.0)
        return alive[0]


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


def _metadata(context: Context) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata() or ())


async def _refuse_alike(context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
    trailing = tuple((key, value) for key, value in error.trailing_metadata() or () if key in _KEPT)
    await context.abort(error.code(), error.details() or "", trailing)
    raise AssertionError("abort returned")


_KEPT: Final = frozenset({"retry-after", "grpc-status-details-bin"})
