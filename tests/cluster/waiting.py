"""Until something is so that nothing tells of."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 10.0

Found = TypeVar("Found")


async def until(met: Callable[[], Found], patience: float = PATIENCE) -> Found:
    """What it is when it is so. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        while not (found := met()):  # noqa: ASYNC110 - whatever changes it tells nobody
            await asyncio.sleep(0.005)
    return found
