"""Waiting for what others do."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.05


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 20.0) -> None:
    """Asks until it holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(POLL_SECONDS)
