"""One run of one scenario: a server, publishers, receivers behind their links, and what all of them noted."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from bench.quality.browser import scenarios
from bench.quality.browser.link import Link, candidate, relay
from bench.quality.browser.page import Receiver
from bench.quality.browser.peers import ADDRESS, PEERS, ROOM, Peer, PeerError
from bench.quality.browser.scenarios import Scenario

CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Programs:
    """What was built for it: the load engine, the emulator, and the recording that is published."""

    load: Path
    netem: Path
    recording: Path


@dataclass
class Noted:
    """What one receiver saw: `frames` and `samples` as page.js has them, `reports` of the link; all by wall clock."""

    ready: float
    """s since 1970."""
    frames: list[list[Any]] = field(default_factory=list)
    samples: list[list[Any]] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    estimates: list[tuple[float, float]] = field(default_factory=list)


async def run(programs: Programs, browser: Browser, peer: str, scenario: Scenario, seed: int) -> list[Noted]:
    """One per path of the scenario. Raises PeerError when somebody cannot get in."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(PEERS[peer]())
        for index in range(scenario.publishers):
            lossy = index == scenario.publishers - 1
            loss = scenario.uplink_loss if lossy else 0.0
            camera = publisher(programs, server.url, address=server.publisher_address, index=index, loss=loss)
            await stack.enter_async_context(camera)
        receivers = [
            await stack.enter_async_context(
                _receiver(programs, browser, server, scenario, path, f"receiver-{place}", seed)
            )
            for place, path in enumerate(scenario.paths)
        ]
        ready = max(noted.ready for noted, _ in receivers)
        for noted, start in receivers:
            noted.ready = ready
            start()
        await asyncio.sleep(max(0.0, ready + scenario.seconds - time.time()))
        return [noted for noted, _ in receivers]


@contextlib.asynccontextmanager
async def publisher(
    programs: Programs, url: str, *, address: str, room: str = ROOM, index: int = 0, loss: float = 0.0
) -> AsyncIterator[None]:
    """A camera in three layers and a microphone, at the server with this `url`. `loss`: share of its packets.

    Raises PeerError when it cannot get in.
    """
    command: list[str | Path] = [programs.load, "publish", "--server", url, "--room", room, "--index", str(index)]
    command += ["--address", address, "--recordings", programs.recording, "--send-loss", str(loss)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stderr is not None
    try:
        told = b""
        while b"publishing" not in told:
            line = await asyncio.wait_for(process.stderr.readline(), CONNECT_SECONDS)
            if not line:
                raise PeerError(f"the load engine ended: {told.decode(errors='replace')}")
            told += line
        yield
    finally:
        # The end of its input is its end; it says goodbye.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), 5)
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def _receiver(
    programs: Programs,
    browser: Browser,
    server: Peer,
    scenario: Scenario,
    path: scenarios.Path,
    name: str,
    seed: int,
) -> AsyncIterator[tuple[Noted, Any]]:
    """A page behind a link. Yields its notes, complete at the end of the context, and what starts its script."""
    page = await Receiver.open(browser)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(page.close)
        links: list[Link] = []
        common = {"delay_ms": path.delay_ms}
        down = {**common, "capacity": path.capacities[0][1], "queue": {"ms": 300}, **path.down}

        async def connect(sdp: str) -> str:
            link = relay(
                programs.netem, candidate(sdp), address=ADDRESS, down=down, up={**common, **path.up}, seed=seed
            )
            links.append(await stack.enter_async_context(link))
            sdp = links[0].rewrite(sdp)
            if not offered:
                return await page.answer(sdp)
            await page.answered(sdp)
            return ""

        offered: list[str] = []

        async def offer() -> str:
            offered.append(await page.offer(audio=scenario.publishers, video=scenario.publishers))
            return offered[0]

        await stack.enter_async_context(server.receive(scenario.publishers, offer, connect, name))
        noted = Noted(await asyncio.wait_for(page.connected(), CONNECT_SECONDS))
        (link,) = links

        def start() -> None:
            gone = time.time() - noted.ready
            steps = [(at, {"capacity": capacity}) for at, capacity in path.capacities[1:]]
            link.script([(max(0.0, at - gone), change) for at, change in sorted([*steps, *path.changes], key=_when)])

        yield noted, start
        found = await page.take()
        noted.frames, noted.samples, noted.counted = found["frames"], found["samples"], found["counted"]
        noted.estimates = server.estimates(name)
        noted.reports = link.reports


def _when(step: tuple[float, object]) -> float:
    return step[0]
