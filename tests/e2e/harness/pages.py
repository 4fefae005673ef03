"""A participant in a browser page: Chromium by Playwright, Firefox by BiDi, one way to talk to both."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream=fps=30",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
]


class Evaluates(Protocol):
    """What a Playwright page and a `Firefox` have in common."""

    async def evaluate(self, expression: str, arg: Any = None, /) -> Any: ...


class Participant:
    """One participant of a call in one page. Method names are those of `static/call.js`."""

    def __init__(self, page: Evaluates, identity: str) -> None:
        self.page = page
        self.identity = identity

    async def call(self, function: str, argument: Any = None) -> Any:
        return await self.page.evaluate(f"(argument) => call.{function}(argument)", argument)

    async def join(self, url: str, token: str, **options: Any) -> dict[str, Any]:
        joined: dict[str, Any] = await self.call("join", {"url": url, "token": token, **options})
        return joined

    async def seen(self, identity: str, source: str = "camera") -> dict[str, Any]:
        """What this page has received of one track of another participant; empty before it is known."""
        tracks: dict[str, Any] = (await self.call("seen")).get(identity, {})
        return dict(tracks.get(source, {}))

    async def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("summary")
        return found

    async def frames_per_second(self, identity: str, source: str = "camera", over: float = 3.0) -> float:
        """Decoded frames per second of one track, measured over `over` seconds."""
        before = await self.seen(identity, source)
        await asyncio.sleep(over)
        after = await self.seen(identity, source)
        elapsed = (after["at"] - before["at"]) / 1000
        return float((after["framesDecoded"] - before["framesDecoded"]) / elapsed)


async def until(probe: Callable[[], Awaitable[T]], met: Callable[[T], Any], within: float, what: str) -> T:
    """The first value of `probe` that meets the condition; fails with the last one seen after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = await probe()
        if met(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}; last seen: {value}")
        await asyncio.sleep(0.1)
