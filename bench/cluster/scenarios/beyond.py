"""The path between two nodes is cut, and the room goes on as one: who comes beyond it is seen and heard."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.cluster.lab.clients import Clients, Meeting, Report
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, gateways, people, plan
from bench.cluster.scenarios.settle import settle

CUT = ("b", "c")
CALM_SECONDS = 4.0
"""After the first newcomer: until tracks and streams have taken other ways."""
HEALED_SECONDS = 8.0
"""For which everyone is looked at after the path is well again: streams go straight, then tracks."""
LOOK_SECONDS = 0.2


async def run(programs: Programs, *, tell: Tell) -> dict[str, Any]:
    """Cuts the path between b and c; then somebody joins at c, and later another. Then the path is well again.

    `first_ms`: from the cut until b's people see and hear who came just then. `joined_ms`: the same for who came later,
    since they were in themselves. `gone`: who did not see everyone at some time after the path was well again.
    `silent`: who did not hear everyone in the end. `rejoins`: of those who were in before.
    """
    async with Lab(plan(3, loss=False), programs) as lab, Gathering(lab, "beyond", per_node=1) as room:
        await settle(room)
        tell("cut")
        await lab.net.cut(*CUT)
        cut_at = time.monotonic()
        async with _newcomer(lab, room, 0):
            await _until(room, lambda one: len(one.others) == one.audio.streams == room.size)
            first = time.monotonic() - cut_at
            await asyncio.sleep(CALM_SECONDS)
            tell("another joins")
            async with _newcomer(lab, room, 1):
                begun = time.monotonic()
                others = room.size + 1
                await _until(room, lambda one: len(one.others) == one.audio.streams == others)
                joined = time.monotonic() - begun
                await lab.net.heal(*CUT)
                tell("healed")
                gone: list[str] = []
                healed_at = time.monotonic()
                while time.monotonic() - healed_at < HEALED_SECONDS:
                    here = people((await room.looks()).values())
                    gone += [f"{one.name}: {one.others}" for one in here if len(one.others) != others]
                    await asyncio.sleep(LOOK_SECONDS)
                last = people((await room.reports()).values())
    return {
        "first_ms": round(first * 1e3),
        "joined_ms": round(joined * 1e3),
        "gone": gone,
        "silent": [one.name for one in last if one.audio.streams != others],
        "rejoins": sum(one.rejoins + one.resumes for one in last),
    }


def _newcomer(lab: Lab, room: Gathering, number: int) -> Clients:
    """At c, who speaks."""
    member = room.size + number
    meeting = Meeting("beyond", members=range(member, member + 1), speakers=member + 1)
    return Clients(lab, lab.nodes[CUT[1]].region, meeting, gateways(lab, CUT[1]))


async def _until(room: Gathering, holds: Callable[[Any], bool]) -> Report:
    """Of everyone beyond."""
    return await room.clients[CUT[0]].until(lambda report: all(holds(one) for one in report.participants))
