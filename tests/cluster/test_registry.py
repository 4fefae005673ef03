"""Who is there: judged by each node's own clock, and only while it hears itself."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
import structlog

from control_plane.cluster.memory import MemoryState
from control_plane.cluster.nats import NatsState
from control_plane.cluster.registry import NodeInfo, Registry, Timing, decode, encode
from control_plane.cluster.state import SharedState
from tests.cluster.cut import CutState
from tests.cluster.nats_server import NatsServer
from tests.cluster.waiting import until

FAST = Timing().scaled(0.1)


def info(node: str, **changes: Any) -> NodeInfo:
    return NodeInfo(node, changes.pop("incarnation", 1), f"{node}:1", **changes)


class Nodes:
    """Registries over one shared state. What each tells its listeners is in `told`."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.common = MemoryState()
        self.told: dict[str, list[tuple[str, str]]] = {}
        self._stack = stack

    async def start(
        self,
        node: str,
        state: SharedState | None = None,
        clock: Callable[[], float] = time.monotonic,
        timing: Timing = FAST,
        **changes: Any,
    ) -> Registry:
        registry = Registry(state or self.common, lambda: info(node, **changes), clock, timing)
        told = self.told[node] = []
        registry.listeners.append(lambda other, kind: told.append((other, kind)))
        await registry.start()
        self._stack.push_async_callback(registry.stop)
        return registry


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(stack)


def seen(registry: Registry) -> list[str]:
    return [found.id for found in registry.nodes()]


async def kill(registry: Registry) -> None:
    """As SIGKILL does: it says nothing any more."""
    for task in registry._tasks:
        task.cancel()
    await asyncio.gather(*registry._tasks, return_exceptions=True)
    registry._tasks = []


async def test_nodes_see_each_other_and_what_is_new_of_them(nodes: Nodes) -> None:
    a = await nodes.start("a")
    draining: dict[str, Any] = {"draining": False, "region": "eu", "load": {"cpu": 0.5}}
    b = Registry(nodes.common, lambda: info("b", **draining), timing=FAST)
    await b.start()
    await until(lambda: seen(a) == ["a", "b"] and seen(b) == ["a", "b"])
    found = a.node("b")
    assert found is not None
    assert (found.region, found.load, found.open) == ("eu", {"cpu": 0.5}, True)
    draining["draining"] = True
    b.announce()
    began = time.monotonic()
    await until(lambda: not a.node("b").open)  # type: ignore[union-attr]
    assert time.monotonic() - began < FAST.heartbeat / 2, "at once, not at the next heartbeat"
    await b.stop()
    await until(lambda: a.node("b") is None)
    assert time.monotonic() - began < FAST.expiry / 2, "who leaves says so"
    assert ("b", "gone") in nodes.told["a"]


async def test_the_silent_are_gone_when_their_time_is_over_and_not_before(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await until(lambda: seen(a) == ["a", "b"])
    await kill(b)
    killed = time.monotonic()
    await until(lambda: a.node("b") is None)
    assert FAST.expiry - FAST.heartbeat - 0.02 < time.monotonic() - killed < FAST.expiry + 3 * FAST.heartbeat
    assert a.is_dead("b")


async def test_clocks_may_differ_by_hours(nodes: Nodes) -> None:
    early = await nodes.start("early", clock=lambda: time.monotonic() - 7_200)
    late = await nodes.start("late", clock=lambda: time.monotonic() + 7_200)
    await until(lambda: seen(early) == seen(late) == ["early", "late"])
    await asyncio.sleep(FAST.expiry * 1.5)  # time itself is tested
    assert seen(early) == seen(late) == ["early", "late"]
    assert not any(kind == "gone" for told in nodes.told.values() for _, kind in told)


async def test_who_is_cut_off_takes_nobody_for_dead(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    cut = CutState(nodes.common)
    alone = await nodes.start("c", cut)
    await until(lambda: all(seen(one) == ["a", "b", "c"] for one in (a, b, alone)))
    cut.cut()
    await until(lambda: a.node("c") is None and b.node("c") is None)
    await asyncio.sleep(FAST.expiry)  # time itself is tested
    assert seen(alone) == ["a", "b", "c"]
    assert not alone.sees
    assert not alone.is_dead("a")
    assert not alone.is_dead("never seen"), "who cannot tell says nobody is dead"
    assert a.is_dead("c")
    cut.mend()
    mended = time.monotonic()
    await until(lambda: seen(a) == seen(alone) == ["a", "b", "c"] and alone.sees)
    assert time.monotonic() - mended < FAST.expiry
    assert not any(kind == "gone" for _, kind in nodes.told["c"])


async def test_a_bus_that_is_away_kills_nobody(nodes: Nodes) -> None:
    running = [await nodes.start(node) for node in "abc"]
    await until(lambda: all(seen(one) == ["a", "b", "c"] for one in running))
    nodes.common.is_away = True
    await asyncio.sleep(FAST.expiry * 1.5)  # time itself is tested
    assert all(seen(one) == ["a", "b", "c"] for one in running)
    nodes.common.is_away = False
    await until(lambda: all(one.sees for one in running))
    await asyncio.sleep(FAST.expiry)  # nobody is late to be heard again
    assert all(seen(one) == ["a", "b", "c"] for one in running)
    assert not any(kind == "gone" for told in nodes.told.values() for _, kind in told)


async def test_a_suspect_is_spared_until_it_is_heard_again(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await until(lambda: seen(a) == ["a", "b"])
    a.suspect("b")
    assert a.is_suspected("b")
    await until(lambda: not a.is_suspected("b"))
    await kill(b)
    a.suspect("b")
    await until(lambda: a.node("b") is None)
    assert not a.is_suspected("b")
    a.suspect("nobody")


async def test_a_node_that_has_started_anew_was_gone(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await until(lambda: seen(a) == ["a", "b"])
    await kill(b)
    await nodes.start("b", incarnation=2)
    await until(lambda: ("b", "gone") in nodes.told["a"] and a.node("b") is not None)
    assert a.node("b").incarnation == 2  # type: ignore[union-attr]
    assert [kind for other, kind in nodes.told["a"] if other == "b" and kind != "changed"] == ["came", "gone", "came"]


async def test_two_processes_as_the_same_node_are_logged(nodes: Nodes) -> None:
    await nodes.start("a")
    first = nodes.told["a"]
    with structlog.testing.capture_logs() as logs:
        await nodes.start("a", incarnation=2)
        await until(lambda: [line for line in logs if "another process is the same node" in line["event"]])
    assert not first


async def test_an_old_protocol_is_refused(nodes: Nodes) -> None:
    a = await nodes.start("a")
    await nodes.start("b", protocol=0, version="0.1")
    await until(lambda: seen(a) == ["a", "b"])
    found = a.node("b")
    assert found is not None
    assert not found.fits
    assert not found.open


async def test_region_paths_are_medians_of_links(nodes: Nodes) -> None:
    a = await nodes.start("a", region="eu", links={"b": 90.0, "c": 110.0, "gone": 1.0})
    await nodes.start("b", region="us", links={"a": 94.0})
    await nodes.start("c", region="us")
    await until(lambda: seen(a) == ["a", "b", "c"])
    assert a.region_paths() == {("eu", "us"): 94.0}


async def test_what_is_no_record_is_refused(nodes: Nodes) -> None:
    a = await nodes.start("a")
    bucket = await nodes.common.bucket("nodes")
    for key, value in (("b", b"nonsense"), ("c", encode(info("d"))), ("e", b"[]"), ("f", b'{"id": "f"}')):
        await bucket.put(key, value)
    await nodes.start("z")
    await until(lambda: "z" in seen(a))
    assert seen(a) == ["a", "z"]


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "new"},
        {"protocol": -1},
        {"load": {"cpu": "x"}},
        {"load": {"cpu": float("nan")}},
        {"load": 5},
        {"links": {str(index): 1.0 for index in range(2_000)}},
        {"region": 7},
        {"region": "r" * 5_000},
        {"incarnation": "x"},
        {"incarnation": 2**70},
        {"participants": float("inf")},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_records_are_checked(change: dict[str, Any]) -> None:
    good = json.loads(encode(info("a")))
    assert decode("a", json.dumps(good).encode()) == info("a")
    assert decode("a", json.dumps(good | {"of a newer release": 1}).encode()) == info("a")
    assert decode("a", json.dumps(good | change).encode()) is None
    assert decode("a", b"[" * 60_000) is None


async def test_over_nats_with_an_outage() -> None:
    timing = Timing().scaled(0.5)
    async with NatsServer() as server, AsyncExitStack() as stack:
        running, told = [], []
        for node in "abc":
            state = NatsState([server.url], name=node)
            stack.push_async_callback(state.close)
            registry = Registry(state, lambda node=node: info(node), timing=timing)  # type: ignore[misc]
            registry.listeners.append(lambda other, kind: told.append((other, kind)))
            await registry.start()
            stack.push_async_callback(registry.stop)
            running.append(registry)
        await until(lambda: all(seen(one) == ["a", "b", "c"] and one.sees for one in running))
        await server.stop()
        await asyncio.sleep(timing.expiry * 1.5)  # time itself is tested
        assert all(seen(one) == ["a", "b", "c"] for one in running)
        await server.start()
        began = time.monotonic()
        await until(lambda: all(one.sees for one in running))
        assert time.monotonic() - began < 3.0, "normal within 3 s"
        assert not any(kind == "gone" for _, kind in told)
        await kill(running[2])
        await until(lambda: seen(running[0]) == seen(running[1]) == ["a", "b"])
