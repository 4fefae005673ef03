"""Rooms of all nodes: what is told, how often the shared state is asked, and what is left while it is away."""

import asyncio
from types import SimpleNamespace
from typing import Any

from control_plane.cluster.records import RoomRecord
from control_plane.errors import UnavailableError
from control_plane.services.places import KEPT, RoomPlaces


def record(name: str, *holders: str, ended: bool = False) -> RoomRecord:
    return RoomRecord(name, f"RM_{name}", 3, holders[0], tuple(sorted(holders)), 0.0, ended=ended)


class Directory:
    """Counts how often it is asked; `away` as the shared state is."""

    def __init__(self) -> None:
        self.everywhere = [record("c", "y", "x"), record("a", "x"), record("b", "x", ended=True)]
        self.away = False
        self.asked = 0

    async def all(self) -> list[RoomRecord]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise UnavailableError("away", retry_after=1.0)
        return self.everywhere

    def records(self) -> list[RoomRecord]:
        return [record("a", "x")]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def places(directory: Directory, clock: Clock) -> RoomPlaces:
    node: Any = None
    cluster: Any = SimpleNamespace(directory=directory)
    return RoomPlaces(node, cluster, clock)


async def test_rooms_are_told_by_name_with_their_nodes_and_those_that_ended_are_not() -> None:
    found = await places(Directory(), Clock()).answer(10)
    assert [(one.room, one.room_id, one.owner, one.epoch, list(one.nodes)) for one in found.rooms] == [
        ("a", "RM_a", "x", 3, ["x"]),
        ("c", "RM_c", "y", 3, ["x", "y"]),
    ]
    assert (found.total, found.partial) == (2, False)


async def test_no_more_are_told_than_asked_for() -> None:
    found = await places(Directory(), Clock()).answer(1)
    assert ([one.room for one in found.rooms], found.total) == (["a"], 2)


async def test_the_shared_state_is_asked_once_for_all_who_ask_at_about_the_same_time() -> None:
    directory, clock = Directory(), Clock()
    asked = places(directory, clock)
    await asyncio.gather(*(asked.answer(10) for _ in range(50)))
    clock.now = KEPT
    await asked.answer(10)
    assert directory.asked == 1
    clock.now = KEPT + 0.1
    directory.everywhere = []
    assert (await asked.answer(10)).total == 0
    assert directory.asked == 2


async def test_while_the_shared_state_is_away_rooms_of_the_node_are_told_as_such() -> None:
    directory, clock = Directory(), Clock()
    directory.away = True
    asked = places(directory, clock)
    found = await asked.answer(10)
    assert ([one.room for one in found.rooms], found.partial) == (["a"], True)
    directory.away, clock.now = False, KEPT + 1
    assert (await asked.answer(10)).partial is False
