"""What an operator asks nodes, over gRPC with an operator's token."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import jwt

from bench.cluster.lab.nodes import KEY, SECRET, Node
from control_plane.auth import Grants, Token, create_token
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc, rooms_pb2, rooms_pb2_grpc, signaling_pb2, signaling_pb2_grpc

TIMEOUT = 10.0
DAY = 24 * 3_600.0


@dataclass(frozen=True)
class FailedCall:
    """`what` was asked of `node`; `status`: of gRPC, CANCELLED where nobody waited for the answer any longer."""

    what: str
    node: str
    status: str
    seconds: float


@dataclass
class Calls:
    """How the calls of operators went. `slowest_ms`: of all of them, those that failed as well."""

    failed: list[FailedCall] = field(default_factory=list)
    slowest_ms: float = 0.0

    def told(self) -> dict[str, Any]:
        """For a result."""
        return {"failed_calls": [asdict(call) for call in self.failed], "slowest_call_ms": round(self.slowest_ms, 1)}


class Operator:
    """Of one node. Its calls raise grpc.aio.AioRpcError, and are told to `calls`."""

    def __init__(self, node: str, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._node, self._calls = node, calls
        grants = Grants(room_create=True, room_list=True, room_admin=True)
        self._auth: dict[str, Any] = {"metadata": _bearer("operator", grants), "timeout": TIMEOUT}
        self._rooms: Any = rooms_pb2_grpc.RoomServiceStub(channel)
        self._allocation: Any = allocation_pb2_grpc.AllocationServiceStub(channel)
        self._signaling: Any = signaling_pb2_grpc.SignalingServiceStub(channel)

    async def nodes(self) -> dict[str, allocation_pb2.Node]:
        """All that it knows of, by id."""
        answer = await self._ask("ListNodes", self._allocation.ListNodes, allocation_pb2.ListNodesRequest())
        return {node.id: node for node in answer.nodes}

    async def place(self, room: str) -> allocation_pb2.RoomPlace:
        """Who hosts it."""
        request = allocation_pb2.FindRoomRequest(room=room)
        place: allocation_pb2.RoomPlace = await self._ask(f"FindRoom {room}", self._allocation.FindRoom, request)
        return place

    async def drain(self, node: str) -> None:
        """Its participants move to others."""
        await self._ask(f"DrainNode {node}", self._allocation.DrainNode, allocation_pb2.DrainNodeRequest(node_id=node))

    async def rooms(self) -> dict[str, str]:
        """Ids of rooms by name."""
        answer = await self._ask("ListRooms", self._rooms.ListRooms, rooms_pb2.ListRoomsRequest())
        return {room.name: room.id for room in answer.rooms}

    async def participants(self, room: str) -> list[str]:
        """Identities in a room, sorted."""
        request = rooms_pb2.ListParticipantsRequest(room=room)
        answer = await self._ask(f"ListParticipants {room}", self._rooms.ListParticipants, request)
        return sorted(one.identity for one in answer.participants)

    async def try_join(self, room: str, identity: str, seconds: float = TIMEOUT) -> float:
        """Joins over this node's gRPC and leaves: ms until it was let in. Raises grpc.aio.AioRpcError."""
        grants = Grants(room_join=True, room=room)
        begun = time.monotonic()
        call = self._signaling.Session(metadata=_bearer(identity, grants), timeout=seconds)
        try:
            join = signaling_pb2.Join(room=room)
            await call.write(signaling_pb2.SessionRequest(request_id=1, join=join))
            answer = await call.read()
            if answer is grpc.aio.EOF or not answer.HasField("joined"):
                code, details = await call.code(), await call.details()
                raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
            taken = (time.monotonic() - begun) * 1e3
            await call.write(signaling_pb2.SessionRequest(request_id=2, leave=signaling_pb2.Leave()))
            await call.done_writing()
            # Until the node has taken leave; a broken stream would be somebody who may come back.
            while await call.read() is not grpc.aio.EOF:
                pass
            return taken
        finally:
            call.cancel()

    async def _ask(self, what: str, call: Callable[..., Awaitable[Any]], request: Any) -> Any:
        begun = time.monotonic()
        status = ""
        try:
            return await call(request, **self._auth)
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            raise
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED.name
            raise
        finally:
            seconds = time.monotonic() - begun
            self._calls.slowest_ms = max(self._calls.slowest_ms, seconds * 1e3)
            if status:
                self._calls.failed.append(FailedCall(what, self._node, status, round(seconds, 2)))


@asynccontextmanager
async def operator(node: Node, calls: Calls | None = None) -> AsyncIterator[Operator]:
    """On a connection of its own. How its calls go is told to `calls`."""
    # The node of another lab, or of another life, may have had the same address.
    alone = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(node.grpc, options=alone) as channel:
        yield Operator(node.name, channel, calls or Calls())


def _bearer(identity: str, grants: Grants) -> tuple[tuple[str, str], ...]:
    signed = create_token(KEY, SECRET, Token(identity=identity, grants=grants), ttl=DAY)
    claims = jwt.decode(signed, options={"verify_signature": False})
    # Nodes may believe that it is an hour earlier, or later.
    del claims["nbf"]
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    return (("authorization", f"Bearer {token}"),)
