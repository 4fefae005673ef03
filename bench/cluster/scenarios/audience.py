"""One publisher, and viewers at every node: as many as the machine carries."""

import asyncio
import contextlib
from typing import Any

from bench.cluster.lab.clients import Clients, Meeting
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Tell, plan

SETTLE_SECONDS = 2.0
LOSS = 0.001
"""Above this share the machine carries no more."""


async def run(
    programs: Programs, *, tell: Tell, steps: tuple[int, ...] = (10,), seconds: float = 4.0, nodes: int = 3
) -> dict[str, Any]:
    """A camera (50 packets/s) and a microphone (50) at one node; each step has so many viewers at each of the nodes.

    Viewers are beside their node, without a path between, and join it directly. Of each step: `viewers`,
    `delivered_pps`, `loss` (holes) and `shortfall` (against what was published), `latency_ms` of the viewers at the
    publisher's node (`local`) and at others, over a link without delay. `most`: viewers of the largest step that was
    delivered.
    """
    found: list[dict[str, Any]] = []
    most = 0
    async with Lab(plan(nodes, delay=False, loss=False, clients=False), programs) as lab:
        first = next(iter(lab.nodes))
        async with contextlib.AsyncExitStack() as stack:
            publisher = Meeting("audience", members=range(1), speakers=1, cameras=1, publish_only=True)
            await stack.enter_async_context(Clients(lab, first, publisher, [lab.nodes[first]], direct=True))
            groups: dict[str, list[Clients]] = {name: [] for name in lab.nodes}
            joined = 0
            for step in steps:
                tell(f"{step * nodes} viewers")
                for name, node in lab.nodes.items():
                    more = step - joined
                    begin = 1 + list(lab.nodes).index(name) * 1_000 + joined
                    viewers = Meeting("audience", members=range(begin, begin + more), speakers=1, cameras=1, rate=100.0)
                    clients = Clients(lab, name, viewers, [node], direct=True)
                    groups[name].append(await stack.enter_async_context(clients))
                joined = step
                await asyncio.sleep(SETTLE_SECONDS)
                await _reports(groups)
                await asyncio.sleep(seconds)
                row = _row(await _reports(groups), first, step * nodes)
                found.append(row)
                if row["loss"] <= LOSS and row["shortfall"] <= 0.02:
                    most = row["viewers"]
                else:
                    break
    return {"nodes": nodes, "steps": found, "most": most}


async def _reports(groups: dict[str, list[Clients]]) -> dict[str, list[Any]]:
    return {name: [await one.report() for one in clients] for name, clients in groups.items()}


def _row(reports: dict[str, list[Any]], first: str, viewers: int) -> dict[str, Any]:
    counts = [report.counts for many in reports.values() for report in many]
    received = sum(count["received_audio"]["packets"] + count["received_video"]["packets"] for count in counts)
    lost = sum(count["lost_audio"] + count["lost_video"] for count in counts)
    seconds = sum(count["seconds"] for count in counts) / len(counts)
    # 50 packets of audio, 25 frames of two packets.
    offered = 100.0 * viewers * seconds
    away = [report.counts["latency_ms"] for name, many in reports.items() for report in many if name != first]
    return {
        "viewers": viewers,
        "delivered_pps": round(received / seconds),
        "loss": lost / max(1, received + lost),
        "shortfall": max(0.0, 1 - received / offered),
        "latency_ms": {
            "local": _least([report.counts["latency_ms"] for report in reports[first]]),
            "other": _least(away),
        },
    }


def _least(latencies: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of several processes the one with the most samples stands for all."""
    best = max(latencies, key=lambda one: one["samples"], default=None)
    return best if best and best["samples"] else None
