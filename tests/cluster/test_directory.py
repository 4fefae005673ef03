"""Who hosts a room: one record, whoever writes at the same time, dies, or is cut off."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from control_plane.cluster import records
from control_plane.cluster.directory import Directory
from control_plane.cluster.memory import MemoryState
from control_plane.cluster.nats import NatsState
from control_plane.cluster.records import RoomRecord
from control_plane.cluster.registry import NodeInfo, Registry, Timing
from control_plane.cluster.state import SharedState
from control_plane.errors import NotFoundError, UnavailableError
from control_plane.rooms import new_room
from tests.cluster import waiting
from tests.cluster.cut import CutState
from tests.cluster.nats_server import NatsServer

until = partial(waiting.until, patience=15.0)

FAST = Timing().scaled(0.05)


def record(owner: str, *holders: str, epoch: int = 3, **changes: Any) -> RoomRecord:
    return RoomRecord("room", "RM_1", epoch, owner, holders, 1.0, **changes)


@pytest.mark.parametrize(
    ("before", "node", "dead", "expected"),
    [
        pytest.param(record("a", "a", "c"), "b", "", record("a", "a", "b", "c"), id="one more"),
        pytest.param(record("a", "a"), "a", "", record("a", "a"), id="again"),
        pytest.param(record("a", "a", "c"), "b", "a", record("b", "b", "c", epoch=4), id="the owner is dead"),
        pytest.param(record("a", "a", "c"), "b", "ac", record("b", "b", epoch=4), id="all are dead"),
        pytest.param(record("a", "a", "c"), "b", "c", record("a", "a", "b"), id="another is dead"),
        pytest.param(record("x", "a"), "b", "", record("b", "a", "b", epoch=4), id="an owner that does not hold it"),
    ],
)
def test_holding(before: RoomRecord, node: str, dead: str, expected: RoomRecord) -> None:
    assert records.held_by(before, node, lambda other: other in dead) == expected


@pytest.mark.parametrize(
    ("before", "node", "expected"),
    [
        pytest.param(record("a", "a", "b"), "b", record("a", "a"), id="a holder"),
        pytest.param(record("a", "a", "b", "c"), "a", record("b", "b", "c", epoch=4), id="the owner"),
        pytest.param(record("a", "a"), "a", None, id="the last"),
        pytest.param(record("a", "a"), "b", record("a", "a"), id="somebody else"),
    ],
)
def test_leaving(before: RoomRecord, node: str, expected: RoomRecord | None) -> None:
    assert records.left_by(before, node) == expected


@pytest.mark.parametrize(
    ("before", "node", "dead", "expected"),
    [
        pytest.param(record("a", "a", "b"), "a", "", record("a", "a", "b"), id="nobody is dead"),
        pytest.param(record("a", "a", "b"), "a", "b", record("a", "a"), id="the owner removes the dead"),
        pytest.param(record("a", "a", "b", "c"), "c", "b", record("a", "a", "b", "c"), id="nobody else does"),
        pytest.param(record("a", "a", "b", "c"), "b", "a", record("b", "b", "c", epoch=4), id="the least takes over"),
        pytest.param(record("a", "a", "b", "c"), "c", "a", record("a", "a", "b", "c"), id="the others do not"),
        pytest.param(record("a", "a", "b", "c"), "c", "ab", record("c", "c", epoch=4), id="the last that is left"),
        pytest.param(record("a", "a", "b"), "z", "ab", record("a", "a", "b"), id="not who does not hold it"),
    ],
)
def test_cleaning(before: RoomRecord, node: str, dead: str, expected: RoomRecord) -> None:
    assert records.cleaned(before, node, lambda other: other in dead) == expected


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"name": "", "id": "", "epoch": 1, "owner": "", "holders": [], '
     b'"created_at": 0}', b'{"name": "r", "id": "", "epoch": "x", "owner": "", "holders": [], "created_at": 0}'],
    ids=range(7),
)  # fmt: skip
def test_what_is_no_record_is_refused(value: bytes) -> None:
    assert records.decode(value) is None


def test_a_record_is_read_as_it_was_written() -> None:
    written = record("a", "a", "b", metadata="é", max_participants=5, empty_timeout=7, ended=True)
    assert records.decode(records.encode(written)) == written


class Member:
    """A node that hosts rooms: those of `live`."""

    def __init__(self, node: str, state: SharedState, timing: Timing = FAST) -> None:
        self.id = node
        self.live: set[str] = set()
        self.told: dict[str, tuple[str, ...]] = {}
        self.registry = Registry(state, lambda: NodeInfo(node, 1, f"{node}:1"), timing=timing)
        self.directory = Directory(state, self.registry, self.live.__contains__, orphan_check=0.1)
        self.directory.holders_changed.append(self.told.__setitem__)

    async def start(self) -> None:
        await self.registry.start()
        await self.directory.start()

    async def join(self, name: str) -> RoomRecord:
        """As a participant's join does."""
        found = await self.directory.hold(new_room(name).info)
        self.live.add(name)
        return found

    async def leave(self, name: str) -> None:
        self.live.discard(name)
        await self.directory.release(name)

    async def stop(self) -> None:
        self.live.clear()
        await self.directory.stop()
        await self.registry.stop()

    async def kill(self) -> None:
        for part in (self.registry, self.directory):
            for task in part._tasks:
                task.cancel()
            await asyncio.gather(*part._tasks, return_exceptions=True)
            part._tasks = []


class Cluster:
    def __init__(self, stack: AsyncExitStack) -> None:
        self.state = MemoryState()
        self.stack = stack

    async def member(self, node: str, state: SharedState | None = None, timing: Timing = FAST) -> Member:
        member = Member(node, state or self.state, timing)
        await member.start()
        self.stack.push_async_callback(member.stop)
        return member

    async def members(self, ids: str) -> list[Member]:
        """All of which see each other."""
        found = [await self.member(node) for node in ids]
        await until(lambda: all(len(one.registry.nodes()) == len(ids) and one.registry.sees for one in found))
        return found

    async def record(self, name: str) -> RoomRecord | None:
        entry = await (await self.state.bucket("rooms")).get(records.key_of(name))
        return records.decode(entry.value) if entry is not None else None


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


async def until_record(cluster: Cluster, name: str, is_so: Callable[[RoomRecord | None], bool]) -> RoomRecord | None:
    async with asyncio.timeout(15):
        while not is_so(found := await cluster.record(name)):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
        return found


async def test_a_room_is_held_by_who_hosts_it(cluster: Cluster) -> None:
    a, b, c = await cluster.members("abc")
    first = await a.join("room")
    assert (first.owner, first.holders, first.epoch) == ("a", ("a",), 1)
    second = await b.join("room")
    assert (second.id, second.owner, second.holders) == (first.id, "a", ("a", "b"))
    await until(lambda: a.told.get("room") == b.told.get("room") == ("a", "b"))
    assert await c.directory.find("room") == await cluster.record("room")
    assert c.told == {}
    await a.leave("room")
    left = await until_record(cluster, "room", lambda found: found is not None and found.owner == "b")
    assert left is not None
    assert (left.epoch, left.holders, left.id) == (2, ("b",), first.id)
    assert a.told["room"] == ()
    await b.leave("room")
    assert await cluster.record("room") is None
    with pytest.raises(NotFoundError):
        await c.directory.hold(new_room("room").info, may_create=False)


async def test_who_has_just_looked_does_not_look_again(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("old")
    asked: list[str] = []
    bucket = b.directory._bucket

    def counted(name: str) -> Callable[..., Any]:
        call = getattr(bucket, name)

        async def ask(*given: Any) -> Any:
            asked.append(f"{name} {given[0]}")
            return await call(*given)

        return ask

    for name in ("get", "create", "update"):
        setattr(bucket, name, counted(name))
    assert await b.directory.find("new", recent=True) is None
    assert await b.directory.find("new", recent=True) is None
    assert (await b.join("new")).owner == "b"
    assert await b.directory.find("old") is not None
    assert (await b.join("old")).holders == ("a", "b")
    assert await b.directory.find("other") is None
    assert await b.directory.find("other") is None

    def of(name: str, count: int) -> list[str]:
        key = records.key_of(name)
        return [ask.split()[0] for ask in asked if ask.endswith(key)][:count]

    # Afterwards it may look whether all is as it should be.
    assert of("new", 2) == ["get", "create"]
    assert of("old", 2) == ["get", "update"]
    assert of("other", 9) == ["get", "get"], "who wants to know what is now looks"


async def test_what_was_seen_a_moment_ago_misleads_nobody(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    assert await b.directory.find("made", recent=True) is None
    made = await a.join("made")
    found = await b.directory.hold(new_room("made").info, may_create=False)
    assert (found.id, found.holders) == (made.id, ("a", "b")), "it had been made meanwhile"
    await a.join("left")
    assert await b.directory.find("left", recent=True) is not None
    await a.leave("left")
    assert (await b.join("left")).owner == "b", "it had been left meanwhile"
    with pytest.raises(NotFoundError):
        await b.directory.hold(new_room("nowhere").info, may_create=False)


@pytest.mark.parametrize("count", [2, 12])
async def test_all_nodes_that_hold_at_once_agree(cluster: Cluster, count: int) -> None:
    members = await cluster.members("abcdefghijkl"[:count])
    held = await asyncio.gather(*(one.join("room") for one in members))
    assert len({found.id for found in held}) == 1
    final = await cluster.record("room")
    assert final is not None
    assert final.holders == tuple(sorted(one.id for one in members))
    assert final.epoch == 1
    await until(lambda: all(one.told["room"] == final.holders for one in members))
    await asyncio.gather(*(one.leave("room") for one in members))
    assert await cluster.record("room") is None


async def test_the_same_over_nats() -> None:
    async with NatsServer() as server, AsyncExitStack() as stack:
        members = []
        for index in range(8):
            state = NatsState([server.url], name=f"n{index}")
            stack.push_async_callback(state.close)
            member = Member(f"n{index}", state, Timing())
            await member.start()
            stack.push_async_callback(member.stop)
            members.append(member)
        await until(lambda: all(len(one.registry.nodes()) == 8 for one in members))
        names = [f"room {index}" for index in range(6)]
        held = await asyncio.gather(*(one.join(name) for one in members for name in names))
        for name in names:
            assert len({found.id for found in held if found.name == name}) == 1
            found = await members[0].directory.find(name)
            await until(lambda name=name: len(members[0].directory.holders(name)) == 8)  # type: ignore[misc]
            assert found is not None
        await asyncio.gather(*(one.leave(name) for one in members for name in names))
        assert await members[0].directory.all() == []


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_order_a_record_is_there_while_somebody_hosts_the_room(cluster: Cluster, seed: int) -> None:
    generator = random.Random(seed)
    members = await cluster.members("abcde")
    names = ["one", "two"]

    async def live(member: Member, steps: Sequence[tuple[str, float]]) -> None:
        for name, pause in steps:
            await (member.leave(name) if name in member.live else member.join(name))
            await asyncio.sleep(pause)

    plans = [[(generator.choice(names), generator.random() * 0.004) for _ in range(25)] for _ in members]
    await asyncio.gather(*(live(member, plan) for member, plan in zip(members, plans, strict=True)))
    for name in names:
        hosts = tuple(member.id for member in members if name in member.live)
        found = await until_record(cluster, name, lambda f: (f.holders if f else ()) == hosts)  # noqa: B023
        assert (found is None) == (not hosts)
        assert found is None or found.owner in hosts


async def test_the_least_that_is_left_takes_over(cluster: Cluster) -> None:
    a, b, c = await cluster.members("abc")
    for member in (a, c, b):
        await member.join("room")
    before = await cluster.record("room")
    await a.kill()
    after = await until_record(cluster, "room", lambda found: found is not None and found.owner != "a")
    assert before is not None
    assert after is not None
    assert (after.owner, after.holders, after.epoch, after.id) == ("b", ("b", "c"), before.epoch + 1, before.id)
    await until(lambda: b.told["room"] == c.told["room"] == ("b", "c"))
    await c.kill()
    await until_record(cluster, "room", lambda found: found is not None and found.holders == ("b",))
    final = await cluster.record("room")
    assert final is not None
    assert (final.owner, final.epoch) == ("b", before.epoch + 1), "its owner stays"


async def test_who_is_cut_off_deletes_nothing_and_comes_back(cluster: Cluster) -> None:
    cut = CutState(cluster.state)
    a = await cluster.member("a", cut)
    b, c = await cluster.member("b"), await cluster.member("c")
    await until(lambda: all(len(one.registry.nodes()) == 3 for one in (a, b, c)))
    for member in (a, b):
        await member.join("room")
    await a.join("alone")
    ids = {name: a.directory.record(name).id for name in ("room", "alone")}  # type: ignore[union-attr]
    await until(lambda: a.told["room"] == ("a", "b"))
    cut.cut()
    await until_record(cluster, "room", lambda found: found is not None and found.holders == ("b",))
    assert a.told["room"] == ("a", "b"), "who is cut off takes nobody for dead"
    assert (await a.directory.hold(new_room("room").info)).id == ids["room"], "known rooms go on"
    with pytest.raises(UnavailableError) as refused:
        await a.join("another")
    assert refused.value.retry_after is not None
    cut.mend()
    await until_record(cluster, "room", lambda found: found is not None and found.holders == ("a", "b"))
    back = await cluster.record("room")
    assert back is not None
    assert (back.id, back.owner, back.epoch) == (ids["room"], "b", 2)
    await until(lambda: a.told["room"] == b.told["room"] == ("a", "b"))
    kept = await until_record(cluster, "alone", lambda found: found is not None and found.owner == "a")
    assert kept is not None
    assert kept.id == ids["alone"]


async def test_what_was_left_during_an_outage_is_left_after_it(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    for name in ("left by both", "left by one", "kept"):
        await a.join(name)
        await b.join(name)
    await until(lambda: all(a.directory.holders(name) == ("a", "b") for name in a.live))
    cluster.state.is_away = True
    began = time.monotonic()
    await a.leave("left by both")
    await b.leave("left by both")
    await a.leave("left by one")
    assert time.monotonic() - began < 0.5, "nobody waits"
    assert a.directory.holders("kept") == ("a", "b")
    await asyncio.sleep(FAST.expiry * 2)  # an outage longer than nodes live without a heartbeat
    cluster.state.is_away = False
    await until_record(cluster, "left by both", lambda found: found is None)
    await until_record(cluster, "left by one", lambda found: found is not None and found.holders == ("b",))
    kept = await cluster.record("kept")
    assert kept is not None
    assert (kept.holders, kept.epoch) == (("a", "b"), 1)


async def test_a_room_that_is_left_and_joined_again_during_an_outage_stays(cluster: Cluster) -> None:
    (a,) = await cluster.members("a")
    held = await a.join("room")
    cluster.state.is_away = True
    await a.leave("room")
    assert (await a.join("room")).id == held.id
    cluster.state.is_away = False
    await asyncio.sleep(FAST.heartbeat * 10)  # nothing is to happen
    found = await cluster.record("room")
    assert found is not None
    assert found.holders == ("a",)


async def test_a_state_that_has_lost_everything_is_told_again(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    before = await a.join("room")
    await b.join("room")
    bucket = await cluster.state.bucket("rooms")
    await bucket.delete(records.key_of("room"))
    after = await until_record(cluster, "room", lambda found: found is not None and found.holders == ("a", "b"))
    assert after is not None
    assert after.id == before.id
    assert after.epoch > before.epoch


async def test_who_stops_leaves_its_rooms_to_the_others(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    for index in range(100):
        await a.join(f"both {index}")
        await b.join(f"both {index}")
        await a.join(f"alone {index}")
    await a.stop()
    for index in range(100):
        found = await cluster.record(f"both {index}")
        assert found is not None
        assert (found.owner, found.holders) == ("b", ("b",))
        assert await cluster.record(f"alone {index}") is None


async def test_a_room_that_was_ended_ends_everywhere(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    first = await a.join("room")
    await b.join("room")
    ended: list[str] = []
    b.directory.record_changed.append(lambda found: ended.append(found.name) if found.ended else None)
    a.live.discard("room")
    await a.directory.release("room", ended=True)
    await until(lambda: ended == ["room"])
    again = await a.join("room")
    assert again.id != first.id, "who comes now makes another one"
    await b.leave("room")
    found = await cluster.record("room")
    assert found is not None
    assert (found.id, found.holders) == (again.id, ("a",))


async def test_rooms_of_the_dead_are_kept_for_a_while_and_then_buried(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    first = await a.join("comes back")
    await a.join("does not")
    await a.kill()
    await until(lambda: b.registry.is_dead("a"))
    found = await b.join("comes back")
    assert (found.id, found.owner, found.holders, found.epoch) == (first.id, "b", ("b",), 2)
    await until_record(cluster, "does not", lambda one: one is None)
    assert await cluster.record("comes back") is not None


async def test_metadata_is_told_to_all(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("room")
    await b.join("room")
    await a.directory.describe("room", "new")
    await until(lambda: b.directory.record("room").metadata == "new")  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(20))
async def test_partitions_leave_no_ghosts_and_delete_nothing(cluster: Cluster, seed: int) -> None:
    """Each seed: nodes are cut off and mended at random while people come and go, some nodes die."""
    generator = random.Random(seed)
    cuts = {node: CutState(cluster.state) for node in "abcde"}
    members = [await cluster.member(node, cut) for node, cut in cuts.items()]
    await until(lambda: all(len(one.registry.nodes()) == 5 for one in members))
    names = ["one", "two", "three"]
    dead: set[str] = set()
    for _ in range(40):
        member = generator.choice(members)
        act = generator.random()
        if act < 0.15:
            cuts[member.id].cut()
        elif act < 0.4:
            cuts[member.id].mend()
        elif act < 0.42 and len(dead) < 2 and member.id not in dead:
            dead.add(member.id)
            await member.kill()
        elif member.id not in dead:
            name = generator.choice(names)
            with suppress(UnavailableError):
                await (member.leave(name) if name in member.live else member.join(name))
        await asyncio.sleep(generator.random() * FAST.expiry / 4)
    for cut in cuts.values():
        cut.mend()
    for name in names:
        hosts = tuple(member.id for member in members if name in member.live and member.id not in dead)
        found = await until_record(cluster, name, lambda f: (f.holders if f else ()) == hosts)  # noqa: B023
        assert (found is None) == (not hosts)
        assert found is None or found.owner in hosts
        for member in members:
            if member.id in hosts:
                await until(lambda m=member: m.directory.holders(name) == hosts)  # type: ignore[misc]  # noqa: B023


async def test_a_node_stops_while_the_shared_state_is_away(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("room")
    await b.join("room")
    cluster.state.is_away = True
    await asyncio.sleep(0.3)  # its retries have begun
    async with asyncio.timeout(2):
        await a.stop()
    cluster.state.is_away = False
    await until_record(cluster, "room", lambda found: found is not None and found.holders == ("b",))


async def test_a_server_that_has_lost_everything_is_told_again() -> None:
    timing = Timing().scaled(0.5)
    async with NatsServer() as server, AsyncExitStack() as stack:
        members = []
        for node in "ab":
            state = NatsState([server.url], name=node)
            stack.push_async_callback(state.close)
            member = Member(node, state, timing)
            await member.start()
            stack.push_async_callback(member.stop)
            members.append(member)
        a, b = members
        await until(lambda: all(len(one.registry.nodes()) == 2 for one in members))
        held = await a.join("room")
        await b.join("room")
        await server.stop()
        server.lose_everything()
        await server.start()
        await until(lambda: all(one.registry.sees for one in members))
        found: list[RoomRecord] = []
        async with asyncio.timeout(10):
            while len(found) != 1 or found[0].holders != ("a", "b"):
                await asyncio.sleep(0.05)
                with suppress(UnavailableError):
                    found = await a.directory.all()
        assert found[0].id == held.id
        assert found[0].epoch > held.epoch
