"""A node dies without a word (kill -9), with participants on it. They come back elsewhere, as LiveKit's clients do."""

import asyncio
import os
import time
from typing import Any

from bench.cluster.lab.operate import operator
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, people, plan, quantiles
from bench.cluster.scenarios.settle import settle

BACK_SECONDS = 20.0
NOTICED_SECONDS = 1.5
VICTIM = "a"


async def run(programs: Programs, *, tell: Tell, victims: int = 200) -> dict[str, Any]:
    """Calls of two, each hears the other. Half of the victims have a partner at another node, half one of their own.

    `gap_ms`: the longest time without audio, of all who were at the node; `partners_gap_ms`: of those who talk to
    one. `returned`: share of the victims who are in a room and hear their partner again. `away_ms`: until their
    transport was connected again. `ghosts`: who is told to be in a room and is not, after all that. `cpu_seconds`: of
    the node that took them in.
    """
    async with Lab(plan(3, loss=False), programs) as lab:
        across = Gathering(lab, "across", per_node={VICTIM: 1, "b": 1}, rooms=victims // 2)
        inside = Gathering(lab, "inside", per_node={VICTIM: 2}, rooms=victims // 4)
        async with across, inside:
            tell(f"{victims} participants at the node that is to die")
            await settle(across)
            await settle(inside)
            await asyncio.sleep(1)
            await across.reports()
            await inside.reports()
            tell("kill -9")
            begun = time.monotonic()
            used = lab.nodes["b"].cpu_seconds()
            await lab.nodes[VICTIM].kill()
            # What came a second ago still counts as heard.
            await asyncio.sleep(NOTICED_SECONDS)
            whole_s: float | None = None
            missing: list[str] = []
            try:
                for room in (across, inside):
                    await settle(room, BACK_SECONDS)
                whole_s = round(time.monotonic() - begun, 1)
            except TimeoutError:
                missing = [*across.missing(await across.looks()), *inside.missing(await inside.looks())]
            outside, within = await across.reports(), await inside.reports()
            hit = [*outside[VICTIM].participants, *within[VICTIM].participants]
            back = [one for one in hit if one.present and one.audio.streams == 1]
            known = sorted(await _participants(lab))
            return {
                "victims": len(hit),
                "gap_ms": quantiles([one.audio.gap_ms for one in hit]),
                "each_ms": sorted(round(one.audio.gap_ms, 1) for one in hit),
                "partners_gap_ms": quantiles([one.audio.gap_ms for one in outside["b"].participants]),
                "away_ms": quantiles([one.away_ms for one in hit if one.away_ms is not None]),
                "returned": len(back) / len(hit),
                "failures": sum(one.failures for one in hit),
                "ghosts": len(known)
                - len({f"{one.room} {one.name}" for one in people([*outside.values(), *within.values()])}),
                "whole_s": whole_s,
                "cpu_seconds": round(lab.nodes["b"].cpu_seconds() - used, 2),
                "load_average": os.getloadavg()[0],
                "missing": missing[:20],
            }


async def _participants(lab: Lab) -> list[str]:
    """Everyone whom a node that lives tells of, once: room and identity."""
    async with operator(lab.nodes["b"]) as asked:
        return [f"{room} {identity}" for room in await asked.rooms() for identity in await asked.participants(room)]
