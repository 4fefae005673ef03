"""A control plane in this process, and clients of its gRPC."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
import pytest_asyncio

from control_plane.auth import Grants, Token, create_token
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, ServerOptions
from pysfu.v1 import rooms_pb2_grpc, stats_pb2_grpc
from tests.control_plane.client import SignalingClient
from tests.control_plane.recording import RecordingMedia

KEY, SECRET = "key", "a secret that is long enough for everyone"


def token(room: str = "room", identity: str = "alice", **grants: Any) -> str:
    allowed = Grants(room=room, room_join=True, **grants)
    return create_token(KEY, SECRET, Token(identity, allowed))


def admin_metadata(room: str = "") -> tuple[tuple[str, str], ...]:
    allowed = Grants(room=room, room_create=True, room_list=True, room_admin=True)
    return (("authorization", f"Bearer {create_token(KEY, SECRET, Token('admin', allowed))}"),)


@pytest.fixture
def media() -> RecordingMedia:
    return RecordingMedia()


@pytest.fixture
def limits() -> NodeLimits:
    return NodeLimits(resume_timeout=5.0)


@pytest_asyncio.fixture
async def plane(media: RecordingMedia, limits: NodeLimits) -> AsyncIterator[ControlPlane]:
    running = ControlPlane(media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", limits=limits, version="test"))
    await running.start()
    yield running
    await running.stop()


@pytest_asyncio.fixture
async def channel(plane: ControlPlane) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as opened:
        yield opened


@pytest.fixture
def rooms(channel: grpc.aio.Channel) -> Any:
    return rooms_pb2_grpc.RoomServiceStub(channel)


@pytest.fixture
def stats(channel: grpc.aio.Channel) -> Any:
    return stats_pb2_grpc.StatsServiceStub(channel)


@pytest_asyncio.fixture
async def connect(channel: grpc.aio.Channel) -> AsyncIterator[Any]:
    """Opens a signaling stream; with keyword arguments of `Join` it joins and the client knows `joined`."""
    async with AsyncExitStack() as stack:

        async def open_one(identity: str = "alice", bearer: str | None = None, **join: Any) -> SignalingClient:
            client = await stack.enter_async_context(
                SignalingClient(channel, token(identity=identity) if bearer is None else bearer)
            )
            await client.join(**join)
            return client

        yield open_one
