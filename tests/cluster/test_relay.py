"""Operators ask a node that does not have the room: any node that has it answers, whatever became of the others."""

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
from control_plane.services import relay
from control_plane.services.first_answer import PATIENCE
from pysfu.v1 import rooms_pb2
from tests.cluster.waiting import until
from tests.cluster.whole import Whole, WholeNode
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import admin_metadata, token
from tests.e2e.harness.ports import free_port

# Who is gone is not found out.
STALE = Timing(heartbeat=60.0, expiry=300.0, echo=300.0)
AUTH: dict[str, Any] = {"metadata": admin_metadata()}
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
    assert PATIENCE <= taken < relay.TIMEOUT


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
