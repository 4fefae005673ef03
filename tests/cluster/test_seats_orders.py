"""Seats of a room, whatever the order in which requests and answers come: a thousand orders, each drawn from a seed."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from control_plane.cluster.registry import Timing
from tests.cluster import virtual
from tests.cluster.test_seats import Cluster, Member, SlowState, refused

LIMIT = 2
PEOPLE = [f"p{index}" for index in range(5)]
ACTS = 10


class Orders:
    """People come to three nodes, leave, come again elsewhere and are moved; a node dies and starts again."""

    def __init__(self, cluster: Cluster, generator: random.Random) -> None:
        self.cluster = cluster
        self.generator = generator
        self.members: list[Member] = []
        self.story: list[str] = []

    async def start(self) -> None:
        for node in "abc":
            self.members.append(await self.member(node))
        await self.cluster.until_seen(self.members)

    async def member(self, node: str) -> Member:
        member = await self.cluster.member(node, timing=Timing(), clock=asyncio.get_running_loop().time)
        member.joined = self.look
        return member

    def look(self) -> None:
        people = self.cluster.people()
        assert len(people) <= LIMIT, "\n".join([*self.story[-30:], f"{sorted(people)} are there"])

    def tell(self, *what: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():.4f} {' '.join(what)}")

    async def live(self, identity: str) -> None:
        at: Member | None = None
        for _ in range(ACTS):
            if at not in self.cluster.nodes:
                at = None
            act, other = self.generator.random(), self.generator.choice(self.members)
            if at is None or act < 0.3:
                at = await self.come(identity, at, other)
            elif act < 0.6:
                at = await self.move(identity, at, other)
            else:
                self.leave(identity, at)
                at = None
            await asyncio.sleep(self.generator.random() * 0.04)
        if at is not None:
            self.leave(identity, at)

    async def come(self, identity: str, at: Member | None, other: Member) -> Member | None:
        """Who is elsewhere already leaves there when they are here."""
        self.tell(identity, "joins", other.id)
        if await refused(other.join(identity, LIMIT)):
            self.tell(identity, "is refused at", other.id)
            return at
        self.tell(identity, "has joined", other.id)
        if at not in (None, other):
            self.leave(identity, at)
        return other

    async def move(self, identity: str, at: Member, other: Member) -> Member:
        if at is other:
            return at
        self.tell(identity, "moves to", other.id)
        if await refused(other.adopt(identity, LIMIT)):
            assert at not in self.cluster.nodes, "who is there has a seat"
            return at
        self.tell(identity, "has moved to", other.id)
        if self.generator.random() < 0.5:
            # Its former node may be told late.
            await asyncio.sleep(self.generator.random() * 0.02)
        self.leave(identity, at)
        return other

    def leave(self, identity: str, at: Member | None) -> None:
        if at in self.cluster.nodes:
            self.tell(identity, "leaves", at.id)
            at.leave(identity)

    async def die(self) -> None:
        await asyncio.sleep(self.generator.random() * 0.4)
        position = self.generator.randrange(len(self.members))
        member = self.members[position]
        self.tell(member.id, "dies")
        self.cluster.nodes.remove(member)
        await member.kill()
        self.members[position] = await self.member(member.id)


async def one(seed: int) -> None:
    generator = random.Random(seed)
    random.seed(seed)
    async with AsyncExitStack() as stack:
        cluster = Cluster(stack)
        cluster.state = SlowState(generator, delay=generator.choice([0.001, 0.004, 0.02]))
        cluster.state.clock = asyncio.get_running_loop().time
        orders = Orders(cluster, generator)
        await orders.start()
        others = [orders.die()] if generator.random() < 0.3 else []
        await asyncio.gather(*map(orders.live, PEOPLE), *others)
        await cluster.until_right()
        assert await cluster.record() is None, "nothing is left behind"
        joins = (refused(generator.choice(orders.members).join(identity, LIMIT)) for identity in PEOPLE)
        assert sum(await asyncio.gather(*joins)) == len(PEOPLE) - LIMIT, "all seats are had"


@pytest.mark.parametrize("block", range(10))
def test_never_too_many_and_in_the_end_all_get_in(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        try:
            virtual.run(one(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
