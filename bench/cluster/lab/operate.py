"""What an operator asks nodes, over gRPC with an operator's token."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt

from bench.cluster.lab.nodes import KEY, SECRET, Node
from control_plane.auth import Grants, Token, create_token
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc, rooms_pb2, rooms_pb2_grpc, signaling_pb2, signaling_pb2_grpc

TIMEOUT = 10.0
DAY = 24 * 3_600.0


class Operator:
    """Of one node. Its calls raise grpc.aio.AioRpcError."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        grants = Grants(room_create=True, room_list=True, room_admin=True)
        self._auth: dict[str, Any] = {"metadata": _bearer("operator", grants), "timeout": TIMEOUT}
        self._rooms: Any = rooms_pb2_grpc.RoomServiceStub(channel)
        self._allocation: Any = allocation_pb2_grpc.AllocationServiceStub(channel)
        self._signaling: Any = signaling_pb2_grpc.SignalingServiceStub(channel)

    async def nodes(self) -> dict[str, allocation_pb2.Node]:
        """All that it knows of, by id."""
        answer = await self._allocation.ListNodes(allocation_pb2.ListNodesRequest(), **self._auth)
        return {node.id: node for node in answer.nodes}

    async def place(self, room: str) -> allocation_pb2.RoomPlace:
        """Who hosts it."""
        place: allocation_pb2.RoomPlace = await self._allocation.FindRoom(
            allocation_pb2.FindRoomRequest(room=room), **self._auth
        )
        return place

    async def drain(self, node: str) -> None:
        """Its participants move to others."""
        await self._allocation.DrainNode(allocation_pb2.DrainNodeRequest(node_id=node), **self._auth)

    async def rooms(self) -> dict[str, str]:
        """Ids of rooms by name."""
        answer = await self._rooms.ListRooms(rooms_pb2.ListRoomsRequest(), **self._auth)
        return {room.name: room.id for room in answer.rooms}

    async def participants(self, room: str) -> list[str]:
        """Identities in a room, sorted."""
        answer = await self._rooms.ListParticipants(rooms_pb2.ListParticipantsRequest(room=room), **self._auth)
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


@asynccontextmanager
async def operator(node: Node) -> AsyncIterator[Operator]:
    """On a connection of its own."""
    # The node of another lab, or of another life, may have had the same address.
    alone = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(node.grpc, options=alone) as channel:
        yield Operator(channel)


def _bearer(identity: str, grants: Grants) -> tuple[tuple[str, str], ...]:
    signed = create_token(KEY, SECRET, Token(identity=identity, grants=grants), ttl=DAY)
    claims = jwt.decode(signed, options={"verify_signature": False})
    # Nodes may believe that it is an hour earlier, or later.
    del claims["nbf"]
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    return (("authorization", f"Bearer {token}"),)
