"""Rooms with a limit, on whole nodes: as many get in as there is room for, whichever node they come to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from control_plane.cluster.records import key_of
from control_plane.cluster.registry import Timing
from control_plane.cluster.seat_record import decode, mark
from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc, signaling_pb2
from tests.cluster import waiting
from tests.cluster.real import RealCluster
from tests.cluster.whole import Whole, WholeNode
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import admin_metadata, token

until = partial(waiting.until, patience=15.0)

# Who was killed is believed to live for long enough that a test sees it.
SLOW = Timing().scaled(0.5)


class House:
    """Nodes a and b, and the clients of a test."""

    def __init__(self, whole: Whole, stack: AsyncExitStack) -> None:
        self.whole = whole
        self.stack = stack

    async def open(self, timing: Timing | None = None, nodes: str = "ab", **limits: Any) -> list[WholeNode]:
        found = [await self.whole.start(node, "", timing, **limits) for node in nodes]
        await until(lambda: all(len(one.cluster.registry.nodes()) == len(nodes) for one in found))
        return found

    async def join(self, node: WholeNode, identity: str, room: str = "room", **join: Any) -> SignalingClient:
        """Raises AioRpcError."""
        client = SignalingClient(node.channel, token(room=room, identity=identity))
        self.stack.callback(client.call.cancel)
        await client.join(**join)
        return client

    async def has_seat(self, node: str, identity: str, room: str = "room") -> bool:
        """The shared state says so."""
        entry = await (await self.whole.state.bucket("seats")).get(key_of(room))
        record = decode(entry.value) if entry is not None else None
        return record is not None and mark(identity) in record.taken.get(node, ())

    async def until_seated(self, node: str, identity: str, room: str = "room") -> None:
        async with asyncio.timeout(10):
            while not await self.has_seat(node, identity, room):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def is_full(self, node: WholeNode, identity: str, room: str = "room") -> bool:
        """Whether who joins there is refused because the room is full; else they are in."""
        try:
            await self.join(node, identity, room)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or "is full" not in (error.details() or ""):
                raise
            return True
        return False


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(Whole(stack, tmp_path), stack)


async def create(node: WholeNode, limit: int, room: str = "room") -> None:
    request = rooms_pb2.CreateRoomRequest(name=room, max_participants=limit)
    await node.rooms.CreateRoom(request, metadata=admin_metadata())


async def leave(client: SignalingClient) -> None:
    await client.send(leave=signaling_pb2.Leave())
    await client.until("left")


async def test_a_room_for_one_takes_one_at_nodes_that_do_not_know_each_others_people(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    first = await house.join(a, "first")
    assert await house.is_full(b, "second")
    assert await house.is_full(a, "third")
    await leave(first)
    assert not await house.is_full(b, "second")
    assert await house.is_full(a, "first")
    assert (a.identities, b.identities) == (set(), {"second"})


@pytest.mark.parametrize("by_default", [True, False], ids=["default limit", "own limit"])
async def test_of_a_crowd_at_all_nodes_as_many_get_in_as_fit(house: House, by_default: bool) -> None:
    nodes = await house.open(nodes="abc", max_participants_per_room=5 if by_default else 1_000)
    if not by_default:
        await create(nodes[2], 5)
    results = await asyncio.gather(*(house.is_full(nodes[index % 3], f"p{index}") for index in range(21)))
    assert sum(results) == 16
    assert sum(len(node.identities) for node in nodes) == 5


async def test_who_comes_again_takes_the_own_place_though_the_room_is_full(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    first = await house.join(a, "alice")
    # The other node knows nobody of the room.
    second = await house.join(b, "alice")
    assert (await first.until("left")).reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY
    await house.join(b, "alice")
    assert (await second.until("left")).reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY
    assert await house.is_full(a, "bob")
    assert (a.identities, b.identities) == (set(), {"alice"})


async def test_those_of_a_dead_node_come_back_to_a_full_room(house: House) -> None:
    a, b = await house.open(SLOW)
    await create(a, 2)
    for identity in ("alice", "bob"):
        await house.join(a, identity)
    await a.die()
    assert not await house.is_full(b, "alice"), "at once"
    await until(lambda: b.cluster.registry.is_dead("a"))
    assert not await house.is_full(b, "carol"), "bob has not come back"
    assert await house.is_full(b, "bob")


async def test_who_is_moved_from_a_full_room_is_not_refused(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    alice = await house.join(a, "alice")
    await alice.offer("chromium_sendrecv")
    drained = asyncio.create_task(a.cluster.drain(10))
    move = await alice.until("move_to")
    again = await house.join(b, "alice", resume_session_id=move.session_id)
    assert again.joined.moved
    assert await house.is_full(b, "bob"), "both nodes have alice now"
    await again.offer("chromium_sendrecv")
    assert (await drained).moved == 1
    assert await house.is_full(b, "bob")
    await leave(again)
    assert not await house.is_full(b, "bob")


async def test_who_is_moved_has_a_seat_at_the_next_node_before_the_former_one_is_told(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    alice = await house.join(a, "alice")
    for former, following in ((a, b), (b, a), (a, b)):
        alice = await house.join(following, "alice", resume_session_id=alice.joined.session_id)
        assert alice.joined.moved
        assert await house.has_seat(following.cluster.id, "alice"), "at once"
        await until(lambda: len(a.identities) + len(b.identities) == 1)
        assert await house.is_full(former, "bob")
    await leave(alice)
    assert not await house.is_full(a, "bob")


async def test_who_resumes_what_nobody_has_leaves_no_seat_taken(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    bob = await house.join(b, "bob")
    with pytest.raises(grpc.aio.AioRpcError, match="is full"):
        await house.join(a, "alice", resume_session_id="none.b")
    await leave(bob)
    refused = await house.join(a, "alice", resume_session_id="none.b")
    assert refused.seen[0].left.reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH
    assert not await house.is_full(b, "carol")


async def test_whose_node_has_died_resumes_while_there_is_a_seat(house: House) -> None:
    a, b = await house.open(SLOW, keep_sessions=True)
    await create(a, 1)
    alice = await house.join(a, "alice")
    await until(lambda: len(b.cluster.moving.kept) == 1 and a.cluster.keeping.untold == 0)
    await a.die()
    await until(lambda: b.cluster.registry.is_dead("a"))
    bob = await house.join(b, "bob")
    with pytest.raises(grpc.aio.AioRpcError, match="is full"):
        await house.join(b, "alice", resume_session_id=alice.joined.session_id)
    assert b.identities == {"bob"}
    await leave(bob)
    again = await house.join(b, "alice", resume_session_id=alice.joined.session_id)
    assert again.joined.rebuilt, "her session has waited"
    assert await house.is_full(b, "bob")


async def test_without_the_shared_state_rooms_that_are_here_take_whom_they_know_room_for(house: House) -> None:
    a, b = await house.open()
    await create(a, 3)
    await house.join(a, "alice")
    await house.join(b, "bob")
    await until(lambda: all(len(node.plane.node.room("room").room.participants) == 2 for node in (a, b)))
    house.whole.state.is_away = True
    assert not await house.is_full(a, "carol")
    assert await house.is_full(a, "dave")
    house.whole.state.is_away = False
    await house.until_seated("a", "carol")
    assert await house.is_full(b, "dave")


async def test_who_goes_before_they_are_in_leaves_no_seat_taken(house: House) -> None:
    a, b = await house.open()
    await create(a, 1)
    for pause in (0.0, 0.001, 0.005):
        client = SignalingClient(a.channel, token(identity="gone"))
        await client.send(join=signaling_pb2.Join())
        await asyncio.sleep(pause)
        client.call.cancel()
    # Some were in before they went: those wait to be resumed, and are shown the door by who has their identity.
    await until(lambda: a.identities <= {"gone"})
    for session in a.plane.node.sessions():
        session.leave(models_pb2.DISCONNECT_REASON_CLIENT_INITIATED)
    assert not await house.is_full(b, "next")


async def test_with_media_and_a_node_that_dies(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b") as cluster:
        a, b = cluster.nodes
        rooms: Any = rooms_pb2_grpc.RoomServiceStub(a.channel)
        await rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room", max_participants=2), metadata=admin_metadata())
        await cluster.publisher(a, "alice")
        bob = await cluster.peer(b, "bob")
        await bob.signaling.until_participant("alice", lambda one: len(one.tracks) == 2)
        for node in (a, b):
            with pytest.raises(grpc.aio.AioRpcError, match="is full"):
                await cluster.peer(node, "carol")
        await a.die()
        await cluster.publisher(b, "alice")
        with pytest.raises(grpc.aio.AioRpcError, match="is full"):
            await cluster.peer(b, "carol")


async def test_rooms_without_a_limit_have_no_seats(house: House) -> None:
    a, b = await house.open()
    await asyncio.gather(*(house.join(node, f"p{index}") for index in range(3) for node in (a, b)))
    assert await (await house.whole.state.bucket("seats")).entries() == []


async def test_an_ended_room_frees_its_seats_for_the_next_of_its_name(house: House) -> None:
    a, b = await house.open()
    await create(a, 2)
    clients = [await house.join(node, f"at {node.cluster.id}") for node in (a, b)]
    await a.rooms.EndRoom(rooms_pb2.EndRoomRequest(room="room"), metadata=admin_metadata())
    for client in clients:
        await client.until("left")
    await until(lambda: not any(node.plane.node.is_live("room") for node in (a, b)))
    await create(b, 1)
    assert not await house.is_full(a, "new")
    assert await house.is_full(b, "newer")
