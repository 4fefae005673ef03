"""A node stops as it should, and starts again; and one whose clock is an hour off."""

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, people, plan
from bench.cluster.scenarios.settle import settle

RESTARTED = "b"


async def run(programs: Programs, *, tell: Tell) -> dict[str, Any]:
    """One of three nodes of a room is restarted (SIGTERM, start).

    `exit`: its status. `known_s`: from the start until all know each other again; `whole_s`: from the stop until
    everyone in the room has everything. `used`: whether the node serves participants again who are near it.
    """
    async with Lab(plan(3, loss=False), programs) as lab, Gathering(lab, "restart", per_node=2) as room:
        await settle(room)
        tell(f"{RESTARTED} stops")
        begun = time.monotonic()
        code = await lab.nodes[RESTARTED].stop()
        stopped = time.monotonic()
        await lab.nodes[RESTARTED].start()
        await lab.acquainted()
        known = time.monotonic()
        whole = await settle(room, 30.0)
        done = time.monotonic()
        async with Gathering(lab, "after", per_node={RESTARTED: 1, "a": 1}) as after:
            used = await settle(after)
        rejoins = sum(one.rejoins for one in people((await room.reports()).values()))
        return {
            "exit": code,
            "stop_s": round(stopped - begun, 2),
            "known_s": round(known - stopped, 2),
            "whole_s": round(done - begun if whole else known - begun, 2),
            "new_room_s": round(used, 2),
            "rejoins": rejoins,
        }


async def clock(programs: Programs, *, tell: Tell, hours: int = 1, seconds: float = 6.0) -> dict[str, Any]:
    """One of three nodes believes that it is so many hours later, another that many earlier (libfaketime).

    `whole_s`: until everyone in a room that spans them has everything; `missing`: who lacks something `seconds`
    later, which is longer than heartbeats live. Raises FileNotFoundError without libfaketime.
    """
    tell(f"b is {hours} h ahead, c {hours} h behind")
    world = plan(3, loss=False, environments={"b": _shifted(f"+{hours}h"), "c": _shifted(f"-{hours}h")})
    async with Lab(world, programs) as lab, Gathering(lab, "clock", per_node=2) as room:
        whole = await settle(room)
        await asyncio.sleep(seconds)
        reports = await room.reports()
        return {"hours": hours, "whole_s": round(whole, 2), "missing": room.missing(reports)}


def _shifted(by: str) -> dict[str, str]:
    """Variables of a process whose clock of the day is another one. Raises FileNotFoundError.

    The program `faketime` is the parent of what it runs, which then outlives the lab.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise FileNotFoundError("libfaketime is not installed")
    return {"LD_PRELOAD": str(library), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
