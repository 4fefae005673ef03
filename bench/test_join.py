"""From the first byte of a join to the answer to the client's offer, against a running node."""

import asyncio
from itertools import count
from typing import Any

import grpc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pysfu.v1 import signaling_pb2
from tests.control_plane.client import SignalingClient
from tests.e2e.harness.server import token

ROUNDS = 100
PEOPLE = count()


@pytest.mark.parametrize("others", [0, 30])
def test_join_to_answer(
    benchmark: BenchmarkFixture, channel: grpc.aio.Channel, node_loop: asyncio.AbstractEventLoop, others: int
) -> None:
    """The room has `others` participants; who has joined leaves again outside of what is timed."""
    room = f"join-{others}"
    there: list[SignalingClient] = []

    async def join() -> SignalingClient:
        client = SignalingClient(channel, token(room, f"person-{next(PEOPLE)}"))
        await client.join(auto_publish=True)
        answer = await client.offer("chromium_simulcast")
        assert "a=ice-lite" in answer.sdp
        return client

    async def leave(client: SignalingClient) -> None:
        await client.send(leave=signaling_pb2.Leave())
        await client.until("left")

    async def fill() -> None:
        there.extend([await join() for _ in range(others)])

    def leave_again() -> None:
        while len(there) > others:
            node_loop.run_until_complete(leave(there.pop()))

    def timed() -> None:
        there.append(node_loop.run_until_complete(join()))

    node_loop.run_until_complete(fill())
    pedantic: Any = benchmark.pedantic
    pedantic(timed, setup=leave_again, rounds=ROUNDS, warmup_rounds=5)
    assert len(there[-1].joined.others) == others
    leave_again()
    timing: Any = benchmark.stats
    benchmark.extra_info["joins_per_second"] = 1 / timing.stats.median

    async def empty() -> None:
        for client in there:
            await leave(client)

    node_loop.run_until_complete(empty())
