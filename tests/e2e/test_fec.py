"""Parity towards Chromium and from it over a path that loses and is long: what is sent is used."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from bench.quality import browser
from bench.quality.browser.link import relay
from pysfu.v1 import stats_pb2, stats_pb2_grpc
from tests.e2e.conftest import OpenPage
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, admin_token, token
from tests.e2e.test_simulcast import HD, LAYERS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

# The relay in place of the server, and connections kept for their statistics.
PATCH = """(port) => {
  window.connections = new Set();
  const original = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    connections.add(this);
    const through = sdp.replace(/^(a=candidate:\\S+ 1 udp \\d+ )\\S+ \\d+( typ host.*)$/gim, `$1127.0.0.1 ${port}$2`);
    return original.call(this, { type, sdp: through });
  };
}"""
INBOUND = """async () => {
  for (const connection of connections)
    for (const report of (await connection.getStats()).values())
      if (report.type === 'inbound-rtp' && report.kind === 'video' && report.framesDecoded > 0) return report;
  return {};
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with Server(workers=1) as running:
        yield running


async def test_chromium_takes_flexfec(open_page: OpenPage, server: Server, room: str) -> None:
    alice = await open_page("alice")
    await alice.join(server.ws_url, token(room, "alice"), camera=True, microphone=False)
    loss = {"gilbert_elliott": {"mean": 0.04, "burst": 2}}
    down: dict[str, Any] = {"capacity": 10_000_000, "delay_ms": 100, "queue": {"ms": 300}, "loss": loss}
    netem = browser.build(release=False)["netem"]
    link = relay(netem, ("127.0.0.1", server.udp_port), address="127.0.0.1", down=down, up={"delay_ms": 100}, seed=1)
    async with link as way:
        viewer = await open_page("viewer")
        await viewer.page.evaluate(PATCH, way.port)
        await viewer.join(server.ws_url, token(room, "viewer"))

        async def inbound() -> dict[str, Any]:
            found: dict[str, Any] = await viewer.page.evaluate(INBOUND)
            return found

        seen = await until(inbound, lambda seen: seen.get("fecPacketsReceived", 0) >= 20, 60, "parity in the browser")
        # It is preferred to ULPFEC, and has a stream of its own.
        assert seen["fecSsrc"] != seen["ssrc"]
        decoded = seen["framesDecoded"]
        await until(inbound, lambda seen: seen["framesDecoded"] > decoded + 50, 30, "pictures")


@pytest.mark.parametrize(
    ("publish", "passphrase"),
    [
        (LAYERS | {"videoCodec": "vp8"}, None),
        (LAYERS | {"videoCodec": "vp8"}, "known to the participants alone"),
        (LAYERS | {"videoCodec": "vp9", "scalabilityMode": "L3T3_KEY", "backupCodec": False}, None),
    ],
    ids=["simulcast", "encrypted", "scalable"],
)
async def test_chromium_sends_parity_that_mends(
    open_page: OpenPage, server: Server, room: str, publish: dict[str, Any], passphrase: str | None
) -> None:
    netem = browser.build(release=False)["netem"]
    secret = {} if passphrase is None else {"passphrase": passphrase}
    up: dict[str, Any] = {"delay_ms": 75, "loss": {"independent": 0.05}}
    way = relay(netem, ("127.0.0.1", server.udp_port), address="127.0.0.1", down={"delay_ms": 75}, up=up, seed=1)
    async with way as link, grpc.aio.insecure_channel(server.grpc_address) as channel:
        alice = await open_page("alice")
        await alice.page.evaluate(PATCH, link.port)
        camera = {"camera": True, "microphone": False, "capture": HD, "publish": publish}
        await alice.join(server.ws_url, token(room, "alice"), **camera, **secret)
        viewer = await open_page("viewer")
        await viewer.join(server.ws_url, token(room, "viewer"), **secret)
        stats: Any = stats_pb2_grpc.StatsServiceStub(channel)
        metadata = [("authorization", f"Bearer {admin_token(room)}")]

        async def layers() -> list[Any]:
            found = await stats.GetRoomStats(stats_pb2.GetRoomStatsRequest(room=room), metadata=metadata)
            return [layer for track in found.tracks for layer in track.layers]

        def mended(found: list[Any]) -> bool:
            return sum(int(layer.packets_recovered_fec) for layer in found) >= 20

        found = await until(layers, mended, 60, "parity that mends")
        lost, asked = (sum(getattr(layer, name) for layer in found) for name in ("packets_lost", "nacks_sent"))
        # Nobody asks for lost parity for ever: what is lost of media is asked for about once.
        assert asked < 3 * lost
        seen = await viewer.seen("alice")
        # Nor is it a loss to subscribers, whose own path is clean.
        assert seen["packetsLost"] < lost / 4
        await until(
            lambda: viewer.seen("alice"), lambda now: now["framesDecoded"] > seen["framesDecoded"] + 30, 20, "go on"
        )
