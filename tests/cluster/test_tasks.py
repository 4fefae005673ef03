"""Tasks end, also those that lose a cancellation."""

import asyncio

from control_plane.cluster.tasks import end


async def test_a_task_that_loses_a_cancellation_ends() -> None:
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost += 1
        await asyncio.sleep(60)

    async def fails() -> None:
        raise ValueError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(tasks)
    assert lost == 1
    assert all(task.done() for task in tasks)
    await end([])
