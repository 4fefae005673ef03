"""Parity towards Chromium over a path that loses and is long: what is sent, the browser uses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bench.quality import browser
from bench.quality.browser.link import relay
from tests.e2e.conftest import OpenPage
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, token

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
