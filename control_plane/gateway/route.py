"""Which node a session goes to: asked of the gateway's own node, and the next one when that refuses."""

from functools import partial
from typing import Any, Final

import grpc
import structlog

from control_plane.errors import UnavailableError
from control_plane.gateway.options import ClusterNodes
from control_plane.gateway.upstream import JoinRefusedError, Upstream, retry_after_of
from control_plane.ids import node_of_session
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc, signaling_pb2

log = structlog.get_logger(__name__)

ASSIGN_TIMEOUT: Final = 5.0
# Nodes that are tried for one join: more finds a place where almost everything is full, and takes longer to refuse.
MAX_TRIED: Final = 4
# Refusals that another node need not share.
_ELSEWHERE: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


class Route:
    """Opens sessions. Without a cluster they are all on the one node that there is, and nothing is asked."""

    def __init__(self, channel: grpc.aio.Channel, nodes: ClusterNodes | None) -> None:
        """`channel`: to the gateway's own node."""
        self._channel = channel
        self._nodes = nodes
        self._assign: Any = allocation_pb2_grpc.AllocationServiceStub(channel)
        self._upstreams: dict[str, set[Upstream]] = {}
        if nodes is not None:
            nodes.on_lost(self._lost)
            nodes.on_round(self._cut)

    async def open(
        self, token: str, join: signaling_pb2.Join, region: str = ""
    ) -> tuple[Upstream, signaling_pb2.Joined]:
        """The session and the node's first answer. Raises JoinRefusedError. Give the session back to `closed`."""
        if self._nodes is None:
            upstream = Upstream(self._channel)
            return upstream, await upstream.join(token, join)
        return await self._open(self._nodes, token, join, region)

    def closed(self, upstream: Upstream) -> None:
        """The session is not used any more."""
        there = self._upstreams.get(upstream.node)
        if there is not None:
            there.discard(upstream)
            if not there:
                del self._upstreams[upstream.node]
        nodes = self._nodes
        if upstream.broken and not upstream.lives_on and nodes is not None and upstream.node != nodes.id:
            nodes.suspect(upstream.node)

    async def _open(
        self, nodes: ClusterNodes, token: str, join: signaling_pb2.Join, region: str
    ) -> tuple[Upstream, signaling_pb2.Joined]:
        tried: list[str] = []
        refused: JoinRefusedError | None = None
        while len(tried) < MAX_TRIED:
            try:
                candidates = await self._candidates(token, join, region, tried)
            except JoinRefusedError as error:
                raise refused or error from error
            for node in candidates[: MAX_TRIED - len(tried)]:
                tried.append(node)
                try:
                    upstream = self._upstream(nodes, node)
                    joined = await upstream.join(token, join)
                except UnavailableError as error:
                    refused = JoinRefusedError(grpc.StatusCode.UNAVAILABLE, str(error))
                except JoinRefusedError as error:
                    refused = error
                    # A node that drains or is full says when to come again. A room that is full is full everywhere.
                    answered = error.retry_after is not None
                    if error.code not in _ELSEWHERE or not (answered or error.code is grpc.StatusCode.UNAVAILABLE):
                        raise
                    if not answered and node != nodes.id:
                        nodes.suspect(node)
                else:
                    self._upstreams.setdefault(node, set()).add(upstream)
                    return upstream, joined
                log.info("a node was passed over", node=node, reason=str(refused))
                if join.resume_participant_id:
                    # By now it may be known that the session is gone, and nobody else has to be asked for it.
                    break
            if join.resume_session_id and refused is not None:
                raise refused
        raise refused or JoinRefusedError(grpc.StatusCode.UNAVAILABLE, "no node takes participants now")

    def _upstream(self, nodes: ClusterNodes, node: str) -> Upstream:
        """Raises UnavailableError."""
        if node == nodes.id:
            return Upstream(self._channel, node)
        is_cut = partial(nodes.goes_round, node)
        is_kept = partial(nodes.is_kept, node)
        return Upstream(nodes.channel(node), node, goes_round=is_cut(), is_cut=is_cut, is_kept=is_kept)

    async def _candidates(self, token: str, join: signaling_pb2.Join, region: str, tried: list[str]) -> list[str]:
        if node_of_session(join.resume_session_id) in tried:
            raise JoinRefusedError(grpc.StatusCode.NOT_FOUND, "the session's node does not answer")
        request = allocation_pb2.AssignRequest(
            room=join.room,
            region=region,
            session_id=join.resume_session_id,
            resume=bool(join.resume_participant_id),
            exclude=tried,
        )
        try:
            answer = await self._assign.Assign(
                request, metadata=(("authorization", f"Bearer {token}"),), timeout=ASSIGN_TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            raise JoinRefusedError(error.code(), error.details() or "", retry_after_of(error)) from error
        return [node for node in (answer.node_id, *answer.alternatives) if node not in tried]

    def _cut(self, node: str) -> None:
        """What is straight to it stands still; nothing would break it."""
        for upstream in list(self._upstreams.get(node, ())):
            if upstream.can_resume and not upstream.goes_round:
                upstream.lose()

    def _lost(self, node: str) -> None:
        for upstream in list(self._upstreams.get(node, ())):
            upstream.lose()
