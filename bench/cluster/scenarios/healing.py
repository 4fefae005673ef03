"""Until all is as it was before paths broke, and what is not: what each node tells, asked as an operator does."""

import asyncio
import time
from collections.abc import Callable, Mapping

import grpc

from bench.cluster.lab.nodes import Node
from bench.cluster.lab.operate import Calls, operator
from bench.cluster.lab.world import Lab
from bench.cluster.scenarios.common import Gathering
from bench.cluster.scenarios.settle import settle

POLL_SECONDS = 0.1

Rooms = Mapping[str, tuple[str, list[str]]]
"""Of every room its id and who is in it."""


async def rooms(nodes: Mapping[str, Node], calls: Calls) -> dict[str, Rooms]:
    """What each node tells. A node of which a call failed is not there."""
    found: dict[str, Rooms] = {}
    for name, node in nodes.items():
        try:
            async with operator(node, calls) as asked:
                known = sorted((await asked.rooms()).items())
                found[name] = {room: (number, await asked.participants(room)) for room, number in known}
        except grpc.aio.AioRpcError:
            continue  # `calls` has it.
    return found


async def healed(lab: Lab, room: Gathering, before: Mapping[str, Rooms], calls: Calls, seconds: float) -> float:
    """Seconds until everyone has everything and every node tells of it. Raises TimeoutError with what lacks.

    A call that fails is an answer that differs: it is made again until `seconds` have passed.
    """
    begun = time.monotonic()

    def left() -> float:
        return begun + seconds - time.monotonic()

    await _acquainted(lab, calls, left)
    await settle(room, seconds)
    while (told := await rooms(lab.nodes, calls)) != before:
        if left() < 0:
            silent = f"; no answer from {', '.join(missing)}" if (missing := sorted(set(before) - set(told))) else ""
            raise TimeoutError(f"nodes tell of {told} where it was {before}{silent}")
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - begun


def differences(before: Mapping[str, Rooms], after: Mapping[str, Rooms]) -> tuple[list[str], list[str]]:
    """(Participants that are too many or lack, rooms that are gone or others by the same name), of nodes that told."""
    ghosts, deleted = [], []
    for node, known in after.items():
        for name, (number, identities) in before[node].items():
            now = known.get(name)
            if now is None or now[0] != number:
                deleted.append(f"{name} at {node}")
                continue
            ghosts += [f"{name} at {node}: {one} too many" for one in sorted(set(now[1]) - set(identities))]
            ghosts += [f"{name} at {node}: {one} lacks" for one in sorted(set(identities) - set(now[1]))]
    return ghosts, deleted


async def _acquainted(lab: Lab, calls: Calls, left: Callable[[], float]) -> None:
    while True:
        try:
            return await lab.acquainted(left(), calls)
        except grpc.aio.AioRpcError as error:
            if left() < 0:
                raise TimeoutError(f"nodes could not be asked for each other: {error.code().name}") from error
            await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise TimeoutError("nodes do not know of each other") from error
