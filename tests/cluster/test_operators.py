"""Operators ask a node that does not have the room: those that have it answer, whatever became of the others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from control_plane.cluster.registry import Timing
from control_plane.services import everywhere, relay
from control_plane.services.first_answer import PATIENCE
from pysfu.v1 import rooms_pb2, rooms_pb2_grpc
from tests.cluster.waiting import until
from tests.cluster.whole import Whole, WholeNode
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import admin_metadata, token
from tests.e2e.harness.ports import free_port

# Who is gone is not found out.
STALE = Timing(heartbeat=60.0, expiry=300.0, echo=300.0)
ALL = rooms_pb2.ListRoomsRequest()
AUTH: dict[str, Any] = {"metadata": admin_metadata()}
# Timers may be early by so much.
CLOCK = 0.05
GET_ROOM = rooms_pb2.GetRoomRequest(room="room")
LIST = rooms_pb2.ListParticipantsRequest(room="room")


class Trio:
    """Room "room" is on a, which owns it, with alice, and on b, with bob. c is asked."""

    def __init__(self, nodes: list[WholeNode], stack: AsyncExitStack) -> None:
        self.a, self.b, self.c = nodes
        self._stack = stack

    async def replace(self, target: str, address: str) -> None:
        """For c, another node is at that address."""
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(address))
        straight = self.c.cluster.channel

        def lead(node: str) -> grpc.aio.Channel:
            return channel if node == target else straight(node)

        self.c.cluster.channel = lead  # type: ignore[method-assign]

    async def hang(self, node: str) -> None:
        """It can be connected to, and says nothing."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        await self.replace(node, f"127.0.0.1:{listener.getsockname()[1]}")

    async def vanish(self, node: str) -> None:
        await self.replace(node, f"127.0.0.1:{free_port()}")


@pytest_asyncio.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    async with AsyncExitStack() as stack:
        whole = Whole(stack, tmp_path)
        nodes = [await whole.start(name, timing=STALE) for name in "abc"]
        await until(lambda: all(len(one.cluster.registry.nodes()) == 3 for one in nodes))
        for node, identity in zip(nodes, ("alice", "bob"), strict=False):
            client = await stack.enter_async_context(SignalingClient(node.channel, token(identity=identity)))
            await client.join()
        await until(lambda: all(len(one.plane.node.room("room").room.participants) == 2 for one in nodes[:2]))
        yield Trio(nodes, stack)


async def seconds(asked: Any) -> tuple[Any, float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    return await asked, loop.time() - begun


async def test_another_node_answers_for_one_that_has_gone(trio: Trio) -> None:
    await trio.vanish("a")
    listed, taken = await seconds(trio.c.rooms.ListParticipants(LIST, **AUTH))
    assert sorted(one.identity for one in listed.participants) == ["alice", "bob"]
    assert taken < PATIENCE
    assert (await trio.c.rooms.GetRoom(GET_ROOM, **AUTH)).num_participants == 2


async def test_another_node_answers_for_one_that_hangs(trio: Trio) -> None:
    await trio.hang("a")
    asked = rooms_pb2.GetParticipantRequest(room="room", identity="alice")
    found, taken = await seconds(trio.c.rooms.GetParticipant(asked, **AUTH))
    assert found.identity == "alice"
    assert PATIENCE - CLOCK < taken < relay.TIMEOUT


async def test_who_has_the_room_tells_of_those_on_a_node_that_hangs(trio: Trio) -> None:
    trio.c, trio.b = trio.b, trio.c
    await trio.hang("a")
    asked = rooms_pb2.GetParticipantRequest(room="room", identity="alice")
    found, taken = await seconds(trio.c.rooms.GetParticipant(asked, **AUTH))
    assert found.identity == "alice"
    assert taken < relay.TIMEOUT


async def test_suspected_nodes_are_asked_last(trio: Trio) -> None:
    await trio.hang("a")
    trio.c.cluster.suspect("a")
    _, taken = await seconds(trio.c.rooms.GetRoom(GET_ROOM, **AUTH))
    assert taken < PATIENCE


async def test_all_hang_and_the_caller_is_told_in_time(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "TIMEOUT", 1.5)
    await trio.hang("a")
    await trio.hang("b")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trio.c.rooms.GetRoom(GET_ROOM, **AUTH)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert loop.time() - begun < 3


async def test_who_is_not_there_is_told_by_the_first(trio: Trio) -> None:
    asked = rooms_pb2.GetParticipantRequest(room="room", identity="nobody")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trio.c.rooms.GetParticipant(asked, **AUTH)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_changes_something_is_asked_of_one(trio: Trio) -> None:
    await trio.vanish("a")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trio.c.rooms.UpdateRoom(rooms_pb2.UpdateRoomRequest(room="room", metadata="new"), **AUTH)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert trio.b.plane.node.room("room").room.info.metadata == ""


def told(answer: rooms_pb2.ListRoomsResponse) -> list[tuple[str, int]]:
    assert not answer.held, "clients are told of rooms alone"
    return [(room.name, room.num_participants) for room in answer.rooms]


async def test_rooms_of_an_owner_that_has_gone_are_listed(trio: Trio) -> None:
    assert told(await trio.c.rooms.ListRooms(ALL, **AUTH)) == [("room", 2)]
    await trio.vanish("a")
    answer, taken = await seconds(trio.c.rooms.ListRooms(ALL, **AUTH))
    assert told(answer) == [("room", 2)]
    assert taken < everywhere.TIMEOUT_OF_SUSPECTED


async def test_rooms_of_an_owner_that_is_known_to_be_dead_are_listed(trio: Trio) -> None:
    trio.c.cluster.registry._gone("a", "silent")
    assert trio.b.cluster.directory.record("room").owner == "a"  # type: ignore[union-attr]
    assert told(await trio.c.rooms.ListRooms(ALL, **AUTH)) == [("room", 2)]


@pytest.mark.parametrize("suspected", [False, True])
async def test_rooms_of_an_owner_that_hangs_are_listed(trio: Trio, suspected: bool) -> None:
    await trio.hang("a")
    if suspected:
        trio.c.cluster.suspect("a")
    answer, taken = await seconds(trio.c.rooms.ListRooms(ALL, **AUTH))
    assert told(answer) == [("room", 2)]
    least, most = (everywhere.TIMEOUT_OF_SUSPECTED, everywhere.TIMEOUT) if suspected else (everywhere.TIMEOUT, 5.0)
    assert least - CLOCK < taken < most


async def test_an_owner_that_is_suspected_meanwhile_is_not_waited_for(trio: Trio) -> None:
    await trio.hang("a")
    asyncio.get_running_loop().call_later(0.2, trio.c.cluster.suspect, "a")
    _, taken = await seconds(trio.c.rooms.ListRooms(ALL, **AUTH))
    assert taken < everywhere.TIMEOUT


async def test_an_owner_that_answers_is_believed(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    # It has ended the room, and b has not heard of it yet.
    monkeypatch.setattr(trio.a.plane.node, "rooms", lambda _: [])
    assert told(await trio.c.rooms.ListRooms(ALL, **AUTH)) == []


async def test_nodes_of_the_release_before_read_what_owners_tell(trio: Trio) -> None:
    answers = {}
    for node in "ab":
        stub: Any = rooms_pb2_grpc.RoomServiceStub(trio.c.cluster.channel(node))
        answers[node] = await stub.ListRooms(ALL, **AUTH)
    assert [[room.name for room in answers[node].rooms] for node in "ab"] == [["room"], []]
    assert [[(one.room.name, one.owner) for one in answers[node].held] for node in "ab"] == [[], [("room", "a")]]
