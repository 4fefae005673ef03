"""The bus and the paths between nodes break together: two halves that both believe in themselves. Seeded."""

import asyncio
import random
import time
from typing import Any

from bench.cluster.lab.operate import Calls
from bench.cluster.lab.processes import LabError
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import BUS, Lab
from bench.cluster.scenarios import healing
from bench.cluster.scenarios.common import Gathering, Tell, plan
from bench.cluster.scenarios.settle import settle

HEALED_SECONDS = 15.0
SHORTEST, LONGEST = 0.5, 7.0
"""Heartbeats expire after 4 s: some partitions are noticed by all, others by few."""


async def run(
    programs: Programs, *, tell: Tell, runs: int = 3, rooms: int = 3, longest: float = LONGEST, first_seed: int = 1
) -> dict[str, Any]:
    """One node, or two, or none, keep the bus; the others lose it and each other's half, for a random time.

    After each run everyone must see, hear and be told of everyone, in the rooms of before. `ghosts`: participants
    told of by a node who are not there; `deleted`: rooms that are gone or are others by the same name; `healed_s`:
    until all was well, each; `not_healed`: runs in which it never was, or after which a node did not answer;
    `rejoins`: clients that had to come back; `failed_calls` and `slowest_call_ms`: of the operator who asked.
    """
    ghosts: list[str] = []
    deleted: list[str] = []
    not_healed: list[str] = []
    healed: list[float] = []
    calls = Calls()
    async with Lab(plan(3, loss=False), programs) as lab, Gathering(lab, "split", per_node=1, rooms=rooms) as room:
        await settle(room)
        before = await healing.rooms(lab.nodes, calls)
        if silent := sorted(set(lab.nodes) - set(before)):
            raise LabError(f"no answer from {', '.join(silent)} before anything broke")
        begun = time.monotonic()
        for seed in range(first_seed, first_seed + runs):
            choice = random.Random(seed)
            names = list(lab.nodes)
            choice.shuffle(names)
            without_bus = names[: choice.choice([1, 1, 2, 3])]
            with_bus = [name for name in names if name not in without_bus]
            seconds = choice.uniform(SHORTEST, longest)
            what = f"seed {seed}: {'+'.join(without_bus)} lose the bus and {'+'.join(with_bus) or 'nobody'}"
            tell(f"{what}, {seconds:.1f} s")
            await lab.net.part(without_bus, [BUS, *with_bus])
            if len(without_bus) == 3 and choice.random() < 0.5:
                await lab.net.cut(names[0], names[1])
            await asyncio.sleep(seconds)
            await lab.net.heal_all()
            try:
                healed.append(await healing.healed(lab, room, before, calls, HEALED_SECONDS))
                lacks = []
            except TimeoutError as error:
                lacks = [str(error)]
            after = await healing.rooms(lab.nodes, calls)
            if silent := sorted(set(before) - set(after)):
                lacks.append(f"no answer from {', '.join(silent)} afterwards")
            if lacks:
                not_healed.append(f"{what}, {seconds:.1f} s: {'; '.join(lacks)}")
            more = healing.differences(before, after)
            ghosts += [f"seed {seed}: {line}" for line in more[0]]
            deleted += [f"seed {seed}: {line}" for line in more[1]]
        elapsed = time.monotonic() - begun
        reports = await room.reports()
        rejoins = sum(one.rejoins + one.resumes for report in reports.values() for one in report.participants)
    return {
        "runs": runs,
        "ghosts": ghosts,
        "deleted": deleted,
        "not_healed": not_healed,
        "ghost_or_deleted_rooms": len({line.partition(" at ")[0] for line in [*ghosts, *deleted]}) + len(not_healed),
        "healed_s": [round(value, 2) for value in healed],
        "rejoins": rejoins,
        **calls.told(),
        "seconds": round(elapsed),
    }
