"""A node is drained: its participants go on at others, without a word lost."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from bench.cluster.lab.operate import operator
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, people, plan, quantiles
from bench.cluster.scenarios.settle import settle

DRAINED = "a"
DRAIN_SECONDS = 60.0


async def run(programs: Programs, *, tell: Tell, rooms: int = 10, far: bool = False) -> dict[str, Any]:
    """Calls of two: half of the rooms have both in the region of the drained node, half one of them in another.

    That region has another node, as where nodes are replaced one after the other; `far`: it has none, so that everyone
    goes on at a node that is 140 ms away.

    `audio_gap_ms`: the longest time without audio, of all who moved; `others_gap_ms`: of those who did not.
    `dropped`: who was at the node and had to join anew, or did not come back. `drained_s`: until nobody was left
    there.
    """
    world = plan(3, loss=False)
    if not far:
        world = replace(world, regions={"a": "eu", "b": "eu", "c": "us"}, clients=["eu", "us"])
    async with Lab(world, programs) as lab:
        across = Gathering(lab, "across", per_node={DRAINED: 1, "b" if far else "c": 1}, rooms=rooms)
        inside = Gathering(lab, "inside", per_node={DRAINED: 2}, rooms=rooms // 2)
        async with across, inside, operator(lab.nodes["c"]) as asked:
            for room in (across, inside):
                await settle(room)
            await asyncio.sleep(1)
            before = (await asked.nodes())[DRAINED].participants
            for room in (across, inside):
                await room.reports()
            tell(f"{before} participants leave {DRAINED}")
            begun = time.monotonic()
            await asked.drain(DRAINED)
            left = before
            while left and time.monotonic() - begun < DRAIN_SECONDS:
                await asyncio.sleep(0.2)
                node = (await asked.nodes()).get(DRAINED)
                left = node.participants if node is not None else 0
            drained = time.monotonic() - begun
            missing: list[str] = []
            for room in (across, inside):
                try:
                    await settle(room, 10.0)
                except TimeoutError:
                    missing += room.missing(await room.looks())
            everyone = people([*(await across.reports()).values(), *(await inside.reports()).values()])
            moved = [one for one in everyone if one.resumes or one.rejoins or not one.present]
            well = [one for one in moved if one.present and not one.rejoins and one.audio.streams == 1]
            return {
                "participants": before,
                "left": left,
                "moved": len(moved),
                "audio_gap_ms": quantiles([one.audio.gap_ms for one in moved]),
                "each_ms": sorted(round(one.audio.gap_ms, 1) for one in moved),
                "others_gap_ms": quantiles([one.audio.gap_ms for one in everyone if one not in moved]),
                "dropped": max(before, len(moved)) - len(well),
                "rejoined": sum(one.rejoins for one in moved),
                "errors": sorted({one.error for one in moved if one.error})[:5],
                "missing": missing[:20],
                "drained_s": round(drained, 1),
            }
