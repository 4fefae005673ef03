"""Paths between nodes break: both ways, or one way. The nodes live on, so media takes another way."""

import asyncio
from collections.abc import Sequence
from typing import Any

from bench.cluster.lab.clients import Told
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering, Tell, people, plan, quantiles
from bench.cluster.scenarios.settle import settle

BROKEN_SECONDS = 4.0
"""Longer than any reroute may take."""
MENDED_SECONDS = 7.0
"""Until media has taken the direct way again (`routes.SETTLED`)."""
PACKET_MS = 20.0


def outage_ms(one: Told, elapsed_ms: float, voices: int) -> float:
    """How long a participant did not have all of `voices` from others, which come with 50 packets a second each.

    A voice that goes on as another stream, or not at all, lacks packets; one that pauses has a gap.
    """
    lacking = voices * elapsed_ms / PACKET_MS - one.audio.packets
    # A packet of each may be on its way.
    return max(one.audio.stream_gap_ms, (lacking - voices) * PACKET_MS)


async def run(
    programs: Programs,
    *,
    tell: Tell,
    rounds: int = 1,
    per_node: int = 1,
    cuts: Sequence[tuple[str, str]] = (("a", "b"), ("a", "c"), ("b", "c")),
) -> dict[str, Any]:
    """Each round breaks each path of `cuts` between two of three nodes, both ways and one way, and mends it.

    `reroute_ms`: the longest time without a packet of a voice from the other side of the broken path, over the
    participants at its ends; `one_way_ms`: where it was cut one way. `left`: who saw anybody leave the room meanwhile.
    `whole_s`: from mending until everyone has everything, at most.
    """
    two_way: list[float] = []
    one_way: list[float] = []
    left: list[str] = []
    whole: list[float] = []
    async with Lab(plan(3, loss=False), programs) as lab, Gathering(lab, "paths", per_node=per_node) as room:
        await settle(room)
        for round_number in range(rounds):
            for a, b in cuts:
                for cut_one_way in (False, True):
                    ends = (b, a) if round_number % 2 else (a, b)
                    tell(f"round {round_number + 1}: {ends[0]} {'→' if cut_one_way else '↔'} {ends[1]}")
                    before = await room.reports()
                    await lab.net.cut(*ends, one_way=cut_one_way)
                    await asyncio.sleep(BROKEN_SECONDS)
                    reports = await room.reports()
                    gaps = [
                        outage_ms(one, reports[end].at_ms - before[end].at_ms, room.size - 1)
                        for end in ends
                        for one in reports[end].participants
                    ]
                    (one_way if cut_one_way else two_way).extend(gaps)
                    left += room.missing(reports)
                    await lab.net.heal(*ends)
                    await lab.acquainted()
                    whole.append(await settle(room))
                    await asyncio.sleep(MENDED_SECONDS)
        rejoins = sum(one.rejoins + one.resumes for one in people((await room.reports()).values()))
    return {
        "reroute_ms": quantiles(two_way),
        "one_way_ms": quantiles(one_way),
        "each_ms": [round(value, 1) for value in two_way],
        "left": left,
        "rejoins": rejoins,
        "whole_s": max(whole),
    }
