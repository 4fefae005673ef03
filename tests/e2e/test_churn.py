"""Joining, leaving and coming back many times leaves nothing behind."""

import asyncio
import random
import socket

import pytest

from pysfu.v1 import models_pb2, signaling_pb2
from tests.e2e.conftest import Join
from tests.e2e.harness.media import Tone
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, token
from tests.e2e.harness.signaling import Peer, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUNDS = 50


async def come_and_go(server: Server, room: str) -> None:
    """One participant with sound and a connected transport joins and leaves."""
    async with Session(server.grpc_address, token(room, "guest"), auto_subscribe=True) as session:
        peer = Peer(session)
        await peer.publish(Tone(), models_pb2.TRACK_SOURCE_MICROPHONE)
        await peer.negotiate()
        await session.wait("transport_changed")
        await session.send(leave=signaling_pb2.Leave())
        await session.wait("left")
        await peer.close()


async def peers(server: Server) -> float:
    return sum(value for name, value in (await server.metrics()).items() if name.startswith("pysfu_peers"))


async def test_fifty_joins_and_leaves_do_not_grow(server: Server, room: str) -> None:
    for _ in range(10):  # fills pools, caches and lazily imported modules
        await come_and_go(server, room)
    before = server.resident_kb()
    for _ in range(ROUNDS):
        await come_and_go(server, room)
    await until(lambda: peers(server), lambda count: count == 0, 10, "no peer left")
    assert server.resident_kb() - before < 8_192


async def test_chromium_joins_leaves_rejoins(join: Join) -> None:
    small = {"resolution": {"width": 320, "height": 180, "frameRate": 15}}
    host = await join("host", camera=False, microphone=False)
    for round_number in range(5):
        guest = await join(f"guest-{round_number}", capture=small, publish={"simulcast": False})
        await until(
            lambda number=round_number: host.seen(f"guest-{number}"),  # type: ignore[misc]
            lambda track: track.get("framesDecoded", 0) > 3,
            10,
            "video of the guest",
        )
        await guest.call("leave")
        await until(host.summary, lambda s: not s["participants"], 5, "an empty room")


async def test_garbage_on_the_media_port_is_dropped_and_counted(server: Server, join: Join) -> None:
    """Random datagrams, forged RTP and STUN with a wrong integrity while a call goes on."""
    small = {"resolution": {"width": 320, "height": 180, "frameRate": 15}}
    await join("one", capture=small, microphone=False)
    two = await join("two", camera=False, microphone=False)
    before = await until(lambda: two.seen("one"), lambda t: t.get("framesDecoded", 0) > 0, 10, "video")
    chance = random.Random(7)
    stun = bytes.fromhex("000100082112a442") + chance.randbytes(12) + bytes.fromhex("0006000461626364")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        for _ in range(2_000):
            kind = chance.choice([0x80, 0x90, 0x16, 0x14, 0x00, 0xFF, 0x40])
            junk = bytes([kind]) + chance.randbytes(chance.randrange(0, 1_400))
            port = server.udp_port + chance.randrange(2)
            attacker.sendto(chance.choice([junk, stun, b""]), ("127.0.0.1", port))
            await asyncio.sleep(0)
    await until(lambda: two.seen("one"), lambda t: t["framesDecoded"] > before["framesDecoded"] + 20, 10, "more video")
    dropped = sum(value for name, value in (await server.metrics()).items() if "dropped" in name)
    assert dropped > 1_000
