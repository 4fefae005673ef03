"""A Chromium participant whose path goes from 10 Mb/s to 1 and back: it gets less and more, and never stands still.

The path is the emulator as a relay, to which the page sends what it would send to the server. The publisher is the load
engine with a recording of a real encoder, so that nothing but the receiver decodes on this machine.
"""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.quality import browser
from bench.quality.browser import recording
from bench.quality.browser.call import Programs, publisher
from bench.quality.browser.link import Link, relay
from tests.e2e.conftest import OpenPage
from tests.e2e.harness.pages import Participant, until
from tests.e2e.harness.server import Server, token

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # Of which a minute is the test: the first time, programs are built and a recording is made.
    pytest.mark.timeout(600),
]

WIDE, THIN = 10_000_000, 1_000_000
FREEZE = 0.5
"""s, the goal of media quality."""
DOWN, UP = 3.0, 8.0
"""s until less is shown and all is shown again. The goal is 5 s in 95 of 100 cases; this is one case."""
BUSY = 0.1
"""s between two beats of the page, due every 20 ms, from which on the machine kept it waiting."""

# The relay in place of the server, in whatever description the page is given.
THROUGH_RELAY = """(port) => {
  const original = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    const through = sdp.replace(/^(a=candidate:\\S+ 1 udp \\d+ )\\S+ \\d+( typ host.*)$/gim, `$1127.0.0.1 ${port}$2`);
    return original.call(this, { type, sdp: through });
  };
}"""
# Frames as they are shown, and beats, by which it can be told when the machine had no time for the page.
WATCH = """() => {
  window.watched = { frames: [], beats: [] };
  const element = document.querySelector('video');
  const shown = (now, { presentationTime, height, presentedFrames }) => {
    element.requestVideoFrameCallback(shown);
    window.watched.frames.push([presentationTime / 1e3, height, presentedFrames]);
  };
  element.requestVideoFrameCallback(shown);
  setInterval(() => window.watched.beats.push(performance.now() / 1e3), 20);
}"""


@dataclass(frozen=True)
class Gap:
    """Time without a new frame, s. `busy`: as much of it as the machine kept the page waiting."""

    at: float
    length: float
    busy: float


@pytest.fixture(scope="module")
def programs() -> Programs:
    built = browser.build(release=False)
    if not recording.is_complete(browser.RECORDING):
        assert list(recording.record(browser.RECORDING))
    return Programs(built["load"], built["netem"], browser.RECORDING)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> Any:
    async with Server(workers=1) as running:
        yield running


class Watched:
    """The page's notes."""

    def __init__(self, viewer: Participant) -> None:
        self.page = viewer.page
        self.frames: list[tuple[float, int, int]] = []
        self.beats: list[float] = []

    async def begin(self) -> None:
        await self.page.evaluate(WATCH)

    async def read(self) -> None:
        noted = await self.page.evaluate("() => watched")
        self.frames = sorted(tuple(frame) for frame in noted["frames"])
        self.beats = noted["beats"]

    async def count(self) -> int:
        await self.read()
        return len(self.frames)

    async def height(self) -> int:
        await self.read()
        return self.frames[-1][1] if self.frames else 0

    def gaps(self) -> list[Gap]:
        """The longest first. Frames that the page missed but the browser showed divide a gap."""
        stalls = [(before, after) for before, after in pairwise(self.beats) if after - before > BUSY]
        found = []
        for (begun, _, number), (ended, _, last) in pairwise(self.frames):
            busy = sum(max(0.0, min(ended, after) - max(begun, before)) for before, after in stalls)
            shown = max(1, last - number)
            found.append(Gap(begun, (ended - begun) / shown, busy / shown))
        return sorted(found, key=lambda gap: gap.busy - gap.length)


async def call_through(link: Link, open_page: OpenPage, server: Server, room: str) -> Participant:
    viewer = await open_page("viewer")
    await viewer.page.evaluate(THROUGH_RELAY, link.port)
    await viewer.join(server.ws_url, token(room, "viewer"))
    await until(lambda: viewer.seen("publisher-0"), lambda seen: seen.get("height") == 720, 10, "the top layer first")
    return viewer


async def test_less_is_shown_when_the_path_gets_thin_and_all_again_when_it_recovers(
    programs: Programs, open_page: OpenPage, server: Server, room: str, tmp_path: Path
) -> None:
    path = {"capacity": WIDE, "delay_ms": 25, "queue": {"ms": 300}}
    link = relay(
        programs.netem, ("127.0.0.1", server.udp_port), address="127.0.0.1", down=path, up={"delay_ms": 25}, seed=1
    )
    url = f"pysfu://{server.grpc_address}"
    async with publisher(programs, url, address="127.0.0.1", room=room), link as way:
        viewer = await call_through(way, open_page, server, room)
        watched = Watched(viewer)
        await watched.begin()
        await until(watched.count, lambda frames: frames >= 100, 10, "pictures on the wide path")
        way.script([(0, {"capacity": THIN})])
        await until(watched.height, lambda height: height < 720, DOWN, "a lower layer on a thin path")
        await asyncio.sleep(8)  # nothing else is tried in that time
        assert await watched.height() in (180, 360)
        way.script([(0, {"capacity": WIDE})])
        await until(watched.height, lambda height: height == 720, UP, "the top layer on the path that recovered")
        await asyncio.sleep(3)  # it is there to stay
        assert await watched.height() == 720, "the top layer was given up again"
        worst = watched.gaps()[0]
        assert worst.length - worst.busy <= FREEZE, f"{worst}; reports of the link: {way.reports[-1]}"
        # Nothing stood still for lack of frames: they came all the time.
        assert len(watched.frames) > 15 * 15
