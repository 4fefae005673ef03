"""A node as its users run it, in a process of its own, for benchmarks of the control plane."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from tests.e2e.harness.server import Server


@pytest.fixture(scope="session")
def node_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop on which the clients of `node` live: benchmarks drive it with `run_until_complete`."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="session")
def node(node_loop: asyncio.AbstractEventLoop) -> Iterator[Server]:
    """`pysfu serve --dev` with one worker."""
    server = Server("--log-level", "warning", workers=1)
    node_loop.run_until_complete(server.__aenter__())
    yield server
    node_loop.run_until_complete(server.__aexit__(None, None, None))


@pytest.fixture
def channel(node: Server, node_loop: asyncio.AbstractEventLoop) -> Iterator[grpc.aio.Channel]:
    """A connected gRPC channel to the node."""

    async def connect() -> grpc.aio.Channel:
        opened = grpc.aio.insecure_channel(node.grpc_address)
        await opened.channel_ready()
        return opened

    opened = node_loop.run_until_complete(connect())
    yield opened
    node_loop.run_until_complete(opened.close())
