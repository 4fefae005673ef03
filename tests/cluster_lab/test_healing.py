"""Operator's calls that fail after a partition are counted; they end nothing, and excuse nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import pytest

from bench.cluster import report
from bench.cluster.lab.nodes import Node
from bench.cluster.lab.operate import Calls
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios import healing
from bench.cluster.scenarios.common import Gathering
from pysfu.v1 import models_pb2, rooms_pb2

ROOM = models_pb2.Room(name="talk", id="RM_1")
ALICE, BOB = (models_pb2.Participant(identity=name) for name in ("alice", "bob"))
BEFORE: healing.Rooms = {"talk": ("RM_1", ["alice", "bob"])}


class Rooms:
    """A node's. The first `failing` lists of rooms fail."""

    def __init__(self, failing: int = 0, people: int = 2) -> None:
        self.failing, self.people, self.asked = failing, people, 0

    def handler(self) -> grpc.GenericRpcHandler:
        def answer(behaviour: Any) -> Any:
            # What is asked does not matter.
            return grpc.unary_unary_rpc_method_handler(
                behaviour, response_serializer=lambda response: response.SerializeToString()
            )

        calls = {"ListRooms": answer(self._list), "ListParticipants": answer(self._people)}
        return grpc.method_handlers_generic_handler("pysfu.v1.RoomService", calls)

    async def _list(self, _: object, context: Any) -> rooms_pb2.ListRoomsResponse:
        self.asked += 1
        if self.asked <= self.failing:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
        return rooms_pb2.ListRoomsResponse(rooms=[ROOM])

    async def _people(self, _: object, __: object) -> rooms_pb2.ListParticipantsResponse:
        return rooms_pb2.ListParticipantsResponse(participants=[ALICE, BOB][: self.people])


class World:
    """A lab and a gathering, of which the nodes' answers alone are of interest."""

    def __init__(self, nodes: dict[str, Node], failing: int) -> None:
        self.nodes, self.failing = nodes, failing

    async def acquainted(self, _: float, __: Calls) -> None:
        if self.failing:
            self.failing -= 1
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    async def looks(self) -> dict[str, Any]:
        return {}

    def missing(self, _: object) -> list[str]:
        return []


Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Nodes "a", "b", … with these rooms. `failing`: how often nodes cannot be asked for each other."""
    servers: list[grpc.aio.Server] = []
    nodes: dict[str, Node] = {}

    async def begin(*served: Rooms, failing: int = 0) -> World:
        for name, service in zip("abc", served, strict=False):
            server = grpc.aio.server()
            server.add_generic_rpc_handlers([service.handler()])
            node = nodes[name] = Node(name, "127.0.0.1")
            node.grpc = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            servers.append(server)
        return World(nodes, failing)

    yield begin
    for server in servers:
        await server.stop(None)
    for node in nodes.values():
        await node.close()


async def healed(world: World, calls: Calls, seconds: float) -> float:
    before = dict.fromkeys(world.nodes, BEFORE)
    return await healing.healed(cast("Lab", world), cast("Gathering", world), before, calls, seconds)


async def test_a_call_that_fails_is_made_again(start: Start) -> None:
    calls = Calls()
    world = await start(Rooms(), Rooms(failing=2), failing=2)
    assert await healed(world, calls, 10) < 10
    assert [(call.what, call.node, call.status) for call in calls.failed] == [
        ("ListRooms", "b", "DEADLINE_EXCEEDED")
    ] * 2
    assert calls.slowest_ms >= max(call.seconds for call in calls.failed) * 1e3 - 10


async def test_a_node_that_does_not_answer_in_time_has_not_healed(start: Start) -> None:
    calls = Calls()
    world = await start(Rooms(), Rooms(failing=1_000))
    with pytest.raises(TimeoutError, match="no answer from b"):
        await healed(world, calls, 0.3)
    assert set(await healing.rooms(world.nodes, calls)) == {"a"}
    assert {call.node for call in calls.failed} == {"b"}


async def test_nodes_that_cannot_be_asked_for_each_other_have_not_healed(start: Start) -> None:
    world = await start(Rooms(), failing=1_000)
    with pytest.raises(TimeoutError, match="UNAVAILABLE"):
        await healed(world, Calls(), 0.3)


async def test_an_answer_that_differs_has_not_healed(start: Start) -> None:
    world = await start(Rooms(), Rooms(people=1))
    with pytest.raises(TimeoutError, match="where it was"):
        await healed(world, Calls(), 0.3)


def test_ghosts_and_deleted_rooms_are_told_of_nodes_that_answered() -> None:
    before = dict.fromkeys("abc", BEFORE)
    after: dict[str, healing.Rooms] = {"a": {"talk": ("RM_1", ["alice", "carol"])}, "b": {"talk": ("RM_2", [])}}
    assert healing.differences(before, after) == (
        ["talk at a: carol too many", "talk at a: bob lacks"],
        ["talk at b"],
    )
    assert healing.differences(before, before) == ([], [])


def test_the_page_lists_failed_calls() -> None:
    failed = [{"what": "ListParticipants talk", "node": "b", "status": "DEADLINE_EXCEEDED", "seconds": 10.0}]
    partition = {
        "runs": 1,
        "ghosts": [],
        "deleted": [],
        "not_healed": [],
        "healed_s": [1.0],
        "rejoins": 0,
        "failed_calls": failed,
        "slowest_call_ms": 10_000.0,
    }
    about = {"machine": {"cpus": 2, "cpu": "of a kind", "virtual": True}, "date": "", "commit": "", "minutes": 1.0}
    page = report.render(
        {**about, "dirty": False, "quick": False, "failures": {}, "goals": [], "scenarios": {"partition": partition}}
    )
    assert "ListParticipants talk of b: DEADLINE_EXCEEDED after 10.0 s" in page
    assert "1 failed, the slowest took 10,000 ms" in page
