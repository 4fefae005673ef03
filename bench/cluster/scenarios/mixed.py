"""Chromium, the Python SDK and load clients in one room over three nodes, and what they notice when something breaks.

Chromium runs the web client and knows one node's URL; the SDK knows a load balancer's.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.cluster.lab.balancer import Balancer
from bench.cluster.lab.browser import Browser
from bench.cluster.lab.clients import Clients, Meeting, Report
from bench.cluster.lab.mesh import Route
from bench.cluster.lab.operate import Operator, operator
from bench.cluster.lab.processes import LabError
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.sdk import Sdk
from bench.cluster.lab.wait import until
from bench.cluster.lab.witness import Witness, Witnessed
from bench.cluster.lab.world import Lab, Plan
from bench.cluster.scenarios.common import Tell, gateways, plan

NAME, ROOM = "mixed", "mixed-0"
CHROMIUM, PYTHON = "chromium", "python"
LOAD = ("member-0-2", "member-0-3")
EVERYONE = {CHROMIUM, PYTHON, *LOAD}
FILMED = {CHROMIUM, PYTHON}
"""Load clients publish voices alone: their pictures are none."""
TOGETHER_SECONDS = 30.0
BROKEN_SECONDS = 5.0
QUIET_SECONDS = 2.0
NOTICED_SECONDS = 1.5
SIGNALING_SECONDS = 4.0
"""Until who lost a WebSocket has another."""


@dataclass
class Mixed:
    """A lab with everyone in the room."""

    lab: Lab
    browser: Browser
    sdk: Sdk
    load: Clients

    @property
    def witnesses(self) -> dict[str, Witness]:
        return {CHROMIUM: self.browser, PYTHON: self.sdk}

    async def together(self, seconds: float = TOGETHER_SECONDS) -> float:
        """Seconds until everyone sees, hears and watches everyone. Raises LabError with what lacks."""
        begun = time.monotonic()
        for who, witness in self.witnesses.items():

            def whole(seen: Witnessed, who: str = who) -> bool:
                return not seen.missing(EVERYONE - {who}, FILMED - {who})

            def lacks(seen: Witnessed, who: str = who) -> Any:
                return seen.missing(EVERYONE - {who}, FILMED - {who}), seen

            await witness.until(whole, seconds, lacks)
        try:
            await self.load.until(_hears_all, seconds)
        except TimeoutError as error:
            raise LabError(f"load clients lack somebody: {(await self.load.look()).participants}") from error
        return time.monotonic() - begun

    async def begin(self) -> None:
        """What is told from now on is since now."""
        for witness in self.witnesses.values():
            await witness.report()
        await self.load.report()

    async def told(self) -> dict[str, Any]:
        """By participant: the longest gap of any voice in ms, of each voice, events, who was seen to leave."""
        seen = {who: await witness.report() for who, witness in self.witnesses.items()}
        load = await self.load.report()
        return {
            "gap_ms": {
                **{who: round(one.gap_ms, 1) for who, one in seen.items()},
                **{one.name: round(one.audio.stream_gap_ms, 1) for one in load.participants},
            },
            "voices": {who: {of: round(flow.gap_ms, 1) for of, flow in one.audio.items()} for who, one in seen.items()},
            "events": {who: one.events for who, one in seen.items()},
            "left": {who: one.left for who, one in seen.items() if one.left},
            "rejoins": sum(one.rejoins for one in load.participants),
        }


@asynccontextmanager
async def mixed(
    programs: Programs, world: Plan, browser: str, sdk: str, load: str, *, later: str = ""
) -> AsyncIterator[Mixed]:
    """`browser`, `sdk`, `load`: the nodes to which they come. `later`: one that is there once they have come."""
    async with Lab(world, programs) as lab:
        if later:
            await lab.nodes[later].stop()
        region = {name: node.region for name, node in lab.nodes.items()}
        meeting = Meeting(NAME, members=range(2, 4), speakers=4, cameras=2)
        async with (
            Browser(lab, region[browser], ROOM, CHROMIUM, lab.nodes[browser]) as page,
            Balancer(lab, region[sdk], gateways(lab, sdk)) as balancer,
            Sdk(lab, region[sdk], ROOM, PYTHON, balancer.ws) as python,
            Clients(lab, region[load], meeting, gateways(lab, load)) as members,
        ):
            world_of = Mixed(lab, page, python, members)
            await world_of.together()
            if later:
                await lab.nodes[later].start()
                await lab.acquainted()
            yield world_of


async def where(asked: Operator) -> dict[str, int]:
    """Participants by node."""
    return {name: node.participants for name, node in (await asked.nodes()).items()}


def _hears_all(report: Report) -> bool:
    return all(
        one.present and one.audio.streams == 3 and one.video.streams == 2 and EVERYONE - {one.name} <= set(one.others)
        for one in report.participants
    )


async def spanning(programs: Programs, *, tell: Tell) -> dict[str, Any]:
    """One of them at each of three nodes in regions far apart; the path between browser's and SDK's is cut; the
    browser's node dies, and its gateway with it.

    `placed`: participants by node. `cut`: what was told while it was cut, `mended`: from then on, `kill`: after the
    death; `kill_s`: until everyone had everything again.
    """
    async with mixed(programs, plan(3), "a", "b", "c") as room, operator(room.lab.nodes["c"]) as asked:
        tell("a browser at a, the Python SDK at b, load clients at c")
        await asyncio.sleep(QUIET_SECONDS)
        placed = await where(asked)
        await room.begin()
        await asyncio.sleep(QUIET_SECONDS)
        quiet = await room.told()
        tell("a ↔ b cut")
        await room.lab.net.cut("a", "b")
        await asyncio.sleep(BROKEN_SECONDS)
        cut = await room.told()
        await room.together()
        await room.lab.net.heal("a", "b")
        await room.lab.acquainted()
        await room.together()
        mended = await room.told()
        tell("kill -9 of a")
        kill, kill_s = await _die(room, "a")
        return {"placed": placed, "quiet": quiet, "cut": cut, "mended": mended, "kill": kill, "kill_s": kill_s}


async def _die(room: Mixed, node: str) -> tuple[dict[str, Any], float]:
    """What is told after kill -9, and seconds until everyone has everything."""
    await room.begin()
    await room.lab.nodes[node].kill()
    begun = time.monotonic()
    # What came a second ago still counts.
    await asyncio.sleep(NOTICED_SECONDS)
    await room.together()
    return await room.told(), round(time.monotonic() - begun, 1)


async def moving(programs: Programs, *, tell: Tell) -> dict[str, Any]:
    """Browser and SDK at one node, which is drained and ends, and its gateway with it; then the node that took them in
    dies.

    `drain`, `stop`, `kill`: what was told meanwhile; `before`, `after`, `end`: participants by node; `kill_s`: until
    everyone had everything again.
    """
    world = Plan(
        regions={"a": "eu", "b": "eu", "c": "us"},
        paths={frozenset({"eu", "us"}): Route(delay_ms=70)},
        clients=["eu", "us"],
    )
    async with mixed(programs, world, "a", "a", "c", later="b") as room, operator(room.lab.nodes["c"]) as asked:
        lab = room.lab
        before = await where(asked)
        await room.begin()
        tell("a is drained")
        await asked.drain("a")

        async def empty() -> bool:
            return (await asked.nodes())["a"].participants == 0

        await until(empty)
        await asyncio.sleep(QUIET_SECONDS)
        drain = await room.told()
        await room.together()
        after = await where(asked)
        await room.begin()
        tell("a ends")
        await lab.nodes["a"].stop()
        await asyncio.sleep(SIGNALING_SECONDS)
        stop = await room.told()
        await room.together()
        tell("kill -9 of b")
        kill, kill_s = await _die(room, "b")
        return {
            "before": before,
            "after": after,
            "end": await where(asked),
            "drain": drain,
            "stop": stop,
            "kill": kill,
            "kill_s": kill_s,
        }
