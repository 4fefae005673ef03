"""One call to a running node: authentication, the call itself, and gRPC both ways."""

import asyncio
from typing import Any

import grpc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pysfu.v1 import rooms_pb2, rooms_pb2_grpc
from tests.e2e.harness.server import admin_token

ROOMS = 10


@pytest.fixture
def rooms(channel: grpc.aio.Channel) -> Any:
    return rooms_pb2_grpc.RoomServiceStub(channel)


@pytest.fixture
def metadata(rooms: Any, node_loop: asyncio.AbstractEventLoop) -> tuple[tuple[str, str], ...]:
    """An administrator's, with `ROOMS` rooms on the node."""
    allowed = (("authorization", f"Bearer {admin_token('grpc-0')}"),)

    async def create() -> None:
        for index in range(ROOMS):
            await rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name=f"grpc-{index}"), metadata=allowed)

    node_loop.run_until_complete(create())
    return allowed


def test_get_room(
    benchmark: BenchmarkFixture, rooms: Any, metadata: tuple[tuple[str, str], ...], node_loop: asyncio.AbstractEventLoop
) -> None:
    request = rooms_pb2.GetRoomRequest(room="grpc-0")

    async def get() -> Any:
        return await rooms.GetRoom(request, metadata=metadata)

    assert benchmark(lambda: node_loop.run_until_complete(get())).name == "grpc-0"


def test_list_rooms(
    benchmark: BenchmarkFixture, rooms: Any, metadata: tuple[tuple[str, str], ...], node_loop: asyncio.AbstractEventLoop
) -> None:
    async def get() -> Any:
        return await rooms.ListRooms(rooms_pb2.ListRoomsRequest(), metadata=metadata)

    listed = benchmark(lambda: node_loop.run_until_complete(get()))
    assert {f"grpc-{index}" for index in range(ROOMS)} <= {room.name for room in listed.rooms}
    benchmark.extra_info["rooms"] = len(listed.rooms)
