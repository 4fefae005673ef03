"""Asking several in turn for what any of them can tell."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from control_plane.errors import UnavailableError

# Seconds. Shorter asks the next one sooner when one hangs, longer asks fewer twice who are only far away.
PATIENCE: Final = 1.0

Answer = TypeVar("Answer")


async def first_answer(
    calls: Sequence[Callable[[], Awaitable[Answer]]], is_refusal: Callable[[Exception], bool]
) -> Answer:
    """Makes the next call once one before has failed, or all have said nothing for PATIENCE seconds; they go on.

    `is_refusal`: an exception is an answer. That of the first call holds at once; those of others, who may know less,
    only when nobody answers: the first of them is raised, else the first failure. Each call has to end by itself.
    """
    left = list(calls)
    asked: list[asyncio.Future[Answer]] = []
    running: set[asyncio.Future[Answer]] = set()
    refusals: list[Exception] = []
    failures: list[Exception] = []
    try:
        while left or running:
            if left:
                asked.append(asyncio.ensure_future(left.pop(0)()))
                running.add(asked[-1])
            done, running = await asyncio.wait(
                running, timeout=PATIENCE if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=asked.index):
                error = _error(task)
                if error is None:
                    return task.result()
                if is_refusal(error):
                    if task is asked[0]:
                        raise error
                    refusals.append(error)
                else:
                    failures.append(error)
        raise [*refusals, *failures][0]
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def _error(task: "asyncio.Future[Answer]") -> Exception | None:
    if task.cancelled():
        # So calls end whose channel is closed, as of a node that is gone.
        return UnavailableError("who was asked is not known any more", retry_after=1.0)
    error = task.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error
