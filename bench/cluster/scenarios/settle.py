"""Until a room is as it should be."""

import asyncio
import time

from bench.cluster.scenarios.common import Gathering

POLL_SECONDS = 0.1


async def settle(room: Gathering, seconds: float = 20.0) -> float:
    """Seconds until everyone saw, heard and watched everyone. Raises TimeoutError with what lacked."""
    begun = time.monotonic()
    while missing := room.missing(await room.looks()):
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"not whole after {seconds:.0f} s:\n" + "\n".join(missing[:20]))
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - begun
