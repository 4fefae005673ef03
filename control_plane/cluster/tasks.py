"""Ending tasks for certain."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

# Longer leaves a task more time to put things in order before it is asked again.
AGAIN: Final = 0.2


async def end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Cancels them and waits until they have ended, whatever their results.

    `asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with what it waits for, and libraries
    use it: who has not ended is asked again.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def is_cancelled() -> bool:
    """The task that asks is to end, so that a CancelledError is meant for it and not for something it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
