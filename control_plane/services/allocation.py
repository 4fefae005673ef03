"""`AllocationService`: in a cluster about all its nodes, else about the one that there is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc
import structlog

from control_plane.auth import Verifier
from control_plane.cluster.allocation import ALTERNATIVES, EXPIRES, Wanted
from control_plane.cluster.cluster import Cluster
from control_plane.cluster.registry import NodeInfo, state_of
from control_plane.errors import ControlError, InvalidArgumentError, NotFoundError
from control_plane.ids import node_of_session
from control_plane.node import Node
from control_plane.rooms import check_room_name
from control_plane.services.calls import Context, authenticate, refuse, unary
from control_plane.services.places import MAX_PLACES, USUAL_PLACES, RoomPlaces, place_of
from control_plane.services.relay import Relay, passed_on
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc

log = structlog.get_logger(__name__)

MAX_MEASURED: Final = 1_024
# Who resumes waits so long for a node of its room: longer finds sessions behind slow paths, shorter starts over sooner.
HOLDER_TIMEOUT: Final = 1.0
# Between two messages of a watcher: longer costs less, shorter shows changes sooner.
WATCH_INTERVAL: Final = 0.5
# Who has not gone elsewhere by then is told to join anew.
DRAIN_PATIENCE: Final = 60.0


class AllocationService(allocation_pb2_grpc.AllocationServiceServicer):
    """Which node, which nodes, where."""

    def __init__(
        self, node: Node, verifier: Verifier, describe: Callable[[], NodeInfo], cluster: Cluster | None
    ) -> None:
        """`describe`: this node, when there is no cluster."""
        self._node = node
        self._verifier = verifier
        self._describe = describe
        self._cluster = cluster
        self._relay = Relay(node, cluster)
        self._places = RoomPlaces(node, cluster)

    @unary
    async def Assign(self, request: allocation_pb2.AssignRequest, context: Context) -> allocation_pb2.AssignResponse:
        token = authenticate(context, self._verifier)
        room = request.room or token.grants.room
        token.grants.require_room_join(room)
        check_room_name(room)
        if len(request.rtt_ms) > MAX_MEASURED or len(request.exclude) > MAX_MEASURED:
            raise InvalidArgumentError(f"more than {MAX_MEASURED} nodes")
        if any(not 0 <= rtt < 60_000 for rtt in request.rtt_ms.values()):
            raise InvalidArgumentError("rtt_ms must be from 0 to 60000")
        if self._cluster is None:
            return _assigned([self._describe()])
        if request.resume and not self._node.is_live(room):
            answer = await self._ask_holder(self._cluster, room, request, context)
            if answer is not None:
                return answer
        wanted = Wanted(
            room=room,
            identity=token.identity,
            region=request.region[:64],
            measured=dict(request.rtt_ms),
            session_node=node_of_session(request.session_id),
            resume=request.resume,
            exclude=frozenset(request.exclude),
        )
        order = await self._cluster.allocation.assign(wanted)
        infos = [info for node in order if (info := self._cluster.registry.node(node)) is not None]
        return _assigned(infos)

    async def _ask_holder(
        self, cluster: Cluster, room: str, request: allocation_pb2.AssignRequest, context: Context
    ) -> allocation_pb2.AssignResponse | None:
        """The answer of a node that has the room, and so knows where its participants are. None when none answers.

        Raises NotFoundError when the session can be nowhere.
        """
        asked = allocation_pb2.AssignRequest()
        asked.CopyFrom(request)
        asked.room, asked.region = room, request.region or cluster.registry.me.region
        try:
            channel = await self._relay.target(context, room)
            if channel is None:
                return None
            stub: Any = allocation_pb2_grpc.AllocationServiceStub(channel)
            answer: allocation_pb2.AssignResponse = await stub.Assign(
                asked, metadata=passed_on(context), timeout=HOLDER_TIMEOUT
            )
        except (ControlError, grpc.aio.AioRpcError) as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotFoundError(error.details() or "the session is gone") from error
            log.debug("no node of a room says where a session is", room=room, reason=str(error))
            return None
        return answer

    @unary
    async def ListNodes(
        self, request: allocation_pb2.ListNodesRequest, context: Context
    ) -> allocation_pb2.ListNodesResponse:
        self._check_operator(context)
        nodes = [item for item in self._nodes() if request.region in ("", item.region)]
        if request.region and not nodes:
            known = sorted({item.region for item in self._nodes() if item.region})
            there = f"; there are: {', '.join(known)}" if known else "; no node has one"
            raise NotFoundError(f"no node in region {request.region[:64]!r}{there}")
        return allocation_pb2.ListNodesResponse(nodes=nodes)

    @unary
    async def GetNode(self, request: allocation_pb2.GetNodeRequest, context: Context) -> allocation_pb2.Node:
        self._check_operator(context)
        return self._find(request.node_id)

    @unary
    async def FindRoom(self, request: allocation_pb2.FindRoomRequest, context: Context) -> allocation_pb2.RoomPlace:
        self._check_operator(context)
        check_room_name(request.room)
        if self._cluster is None:
            info = self._node.room(request.room).room.info
            return allocation_pb2.RoomPlace(
                room=info.name, room_id=info.id, owner=self._node.id, epoch=1, nodes=[self._node.id]
            )
        record = await self._cluster.directory.find(request.room)
        if record is None or record.ended:
            raise NotFoundError(f"no room {request.room[:80]!r}")
        return place_of(record)

    @unary
    async def ListRoomPlaces(
        self, request: allocation_pb2.ListRoomPlacesRequest, context: Context
    ) -> allocation_pb2.ListRoomPlacesResponse:
        self._check_operator(context)
        return await self._places.answer(min(request.limit or USUAL_PLACES, MAX_PLACES))

    @unary
    async def DrainNode(self, request: allocation_pb2.DrainNodeRequest, context: Context) -> allocation_pb2.Node:
        self._check_operator(context)
        found = self._find(request.node_id)
        if found.id != self._node.id:
            stub = allocation_pb2_grpc.AllocationServiceStub(self._relay.channel(context, found.id))
            drained: allocation_pb2.Node = await self._relay.pass_on(context, stub.DrainNode, request)
            return drained
        log.warning("this node is drained, as an operator asks", node=found.id)
        self._node.drain()
        if self._cluster is not None:
            self._cluster.registry.announce()
            self._cluster.begin_drain(DRAIN_PATIENCE)
        return self._find(request.node_id)

    async def WatchNodes(
        self, request: allocation_pb2.WatchNodesRequest, context: Context
    ) -> AsyncIterator[allocation_pb2.NodesChanged]:
        try:
            self._check_operator(context)
        except ControlError as error:
            await refuse(context, error)
        told: dict[str, bytes] = {}
        while True:
            now = {item.id: item for item in self._nodes()}
            changed = [item for item in now.values() if told.get(item.id) != item.SerializeToString(deterministic=True)]
            gone = sorted(told.keys() - now.keys())
            if changed or gone:
                yield allocation_pb2.NodesChanged(nodes=changed, gone=gone)
            told = {item.id: item.SerializeToString(deterministic=True) for item in now.values()}
            await asyncio.sleep(WATCH_INTERVAL)

    def _check_operator(self, context: Context) -> None:
        authenticate(context, self._verifier).grants.require_room_admin("")

    def _nodes(self) -> list[allocation_pb2.Node]:
        if self._cluster is None:
            return [_node(self._describe(), suspected=False)]
        registry = self._cluster.registry
        return [_node(info, suspected=registry.is_suspected(info.id)) for info in registry.nodes()]

    def _find(self, node: str) -> allocation_pb2.Node:
        found = next((item for item in self._nodes() if item.id == node), None)
        if found is None:
            raise NotFoundError(f"no node {node[:64]!r}")
        return found


def _assigned(order: list[NodeInfo]) -> allocation_pb2.AssignResponse:
    if not order:
        raise NotFoundError("the node is gone")
    first, others = order[0], order[1 : 1 + ALTERNATIVES]
    return allocation_pb2.AssignResponse(
        node_id=first.id,
        url=first.url,
        grpc_address=first.grpc,
        alternatives=[info.id for info in others],
        reservation_seconds=int(EXPIRES),
    )


def _node(info: NodeInfo, *, suspected: bool) -> allocation_pb2.Node:
    return allocation_pb2.Node(
        id=info.id,
        region=info.region,
        state=allocation_pb2.Node.State.Value(f"STATE_{state_of(info, suspected=suspected).upper()}"),
        version=info.version,
        url=info.url,
        grpc_address=info.grpc,
        cluster_address=info.address,
        load=info.load,
        participants=info.participants,
        max_participants=info.capacity,
        rooms=info.rooms,
        packets_per_second=info.packets_per_second,
        drain=_drain(info.drain),
        egress_bps=info.egress_bps,
        links=[
            allocation_pb2.Node.Link(
                node_id=node,
                rtt_ms=info.links.get(node, 0.0),
                loss=info.link_loss.get(node, 0.0),
                bps=info.link_bps.get(node, 0.0),
                through=info.around.get(node, ""),
            )
            for node in sorted({*info.links, *info.around})
        ],
    )


def _drain(progress: Mapping[str, float]) -> allocation_pb2.Node.Drain | None:
    if not progress:
        return None
    total, moved, failed, left = (int(progress.get(name, 0)) for name in ("total", "moved", "failed", "left"))
    return allocation_pb2.Node.Drain(total=total, moved=moved, failed=failed, left=left)
