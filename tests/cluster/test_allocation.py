"""Who goes where: bursts spread, the full refuse, who comes back finds the way."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from control_plane.cluster.allocation import (
    ENOUGH,
    EXPIRES,
    FIRST_SHARE,
    MAX_SHARE,
    SETTLES,
    Allocation,
    Costs,
    Reservations,
    Wanted,
)
from control_plane.cluster.directory import Directory
from control_plane.cluster.memory import MemoryState
from control_plane.cluster.registry import NodeInfo, Registry, Timing
from control_plane.errors import LimitExceededError, NotFoundError, UnavailableError
from control_plane.rooms import new_room
from tests.cluster.waiting import until


class Nodes:
    """Allocations of several nodes; `infos` is what each says of itself."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.state = MemoryState()
        self.infos: dict[str, NodeInfo] = {}
        self.registries: dict[str, Registry] = {}
        self.directories: dict[str, Directory] = {}
        self.homes: dict[tuple[str, str], str] = {}
        self._stack = stack

    async def start(self, node: str, timing: Timing | None = None, **changes: Any) -> Allocation:
        self.say(node, **changes)
        registry = Registry(self.state, lambda: self.infos[node], timing=timing or Timing().scaled(0.1))
        directory = Directory(self.state, registry, lambda name: True)
        allocation = Allocation(self.state, registry, directory, lambda room, who: self.homes.get((room, who)))
        for part in (registry, directory, allocation):
            await part.start()
            self._stack.push_async_callback(part.stop)
        self.registries[node], self.directories[node] = registry, directory
        return allocation

    def say(self, node: str, **changes: Any) -> None:
        self.infos[node] = NodeInfo(node, 1, f"{node}:1", capacity=1_000, **changes)

    async def met(self) -> None:
        await until(lambda: all(len(one.nodes()) == len(self.infos) for one in self.registries.values()))


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(stack)


async def test_who_is_near_goes_near(nodes: Nodes) -> None:
    a = await nodes.start("a", region="eu")
    await nodes.start("b", region="us")
    await nodes.met()
    assert await a.assign(Wanted("room", "x", region="us")) == ["b", "a"]
    assert await a.assign(Wanted("other", "y")) == ["a", "b"], "a gateway's clients are where it is, unless they say"
    assert (await a.assign(Wanted("third", "z", measured={"a": 120.0, "b": 5.0})))[0] == "b"


async def test_a_burst_of_joins_spreads(nodes: Nodes) -> None:
    """Loads as heard do not change meanwhile: what is promised is what spreads them."""
    slow = Timing(heartbeat=60.0)
    allocations = [await nodes.start(node, slow, load={"cpu": 0.2}) for node in "abcd"]
    await nodes.met()
    went = Counter[str]()
    for index in range(400):
        order = await allocations[index % 4].assign(Wanted("big room", f"p{index}"))
        went[order[0]] += 1
        if index % 8 == 0:
            await asyncio.sleep(0.03)  # others hear of it
    assert len(went) == 4, went
    assert max(went.values()) < 200, went


async def test_a_burst_fills_no_node_beyond_what_it_takes(nodes: Nodes) -> None:
    slow = Timing(heartbeat=60.0)
    a = await nodes.start("a", slow, load={"cpu": 0.88}, participants=100)
    await nodes.start("b", slow, load={"cpu": 0.3}, participants=100)
    await nodes.met()
    went = Counter([(await a.assign(Wanted("room", f"p{index}")))[0] for index in range(50)])
    assert went["a"] <= 3, went


async def test_the_full_and_the_draining_take_nobody(nodes: Nodes) -> None:
    a = await nodes.start("a", load={"participants": 0.95})
    await nodes.start("b", load={"cpu": 0.1}, draining=True)
    await nodes.met()
    with pytest.raises(LimitExceededError, match="every node is full") as full:
        await a.assign(Wanted("room", "x"))
    assert full.value.retry_after
    nodes.say("a", draining=True)
    nodes.registries["a"].announce()
    with pytest.raises(UnavailableError, match="no node takes participants") as none:
        await a.assign(Wanted("room", "x"))
    assert none.value.retry_after
    nodes.say("b", load={"cpu": 0.1})
    nodes.registries["b"].announce()
    await until(lambda: nodes.registries["a"].node("b").open)  # type: ignore[union-attr]
    assert await a.assign(Wanted("room", "x")) == ["b"]


async def test_the_suspected_and_the_excluded_are_passed_over(nodes: Nodes) -> None:
    a = await nodes.start("a", Timing(heartbeat=60.0), load={"cpu": 0.5})
    await nodes.start("b", Timing(heartbeat=60.0))
    await nodes.met()
    assert (await a.assign(Wanted("room", "x")))[0] == "b"
    nodes.registries["a"].suspect("b")
    assert await a.assign(Wanted("room", "y")) == ["a"]
    with pytest.raises(UnavailableError):
        await a.assign(Wanted("room", "z", exclude=frozenset({"a"})))


async def test_who_comes_back_goes_where_it_was(nodes: Nodes) -> None:
    a = await nodes.start("a", region="eu")
    await nodes.start("b", region="eu", load={"cpu": 0.3})
    await nodes.met()
    assert (await a.assign(Wanted("room", "new")))[0] == "a"
    nodes.homes["room", "bob"] = "b"
    assert (await a.assign(Wanted("room", "bob")))[0] == "b", "the identity is there"
    nodes.say("a", region="eu", load={"cpu": 0.5})
    nodes.registries["a"].announce()
    assert (await a.assign(Wanted("room", "new")))[0] == "a", "it was a moment ago"
    assert await a.assign(Wanted("room", "x", session_node="b")) == ["b"], "its session is there and nowhere else"
    nodes.say("b", region="eu", draining=True)
    nodes.registries["b"].announce()
    await until(lambda: not nodes.registries["a"].node("b").open)  # type: ignore[union-attr]
    assert await a.assign(Wanted("room", "x", session_node="b")) == ["b"], "also while it drains"
    assert (await a.assign(Wanted("room", "bob")))[0] == "a", "but nobody new"
    assert "b" not in await a.assign(Wanted("room", "x", session_node="gone"))


async def test_what_can_be_nowhere_is_not_resumed(nodes: Nodes) -> None:
    a = await nodes.start("a", region="eu")
    for other in ("b", "c"):
        await nodes.start(other, region="eu")
    await nodes.met()
    for holder in ("b", "c"):
        await nodes.directories[holder].hold(new_room("room").info)
    nodes.homes["room", "x"] = "b"
    assert (await a.assign(Wanted("room", "x", resume=True)))[0] == "b"
    assert await a.assign(Wanted("room", "unknown", resume=True)), "one of its holders may have it"
    with pytest.raises(NotFoundError):
        await a.assign(Wanted("nobody's", "x", resume=True))
    nodes.registries["a"].suspect("b")
    with pytest.raises(NotFoundError):
        await a.assign(Wanted("room", "x", resume=True))
    with pytest.raises(NotFoundError):
        await a.assign(Wanted("room", "x", session_node="b"))
    assert (await a.assign(Wanted("room", "x")))[0] != "b", "but a new one is made elsewhere"
    assert await a.assign(Wanted("room", "unknown", resume=True)), "the other holder may have it"
    nodes.registries["a"].suspect("c")
    with pytest.raises(NotFoundError):
        await a.assign(Wanted("room", "unknown", resume=True))


async def test_known_rooms_are_found_while_the_shared_state_is_away(nodes: Nodes) -> None:
    a = await nodes.start("a", region="eu")
    await nodes.start("b", region="eu")
    await nodes.met()
    await nodes.directories["b"].hold(new_room("elsewhere").info)
    await nodes.directories["a"].hold(new_room("here").info)
    first = (await a.assign(Wanted("elsewhere", "x")))[0]
    assert first == "b"
    nodes.state.is_away = True
    assert (await a.assign(Wanted("elsewhere", "y")))[0] == "b"
    assert (await a.assign(Wanted("here", "y")))[0] == "a"
    with pytest.raises(UnavailableError) as refused:
        await a.assign(Wanted("never asked for", "y"))
    assert refused.value.retry_after


def test_a_participant_costs_what_it_costs_once_it_is_in() -> None:
    costs = Costs()

    def of(participants: int, cpu: float, capacity: int = 10_000) -> float:
        info = NodeInfo("a", 1, "a:1", capacity=capacity, participants=participants, load={"cpu": cpu})
        costs.heard(info)
        return costs.share(info)

    assert of(ENOUGH - 1, 0.9) == FIRST_SHARE, "too few to say"
    assert of(ENOUGH, 0.9) == MAX_SHARE, "while they join"
    assert of(100, 0.4) == pytest.approx(0.004)
    assert of(100, 0.1) == pytest.approx(0.001)
    assert of(200, 0.9) == pytest.approx(0.001), "another hundred join"
    assert of(200, 0.9, capacity=200) == pytest.approx(0.005), "never less than the settings say"
    for _ in range(40):
        after = of(200, 0.6)
    assert after == pytest.approx(0.003), "they have become dearer"
    assert of(0, 0.0) == FIRST_SHARE


def test_a_promise_counts_until_it_shows_or_expires() -> None:
    now = [0.0]
    reservations = Reservations(lambda: now[0])
    reservations.add("a", 0.1)
    assert reservations.share("a") == pytest.approx(0.1)
    now[0] = SETTLES - 0.1
    reservations.heard("a")
    assert reservations.share("a") == pytest.approx(0.1), "what was measured so soon does not show it"
    reservations.add("a", 0.2)
    now[0] = SETTLES + 0.1
    reservations.heard("a")
    assert reservations.share("a") == pytest.approx(0.2)
    now[0] = EXPIRES + SETTLES
    assert reservations.share("a") == 0.0
    assert reservations.share("b") == 0.0


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"from": "b", "shares": 5}', b'{"from": "b", "shares": {"a": "x"}}', b"\xff"]
)
async def test_what_is_no_reservation_is_ignored(nodes: Nodes, payload: bytes) -> None:
    a = await nodes.start("a")
    await nodes.start("b", load={"cpu": 0.2})
    await nodes.met()
    await nodes.state.publish("reservations", payload)
    await nodes.state.publish("reservations", b'{"from": "b", "shares": {"a": 0.89, "unknown": 1}}')
    began = time.monotonic()
    order = ["a"]
    while order[0] == "a" and time.monotonic() - began < 5:
        order = await a.assign(Wanted("room", f"p{time.monotonic()}"))
        await asyncio.sleep(0.02)
    assert order[0] == "b", "the next message is heard"
