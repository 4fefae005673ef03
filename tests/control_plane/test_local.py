"""Calls within the process mean what calls over the network mean: both are asked the same."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from control_plane.errors import LimitExceededError, NotFoundError
from control_plane.gateway.upstream import retry_after_of
from control_plane.services.calls import refuse, unary
from control_plane.services.local import WAITING, LocalServices
from pysfu.v1 import (
    allocation_pb2,
    allocation_pb2_grpc,
    models_pb2,
    rooms_pb2,
    rooms_pb2_grpc,
    signaling_pb2,
    signaling_pb2_grpc,
)

LONGEST = 10_000


class Allocation(allocation_pb2_grpc.AllocationServiceServicer):
    """Does what the room's name says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    @unary
    async def Assign(self, request: allocation_pb2.AssignRequest, context: Any) -> allocation_pb2.AssignResponse:
        match request.room:
            case "nowhere":
                raise NotFoundError("no such room")
            case "full":
                raise LimitExceededError("full", retry_after=2.5)
            case "fault":
                raise RuntimeError("a fault of ours")
            case "slow":
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
        request.room = "changed"
        told = dict(context.invocation_metadata())
        return allocation_pb2.AssignResponse(node_id=told.get("from", ""))


class Signaling(signaling_pb2_grpc.SignalingServiceServicer):
    """Answers each request with its number; refuses at 7, ends at 9, tells without end from 11 on."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.told = 0

    async def Session(self, _: Any, context: Any) -> None:  # type: ignore[override]
        try:
            while (request := await context.read()) is not grpc.aio.EOF:
                if request.request_id == 7:
                    await refuse(context, LimitExceededError("seven", retry_after=1))
                if request.request_id == 9:
                    return
                answer = signaling_pb2.SessionResponse(request_id=request.request_id)
                await context.write(answer)
                while request.request_id == 11:
                    await context.write(answer)
                    self.told += 1
        finally:
            self.ended.set()


class Rooms(rooms_pb2_grpc.RoomServiceServicer):
    """Tells of three people and ends, or does what the room's name says."""

    def __init__(self) -> None:
        self.all_told = asyncio.Event()
        self.ended = asyncio.Event()
        self.told = 0

    async def WatchEvents(
        self, request: rooms_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[rooms_pb2.RoomEvent]:
        told = dict(context.invocation_metadata()).get("from", "")
        try:
            for number in itertools.count() if request.room == "endless" else range(3):
                yield rooms_pb2.RoomEvent(
                    room=models_pb2.Room(name=told), participant=models_pb2.Participant(identity=str(number))
                )
                self.told += 1
            self.all_told.set()
            if request.room == "full":
                await refuse(context, LimitExceededError("full", retry_after=2.5))
            if request.room == "slow":
                await asyncio.sleep(30)
        finally:
            self.ended.set()


class Ends:
    def __init__(self, channel: grpc.aio.Channel, allocation: Allocation, signaling: Signaling, rooms: Rooms) -> None:
        self.assign: Any = allocation_pb2_grpc.AllocationServiceStub(channel).Assign
        self.session: Any = signaling_pb2_grpc.SignalingServiceStub(channel).Session
        self.watch: Any = rooms_pb2_grpc.RoomServiceStub(channel).WatchEvents
        self.allocation, self.signaling, self.rooms = allocation, signaling, rooms


@asynccontextmanager
async def ends(way: str) -> AsyncIterator[Ends]:
    allocation, signaling, rooms = Allocation(), Signaling(), Rooms()  # type: ignore[abstract]
    server: Any = LocalServices(LONGEST) if way == "local" else grpc.aio.server(options=_LIMIT)
    allocation_pb2_grpc.add_AllocationServiceServicer_to_server(allocation, server)
    signaling_pb2_grpc.add_SignalingServiceServicer_to_server(signaling, server)
    rooms_pb2_grpc.add_RoomServiceServicer_to_server(rooms, server)
    if way == "local":
        yield Ends(server.channel, allocation, signaling, rooms)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Ends(channel, allocation, signaling, rooms)
    await server.stop(0)


_LIMIT = [("grpc.max_receive_message_length", LONGEST)]
both = pytest.mark.parametrize("way", ["local", "network"])


def request(number: int) -> signaling_pb2.SessionRequest:
    return signaling_pb2.SessionRequest(request_id=number)


@both
async def test_one_request_one_response(way: str) -> None:
    async with ends(way) as called:
        asked = allocation_pb2.AssignRequest(room="room")
        answer = await called.assign(asked, metadata=(("from", "here"),), timeout=5)
        assert answer.node_id == "here"
        assert asked.room == "room", "what the handler does to its request is its own business"


@both
@pytest.mark.parametrize(
    ("room", "code", "retry_after"),
    [
        ("nowhere", grpc.StatusCode.NOT_FOUND, None),
        ("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "2.5"),
        ("fault", grpc.StatusCode.INTERNAL, None),
    ],
)
async def test_refusals(way: str, room: str, code: grpc.StatusCode, retry_after: str | None) -> None:
    async with ends(way) as called:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await called.assign(allocation_pb2.AssignRequest(room=room), timeout=5)
    assert raised.value.code() is code
    assert raised.value.details()
    assert retry_after_of(raised.value) == retry_after


@both
async def test_who_is_late_is_ended(way: str) -> None:
    async with ends(way) as called:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await called.assign(allocation_pb2.AssignRequest(room="slow"), timeout=0.05)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(called.allocation.cancelled.wait(), 5)


@both
async def test_a_stream_goes_both_ways_until_the_handler_ends_it(way: str) -> None:
    async with ends(way) as called:
        call = called.session(metadata=())
        for number in (1, 2, 3):
            await call.write(request(number))
            assert (await call.read()).request_id == number
        await call.write(request(9))
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        with pytest.raises((asyncio.InvalidStateError, grpc.aio.AioRpcError)):
            await call.write(request(1))


@both
async def test_what_was_told_before_a_refusal_is_still_read(way: str) -> None:
    async with ends(way) as called:
        call = called.session(metadata=())
        await call.write(request(1))
        await call.write(request(7))
        assert (await call.read()).request_id == 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_of(raised.value) == "1"
        assert await call.details() == "seven"


@both
async def test_a_caller_that_cancels_ends_the_handler(way: str) -> None:
    async with ends(way) as called:
        call = called.session(metadata=())
        await call.write(request(1))
        await call.read()
        reading = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(called.signaling.ended.wait(), 5)
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert not call.cancel()


@both
async def test_a_request_that_is_too_long_is_refused(way: str) -> None:
    async with ends(way) as called:
        call = called.session(metadata=())
        join = signaling_pb2.Join(room="x" * (LONGEST + 1))

        async def ask() -> None:
            await call.write(signaling_pb2.SessionRequest(join=join))
            await call.read()

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_who_writes_waits_for_who_does_not_read() -> None:
    async with ends("local") as called:
        call = called.session(metadata=())
        await call.write(request(11))
        for _ in range(10 * WAITING):
            await asyncio.sleep(0)
        assert called.signaling.told < WAITING
        for _ in range(3 * WAITING):
            assert (await call.read()).request_id == 11
        assert called.signaling.told >= 2 * WAITING


def watching(room: str) -> rooms_pb2.WatchEventsRequest:
    return rooms_pb2.WatchEventsRequest(room=room)


@both
async def test_one_request_many_responses(way: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching("room"), metadata=(("from", "here"),), timeout=5)
        told = [(event.room.name, event.participant.identity) async for event in call]
        assert told == [("here", "0"), ("here", "1"), ("here", "2")]
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@both
async def test_responses_begin_before_they_are_read(way: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching("slow"), metadata=())
        await asyncio.wait_for(called.rooms.all_told.wait(), 5)
        call.cancel()


@both
async def test_responses_that_end_with_a_refusal(way: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching("full"), metadata=())
        for number in range(3):
            assert (await call.read()).participant.identity == str(number)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_of(raised.value) == "2.5"


@both
async def test_responses_that_are_late_are_ended(way: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching("slow"), metadata=(), timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in call:
                pass
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(called.rooms.ended.wait(), 5)


@both
@pytest.mark.parametrize("room", ["slow", "endless"])
async def test_who_has_read_enough_cancels(way: str, room: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching(room), metadata=())
        assert (await call.read()).participant.identity == "0"
        assert call.cancel()
        await asyncio.wait_for(called.rooms.ended.wait(), 5)
        assert await call.code() is grpc.StatusCode.CANCELLED


@both
async def test_the_only_request_may_be_too_long(way: str) -> None:
    async with ends(way) as called:
        call = called.watch(watching("x" * (LONGEST + 1)), metadata=())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_who_responds_waits_for_who_does_not_read() -> None:
    async with ends("local") as called:
        call = called.watch(watching("endless"), metadata=())
        for _ in range(10 * WAITING):
            await asyncio.sleep(0)
        assert called.rooms.told == WAITING
        for number in range(3 * WAITING):
            assert (await call.read()).participant.identity == str(number)
        call.cancel()


async def test_the_end_of_the_services_ends_calls() -> None:
    services: Any = LocalServices(LONGEST)
    signaling_pb2_grpc.add_SignalingServiceServicer_to_server(Signaling(), services)
    stub: Any = signaling_pb2_grpc.SignalingServiceStub(services.channel)
    call = stub.Session(metadata=())
    await call.write(request(1))
    await call.read()
    await services.stop(0.01)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
