"""Seats of rooms with a limit: never more than there are, and all of them are had, whoever writes at the same time."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from control_plane.cluster import registry, seat_record
from control_plane.cluster.memory import MemoryState
from control_plane.cluster.nats import NatsState
from control_plane.cluster.records import key_of
from control_plane.cluster.registry import NodeInfo, Registry, Timing
from control_plane.cluster.seat_record import SeatRecord, mark
from control_plane.cluster.seats import Seats
from control_plane.cluster.state import Bucket, Change, ConflictError, Entry, SharedState
from control_plane.errors import LimitExceededError
from tests.cluster import waiting
from tests.cluster.cut import CutState
from tests.cluster.nats_server import NatsServer

until = partial(waiting.until, patience=15.0)

FAST = Timing().scaled(0.05)
# Who was killed is still believed to live for long enough that a test sees it.
SLOW = Timing().scaled(0.3)
ROOM = "room"


def taken(**nodes: str) -> SeatRecord:
    """Each letter is an identity."""
    return SeatRecord(ROOM, {node: frozenset(map(mark, who)) for node, who in nodes.items()})


@pytest.mark.parametrize(
    ("before", "here", "wanted", "limit", "dead", "after", "granted"),
    [
        pytest.param(taken(), "", "x", 1, "", taken(a="x"), [True], id="the first"),
        pytest.param(taken(b="y"), "", "x", 1, "", taken(b="y"), [False], id="full"),
        pytest.param(taken(b="yz"), "", "x", 1, "", taken(b="yz"), [False], id="overfull"),
        pytest.param(taken(b="y"), "z", "xwv", 4, "", taken(a="zxw", b="y"), [True, True, False], id="a burst"),
        pytest.param(taken(b="x"), "", "x", 1, "", taken(a="x", b="x"), [True], id="who is at another node"),
        pytest.param(taken(a="x"), "x", "x", 1, "", taken(a="x"), [True], id="who is here"),
        pytest.param(taken(), "", "xx", 1, "", taken(a="x"), [True, True], id="twice at once"),
        pytest.param(taken(a="xyz"), "z", "", 1, "", taken(a="z"), [], id="who is not here any more"),
        pytest.param(taken(a="xyz"), "", "", 1, "", taken(), [], id="nobody is"),
        pytest.param(taken(b="y"), "", "x", 1, "b", taken(a="x"), [True], id="a dead node's"),
        pytest.param(taken(b="x"), "xyz", "w", 2, "", taken(a="xyz", b="x"), [False], id="who is here already"),
    ],
)  # fmt: skip
def test_who_gets_a_seat(
    before: SeatRecord, here: str, wanted: str, limit: int, dead: str, after: SeatRecord, granted: list[bool]
) -> None:
    asked = [(mark(one), limit) for one in wanted]
    present = frozenset(map(mark, here))
    assert seat_record.seated(before, "a", present, asked, lambda node: node in dead) == (after, granted)


def test_a_record_is_read_as_it_was_written() -> None:
    written = taken(a="xyz", b="w")
    assert seat_record.decode(seat_record.encode(written)) == written
    newer = seat_record.encode(written).replace(b"{", b'{"news":1,', 1)
    assert seat_record.decode(newer) == written, "what a newer release adds is passed over"


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"room":"","taken":{}}', b'{"room":"r","taken":{"a":"1234567"}}',
     b'{"room":"r","taken":{"a":["12345678"]}}', b'{"room":"r","taken":["a"]}',
     b'{"room":"r","taken":{%s}}' % b",".join(b'"%d":""' % one for one in range(2_000))],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_record_is_refused(value: bytes) -> None:
    assert seat_record.decode(value) is None


class SlowBucket(Bucket):
    """Each request takes a while, there and back, and one in ten writes is lost to a rival that nobody sees."""

    def __init__(self, inner: Bucket, generator: random.Random, delay: float) -> None:
        self._inner = inner
        self._generator = generator
        self._delay = delay

    async def _travel(self) -> None:
        await asyncio.sleep(self._generator.random() * self._delay)

    async def _lose(self) -> None:
        if self._generator.random() < 0.1:
            raise ConflictError("a rival")

    async def _ask(self, call: Any, *arguments: Any) -> Any:
        await self._travel()
        try:
            return await call(*arguments)
        finally:
            await self._travel()

    async def get(self, key: str) -> Entry | None:
        found: Entry | None = await self._ask(self._inner.get, key)
        return found

    async def put(self, key: str, value: bytes) -> int:
        return int(await self._ask(self._inner.put, key, value))

    async def create(self, key: str, value: bytes) -> int:
        await self._lose()
        return int(await self._ask(self._inner.create, key, value))

    async def update(self, key: str, value: bytes, revision: int) -> int:
        await self._lose()
        return int(await self._ask(self._inner.update, key, value, revision))

    async def delete(self, key: str, revision: int | None = None) -> None:
        await self._lose()
        await self._ask(self._inner.delete, key, revision)

    async def entries(self) -> list[Entry]:
        return await self._inner.entries()

    async def watch(self) -> Any:
        async for change in self._inner.watch():
            assert isinstance(change, Change)
            yield change


class SlowState(MemoryState):
    """Of seats; heartbeats are not slowed."""

    def __init__(self, generator: random.Random, delay: float = 0.004) -> None:
        super().__init__()
        self._generator = generator
        self._delay = delay

    async def bucket(self, name: str, ttl: float | None = None) -> Any:
        inner = await super().bucket(name, ttl)
        return SlowBucket(inner, self._generator, self._delay) if name == "seats" else inner


class Member:
    """A node with people in rooms. `joined` is called at each join."""

    def __init__(
        self,
        node: str,
        state: SharedState,
        timing: Timing = FAST,
        audit: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = node
        self.present: dict[str, set[str]] = {}
        self.joined: Callable[[], None] = lambda: None
        self.told: list[tuple[str, str]] = []
        """Who is on other nodes, as those tell this one."""
        info = NodeInfo(node, random.getrandbits(40), f"{node}:1", seats=True)
        self.registry = Registry(state, lambda: info, clock, timing)
        self.seats = Seats(
            state,
            self.registry,
            lambda name: self.present.get(name, ()),
            lambda _: self.told,
            orphan_check=0.1,
            audit=audit,
        )

    async def start(self) -> None:
        await self.registry.start()
        await self.seats.start()

    async def join(self, identity: str, limit: int, name: str = ROOM) -> bool:
        async with self.seats.seat(name, identity, limit) as has_seat:
            self.present.setdefault(name, set()).add(identity)
            self.joined()
            return has_seat

    def leave(self, identity: str, name: str = ROOM) -> None:
        self.present[name].discard(identity)
        self.seats.changed(name)

    async def adopt(self, identity: str, limit: int, name: str = ROOM) -> None:
        """Somebody is moved here, with a session: the node where they are is told after that."""
        async with self.seats.seat(name, identity, limit):
            self.present.setdefault(name, set()).add(identity)
            self.joined()

    async def stop(self) -> None:
        self.present.clear()
        await self.seats.stop()
        await self.registry.stop()

    async def kill(self) -> None:
        rooms = [room.task for room in self.seats._rooms.values() if room.task is not None]
        tasks = [*self.registry._tasks, *self.seats._tasks, *rooms]
        # At once: else who waits for a seat goes on and has one written.
        self.registry._tasks, self.seats._tasks = [], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.seats._rooms.clear()
        self.present.clear()


class Cluster:
    def __init__(self, stack: AsyncExitStack) -> None:
        self.state: MemoryState = MemoryState()
        self.stack = stack
        self.nodes: list[Member] = []

    async def member(
        self,
        node: str,
        state: SharedState | None = None,
        timing: Timing = FAST,
        audit: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Member:
        member = Member(node, state or self.state, timing, audit, clock)
        await member.start()
        self.stack.push_async_callback(member.stop)
        self.nodes.append(member)
        return member

    async def members(self, ids: str, timing: Timing = FAST) -> list[Member]:
        """All of which see each other."""
        found = [await self.member(node, timing=timing) for node in ids]
        await self.until_seen(found)
        return found

    async def until_seen(self, members: list[Member]) -> None:
        await until(lambda: all(len(one.registry.nodes()) == len(members) and one.registry.sees for one in members))

    def people(self, name: str = ROOM) -> set[str]:
        return set().union(*(one.present.get(name, ()) for one in self.nodes))

    async def record(self, name: str = ROOM) -> SeatRecord | None:
        # The memory itself: what is asked for here is not slowed.
        entry = await (await MemoryState.bucket(self.state, "seats")).get(key_of(name))
        return seat_record.decode(entry.value) if entry is not None else None

    async def until_right(self, name: str = ROOM) -> None:
        """What is written is so."""
        async with asyncio.timeout(15):
            while True:
                there = {one.id: frozenset(map(mark, one.present[name])) for one in self.nodes if one.present.get(name)}
                found = await self.record(name)
                if there == (found.taken if found is not None else {}):
                    return
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


async def refused(join: Any) -> bool:
    """Whether the room was full."""
    try:
        await join
    except LimitExceededError as error:
        # Else gateways would try the next node.
        if "is full" not in str(error) or error.retry_after is not None:
            raise
        return True
    return False


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("nodes", "limit"), [("ab", 1), ("abcde", 7), ("abcdefghijkl", 40)])
async def test_of_all_who_come_at_once_as_many_get_in_as_there_is_room_for(
    cluster: Cluster, seed: int, nodes: str, limit: int
) -> None:
    generator = random.Random(seed)
    cluster.state = SlowState(generator)
    members = await cluster.members(nodes)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(cluster.people()))

    for member in members:
        member.joined = look

    async def come(index: int) -> bool:
        await asyncio.sleep(generator.random() * 0.03)
        return await refused(generator.choice(members).join(f"p{index}", limit))

    refusals = sum(await asyncio.gather(*(come(index) for index in range(limit * 2))))
    assert most == limit
    assert len(cluster.people()) == limit
    assert refusals == limit
    await cluster.until_right()


@pytest.mark.parametrize("seed", range(12))
async def test_never_too_many_and_in_the_end_all_get_in_whatever_the_order(cluster: Cluster, seed: int) -> None:
    """Each seed: people come, leave, come again elsewhere and are moved at random; who was refused comes again."""
    generator = random.Random(100 + seed)
    cluster.state = SlowState(generator)
    members = await cluster.members("abcd")
    limit, people = 6, [f"p{index}" for index in range(10)]

    def look() -> None:
        assert len(cluster.people()) <= limit

    for member in members:
        member.joined = look

    async def live(identity: str) -> None:
        at: Member | None = None
        for _ in range(15):
            act, other = generator.random(), generator.choice(members)
            if at is None or act < 0.3:
                # With the same identity somewhere already: the former one leaves, as a newer one makes it.
                if not await refused(other.join(identity, limit)):
                    if at is not None and at is not other:
                        at.leave(identity)
                    at = other
            elif act < 0.5:
                if at is not other:
                    assert not await refused(other.adopt(identity, limit)), "the seat is taken along"
                    at.leave(identity)
                    at = other
            else:
                at.leave(identity)
                at = None
            await asyncio.sleep(generator.random() * 0.02)
        if at is not None:
            at.leave(identity)

    await asyncio.gather(*map(live, people))
    await cluster.until_right()
    assert await cluster.record() is None, "nothing is left behind"
    await until(lambda: not any(one.seats._rooms for one in members))
    results = await asyncio.gather(*(refused(generator.choice(members).join(one, limit)) for one in people))
    assert sum(results) == len(people) - limit


async def test_who_leaves_makes_room_for_the_next_at_any_node(cluster: Cluster) -> None:
    cluster.state = SlowState(random.Random(1))
    members = await cluster.members("abc")
    await members[0].join("p0", 1)
    for index, (former, following) in enumerate(itertools.pairwise(itertools.islice(itertools.cycle(members), 8))):
        former.leave(f"p{index}")
        assert not await refused(following.join(f"p{index + 1}", 1)), "at once"


async def test_the_same_identity_gets_in_though_the_room_is_full(cluster: Cluster) -> None:
    a, b, c = await cluster.members("abc")
    await a.join("x", 2)
    await b.join("y", 2)
    assert not await refused(a.join("x", 2)), "at the same node"
    assert not await refused(c.join("x", 2)), "at another"
    a.leave("x")
    await cluster.until_right()
    assert await refused(a.join("z", 2)), "and has one seat as before"
    assert not any(await asyncio.gather(*(refused(one.join("y", 2)) for one in (a, b, c)))), "everywhere at once"


async def test_who_is_moved_takes_the_seat_along(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("x", 1)
    assert not await refused(b.adopt("x", 1))
    a.leave("x")
    assert await refused(a.join("y", 1)), "also at once"
    assert await refused(b.join("y", 1))
    await cluster.until_right()
    assert await refused(a.join("y", 1))
    b.leave("x")
    assert not await refused(a.join("y", 1))


async def test_a_join_that_fails_gives_its_seat_back(cluster: Cluster) -> None:
    cluster.state = SlowState(random.Random(2), delay=0.05)
    a, b = await cluster.members("ab")
    with pytest.raises(ValueError, match="later"):
        async with a.seats.seat(ROOM, "x", 1):
            raise ValueError("later")
    assert not await refused(b.join("y", 1))
    b.leave("y")
    await cluster.until_right()
    # Who goes while the seat is asked for, at whichever moment.
    for pause in (0.0, 0.01, 0.03, 0.05, 0.1):
        going = asyncio.create_task(a.join("z", 1))
        await asyncio.sleep(pause)
        if not going.cancel():
            a.leave("z")
        with suppress(asyncio.CancelledError):
            await going
        a.present.clear()
    assert not await refused(b.join("y", 1))
    await cluster.until_right()


async def test_a_burst_at_a_node_takes_few_writes(cluster: Cluster) -> None:
    cluster.state = SlowState(random.Random(3), delay=0.02)
    a, _ = await cluster.members("ab")
    bucket: Any = await MemoryState.bucket(cluster.state, "seats")
    before = bucket._revision
    await asyncio.gather(*(a.join(f"p{index}", 1_000) for index in range(500)))
    assert 1 <= bucket._revision - before <= 3


async def test_those_of_a_dead_node_come_back_before_others_take_their_seats(cluster: Cluster) -> None:
    a, b, c = await cluster.members("abc", SLOW)
    await a.join("x", 2)
    await b.join("y", 2)
    await a.kill()
    assert await refused(c.join("z", 2)), "it may come back"
    assert not await refused(c.join("x", 2)), "at once"
    c.leave("x")
    await until(lambda: b.registry.is_dead("a") and c.registry.is_dead("a"))
    assert not await refused(c.join("z", 2)), "nobody has come"
    assert await refused(b.join("x", 2))
    await cluster.until_right()


async def test_what_a_former_process_left_is_cleared(cluster: Cluster) -> None:
    a, b = await cluster.members("ab", SLOW)
    await a.join("x", 1)
    await a.kill()
    cluster.nodes.remove(a)
    again = await cluster.member("a", timing=SLOW)
    await cluster.until_right()
    assert not await refused(b.join("y", 1))
    assert again.present == {}


async def test_without_the_shared_state_a_join_goes_by_what_is_known(cluster: Cluster) -> None:
    cut = CutState(cluster.state)
    a, b = await cluster.member("a", cut), await cluster.member("b")
    await cluster.until_seen([a, b])
    await a.join("x", 2)
    cut.cut()
    async with asyncio.timeout(0.5):
        assert not await a.join("y", 2), "it cannot tell"
        assert not await a.join("z", 2)
    a.leave("x")
    cut.mend()
    await cluster.until_right()
    assert await refused(b.join("w", 2)), "what is so was written"


async def test_who_was_taken_for_dead_writes_again(cluster: Cluster) -> None:
    cut = CutState(cluster.state)
    a, b = await cluster.member("a", cut), await cluster.member("b")
    await cluster.until_seen([a, b])
    await a.join("x", 1)
    cut.cut()
    await until(lambda: b.registry.is_dead("a"))
    await b.join("y", 1)
    found = await cluster.record()
    assert found is not None
    assert set(found.taken) == {"b"}
    cut.mend()
    await cluster.until_right()
    assert cluster.people() == {"x", "y"}, "nobody is thrown out"
    b.leave("y")
    await cluster.until_right()
    assert await refused(b.join("z", 1))


async def test_a_state_that_has_lost_everything_is_told_again(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("x", 2)
    await b.join("y", 2)
    cluster.state.is_away = True
    await asyncio.sleep(FAST.heartbeat * 10)
    cluster.state.is_away = False
    await (await cluster.state.bucket("seats")).delete(key_of(ROOM))
    await cluster.until_right()
    assert await refused(b.join("z", 2))


async def test_records_of_the_dead_are_buried(cluster: Cluster) -> None:
    a, b = await cluster.members("ab")
    await a.join("x", 2)
    await a.kill()
    await until(lambda: b.registry.is_dead("a"))
    async with asyncio.timeout(10):
        while await cluster.record() is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_people_on_nodes_of_the_release_before_count_as_far_as_they_are_known(cluster: Cluster) -> None:
    (a,) = await cluster.members("a")
    # Such a node writes no seats, and says nothing of them in its heartbeat.
    old = NodeInfo("old", 1, "old:1")
    said = json.loads(registry.encode(old))
    del said["seats"]
    bucket = await cluster.state.bucket("nodes", FAST.expiry)
    await bucket.put("old", json.dumps(said).encode())
    await until(lambda: a.registry.node("old") == old)
    a.told = [("old", "x"), ("a restarted one", "y")]
    await a.join("z", 3)
    await a.join("x", 3)
    assert await refused(a.join("w", 2))
    assert not await refused(a.join("w", 3)), "who is there twice has one seat"
    await cluster.until_right()


@pytest.mark.parametrize("seed", range(12))
async def test_after_partitions_what_is_written_is_so(cluster: Cluster, seed: int) -> None:
    """Each seed: nodes are cut off and mended at random while people come and go, some nodes die and come back."""
    generator = random.Random(seed)
    cuts = {node: CutState(cluster.state) for node in "abcd"}
    members = [await cluster.member(node, cut) for node, cut in cuts.items()]
    await cluster.until_seen(members)
    limit, joins = 5, list[tuple[Member, asyncio.Task[bool]]]()
    for index in range(60):
        position = generator.randrange(len(members))
        member, act = members[position], generator.random()
        present = sorted(member.present.get(ROOM, ()))
        if act < 0.12:
            cuts[member.id].cut()
        elif act < 0.3:
            cuts[member.id].mend()
        elif act < 0.33:
            for task in [task for one, task in joins if one is member]:
                task.cancel()
                await asyncio.wait([task])
            joins = [(one, task) for one, task in joins if one is not member]
            await member.kill()
            cluster.nodes.remove(member)
            members[position] = await cluster.member(member.id, cuts[member.id])
        elif act < 0.55 and present:
            member.leave(generator.choice(present))
        else:
            joins.append((member, asyncio.create_task(refused(member.join(f"p{index}", limit)))))
        await asyncio.sleep(generator.random() * FAST.expiry / 4)
    for cut in cuts.values():
        cut.mend()
    await asyncio.gather(*(task for _, task in joins))
    await cluster.until_seen(members)
    await cluster.until_right()
    there = len(cluster.people())
    results = await asyncio.gather(*(refused(generator.choice(members).join(f"new {one}", limit)) for one in range(8)))
    assert len(results) - sum(results) == max(0, limit - there)
    await cluster.until_right()


async def test_what_nobody_noticed_is_put_right(cluster: Cluster) -> None:
    a = await cluster.member("a", audit=0.2)
    bucket = await cluster.state.bucket("seats")
    rooms = [f"room {index}" for index in range(5)]
    for index, name in enumerate(rooms):
        await a.join(f"p{index}", 1, name)
        await bucket.put(key_of(name), seat_record.encode(SeatRecord(name, {"a": frozenset({mark("nobody")})})))
    await asyncio.gather(*map(cluster.until_right, rooms))


async def test_garbage_in_the_shared_state_is_replaced(cluster: Cluster) -> None:
    (a,) = await cluster.members("a")
    await (await cluster.state.bucket("seats")).put(key_of(ROOM), b"{")
    await a.join("x", 1)
    await cluster.until_right()


async def test_the_same_over_nats() -> None:
    async with NatsServer() as server, AsyncExitStack() as stack:
        cluster = Cluster(stack)
        for index in range(6):
            state = NatsState([server.url], name=f"n{index}")
            stack.push_async_callback(state.close)
            await cluster.member(f"n{index}", state, Timing())
        members = cluster.nodes
        await cluster.until_seen(members)
        joins = [(members[index % 6], f"p{index}") for index in range(90)]
        results = await asyncio.gather(*(refused(one.join(who, 30)) for one, who in joins))
        assert sum(results) == 60
        assert len(cluster.people()) == 30
        for member in members:
            for who in list(member.present.get(ROOM, ())):
                member.leave(who)
        assert not await refused(members[0].join("next", 1))
