"""NATS goes away, and comes back: media does not notice, joins on rooms that a node holds go on, others are refused."""

import asyncio
import contextlib
import time
from typing import Any

import grpc

from bench.cluster.lab.operate import Operator, operator
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, people, plan, quantiles
from bench.cluster.scenarios.settle import settle

JOIN_EVERY_SECONDS = 0.5
KNOWN_SECONDS = 5.0
"""How long the nodes may take to notice that the bus is away."""
NORMAL_SECONDS = 30.0


async def run(programs: Programs, *, tell: Tell, seconds: float = 10.0, per_node: int = 2) -> dict[str, Any]:
    """Paths do not lose packets here, so that each that is lost counts.

    `packets_lost`: holes in what anybody received meanwhile. `joins`, `joins_failed`: on the room that spans all
    nodes, at each of them in turn; `join_ms`. `refused`: what a room that nobody holds was answered with. `normal_s`:
    from the bus's return until each node takes a room that is new, and they know of each other. `left`: who lacked
    anything at the end.
    """
    async with Lab(plan(3, loss=False), programs) as lab, contextlib.AsyncExitStack() as stack:
        assert lab.bus is not None
        operators = [await stack.enter_async_context(operator(node)) for node in lab.nodes.values()]
        room = await stack.enter_async_context(Gathering(lab, "bus", per_node=per_node, cameras=1))
        await settle(room)
        await asyncio.sleep(1)
        await room.reports()
        await lab.bus.kill()
        gone = time.monotonic()
        tell(f"the bus is away for {seconds:.0f} s")
        taken: list[float] = []
        failed: list[str] = []
        number = 0
        while time.monotonic() - gone < seconds:
            number += 1
            try:
                taken.append(await operators[number % len(operators)].try_join("bus-0", f"visitor-{number}"))
            except grpc.aio.AioRpcError as error:
                failed.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(JOIN_EVERY_SECONDS)
        refused = await _refusals(operators, seconds)
        reports = await room.reports()
        await lab.bus.start()
        back = time.monotonic()
        tell("the bus is back")
        await asyncio.gather(*(_normal(one, f"new-{place}") for place, one in enumerate(operators)))
        await lab.acquainted(NORMAL_SECONDS)
        normal = time.monotonic() - back
        await settle(room)
        after = await room.reports()
        counts = [report.counts for report in [*reports.values(), *after.values()]]
        return {
            "seconds": seconds,
            "packets_lost": sum(count["lost_audio"] + count["lost_video"] for count in counts),
            "packets": sum(count["received_audio"]["packets"] + count["received_video"]["packets"] for count in counts),
            "joins": len(taken) + len(failed),
            "joins_failed": len(failed),
            "failures": sorted(set(failed)),
            "join_ms": quantiles(taken),
            "refused": refused,
            "normal_s": round(normal, 2),
            "left": room.missing(reports),
            "gap_ms": quantiles([one.audio.stream_gap_ms for one in people(reports.values())]),
            "rejoins": sum(one.rejoins + one.resumes for one in people(after.values())),
        }


async def _refusals(operators: list[Operator], seconds: float) -> list[str]:
    """What joins of rooms that nobody holds are answered with."""
    if seconds < KNOWN_SECONDS:
        return []
    found = []
    for place, one in enumerate(operators):
        try:
            await one.try_join(f"nobody-holds-{place}", "visitor")
            found.append("OK")
        except grpc.aio.AioRpcError as error:
            found.append(error.code().name)
    return sorted(set(found))


async def _normal(one: Operator, room: str) -> None:
    """Until the node takes a new room. Raises TimeoutError."""
    async with asyncio.timeout(NORMAL_SECONDS):
        while True:
            try:
                await one.try_join(room, "visitor", 5.0)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
            else:
                return
