"""What parity of a publisher changes: Chromium sends over a path that loses, and another receives over a clean one.

`python -m bench.quality.uplink` prints a line per path and setting (`uplink_fec`); ten minutes. Needs Chromium.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from playwright.async_api import Browser, async_playwright

from bench.quality import browser
from bench.quality.browser.link import Link, relay
from pysfu.v1 import stats_pb2, stats_pb2_grpc
from tests.e2e.harness.pages import CHROMIUM_ARGUMENTS, Participant, until
from tests.e2e.harness.server import Server, admin_token, token
from tests.e2e.harness.site import serve_site

ROOM: Final = "uplink"
SETTINGS: Final = ("off", "any")
# Share of packets that is lost, and round trip in ms. Senders add no parity below 20 ms or without loss.
PATHS: Final = ((0.05, 150), (0.05, 50), (0.02, 150), (0.02, 50), (0.05, 10), (0.0, 50))
CAPACITY: Final = 6_000_000
SETTLE: Final = 20.0
"""s until the publisher's own estimate carries all layers."""

# The relay in place of the server, in whatever description the page is given.
THROUGH_RELAY: Final = """(port) => {
  const original = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    const through = sdp.replace(/^(a=candidate:\\S+ 1 udp \\d+ )\\S+ \\d+( typ host.*)$/gim, `$1127.0.0.1 ${port}$2`);
    return original.call(this, { type, sdp: through });
  };
}"""
INBOUND: Final = """async () => {
  for (const participant of state.room.remoteParticipants.values())
    for (const publication of participant.trackPublications.values())
      for (const report of (await publication.track?.receiver?.getStats())?.values() ?? [])
        if (report.type === 'inbound-rtp' && report.kind === 'video') return report;
  return {};
}"""
COLUMNS: Final = ("loss", "round trip", "parity", "frames", "freezes", "frozen", "mended", "asked", "sent up")


@dataclass(frozen=True)
class Counted:
    """Counters since the call began."""

    at: float
    received: dict[str, Any]
    layers: Sequence[Any]
    offered_bytes: int


def row(before: Counted, after: Counted) -> Sequence[str]:
    """What the receiver saw, which share of losses parity mended, requests per lost packet, and what was sent up."""
    time = after.at - before.at

    def seen(field: str) -> float:
        return float(after.received.get(field, 0) - before.received.get(field, 0))

    def of_layers(field: str) -> int:
        old, new = (sum(int(getattr(layer, field)) for layer in counted.layers) for counted in (before, after))
        return new - old

    lost = max(of_layers("packets_lost"), 1)
    return (
        f"{seen('framesDecoded') / time:.1f}/s",
        f"{seen('freezeCount'):.0f}",
        f"{seen('totalFreezesDuration') / time:.1%}",
        f"{of_layers('packets_recovered_fec') / lost:.0%}",
        f"{of_layers('nacks_sent') / lost:.1f}",
        f"{(after.offered_bytes - before.offered_bytes) * 8 / time / 1e6:.2f} Mb/s",
    )


async def measure(chromium: Browser, site: str, setting: str, path: tuple[float, int], seconds: float) -> Sequence[str]:
    """One call. Raises AssertionError when no video comes."""
    loss, round_trip = path
    os.environ["PYSFU_UPLINK_FEC"] = setting
    way = {"delay_ms": round_trip / 2}
    up = way | {"capacity": CAPACITY, "queue": {"ms": 300}, "loss": {"independent": loss}}
    async with Server(workers=1) as server, grpc.aio.insecure_channel(server.grpc_address) as channel:
        netem = browser.build(release=False)["netem"]
        link = relay(netem, ("127.0.0.1", server.udp_port), address="127.0.0.1", down=way, up=up, seed=1)
        async with link as running:
            alice, bob = [await _open(chromium, site, name) for name in ("alice", "bob")]
            await alice.page.evaluate(THROUGH_RELAY, running.port)
            size = {"resolution": {"width": 1_280, "height": 720, "frameRate": 30}}
            await alice.join(server.ws_url, token(ROOM, "alice"), camera=True, microphone=False, capture=size)
            await bob.join(server.ws_url, token(ROOM, "bob"))
            await until(lambda: bob.seen("alice"), lambda seen: seen.get("framesDecoded", 0) > 10, 30, "video")
            stats: Any = stats_pb2_grpc.StatsServiceStub(channel)
            await asyncio.sleep(SETTLE)
            before = await _count(bob, stats, running)
            await asyncio.sleep(seconds)
            return row(before, await _count(bob, stats, running))


async def _open(chromium: Browser, site: str, identity: str) -> Participant:
    context = await chromium.new_context(permissions=["camera", "microphone"])
    page = await context.new_page()
    await page.goto(site)
    return Participant(page, identity)


async def _count(receiver: Participant, stats: Any, link: Link) -> Counted:
    metadata = [("authorization", f"Bearer {admin_token(ROOM)}")]
    found = await stats.GetRoomStats(stats_pb2.GetRoomStatsRequest(room=ROOM), metadata=metadata)
    layers = [layer for track in found.tracks for layer in track.layers]
    at, received = asyncio.get_running_loop().time(), await receiver.page.evaluate(INBOUND)
    return Counted(at, received, layers, link.reports[-1]["up"]["offered_bytes"])


async def main(paths: int, seconds: float) -> None:
    print(*(f"{column:>11}" for column in COLUMNS))
    async with serve_site() as site, async_playwright() as playwright:
        for path in PATHS[:paths]:
            for setting in SETTINGS:
                # A browser of its own each time: what it knows of the path must not help the next.
                chromium = await playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS
                )
                cells = await measure(chromium, site, setting, path, seconds)
                await chromium.close()
                print(*(f"{cell:>11}" for cell in (f"{path[0]:.0%}", f"{path[1]} ms", setting, *cells)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each call, behind 20 s in which it settles")
    parser.add_argument("--paths", type=int, default=len(PATHS), help="how many of them, the worst first")
    given = parser.parse_args()
    asyncio.run(main(given.paths, given.seconds))
