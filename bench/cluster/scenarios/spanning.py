"""A room that spans all nodes, in as many regions: everyone sees, hears and watches everyone."""

import asyncio
import time
from typing import Any

from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, people, plan, quantiles
from bench.cluster.scenarios.settle import settle


async def run(programs: Programs, *, nodes: int = 3, per_node: int = 2, seconds: float = 5.0) -> dict[str, Any]:
    """Paths of 140 to 250 ms round trip that lose 1 to 5 %. Raises TimeoutError when the room never becomes whole.

    `whole_s`: from the last join until everyone has everything. `lost`: share of audio packets that nobody repaired.
    `gap_ms`: the longest time without a packet of any one voice, over participants, `seconds` long.
    """
    # All of them speak, and each is to be heard.
    async with Lab(plan(nodes, settings={"loudest_speakers": "0"}), programs) as lab:
        begun = time.monotonic()
        async with Gathering(lab, "span", per_node=per_node, cameras=nodes * per_node) as room:
            joined = time.monotonic()
            whole = await settle(room)
            await room.reports()
            await asyncio.sleep(seconds)
            reports = await room.reports()
            received = sum(report.counts["received_audio"]["packets"] for report in reports.values())
            lost = sum(report.counts["lost_audio"] for report in reports.values())
            return {
                "nodes": nodes,
                "participants": room.size,
                "joined_s": round(joined - begun, 2),
                "whole_s": round(whole, 2),
                "missing": room.missing(reports),
                "lost": lost / max(1, received + lost),
                "gap_ms": quantiles([one.audio.stream_gap_ms for one in people(reports.values())]),
            }
