"""Chromium as a receiver: its peer connection, and a note of every frame that it showed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

SCRIPT = Path(__file__).with_name("page.js")
# VideoFrame needs a secure context; the address is answered by Playwright and never looked up.
ADDRESS = "https://receiver.invalid/"
ARGUMENTS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    # Candidates show addresses: there is nobody who would resolve names of mDNS.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Receiver:
    """One receiving page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    @classmethod
    async def open(cls, browser: Browser) -> "Receiver":
        """In a browser context of its own."""
        context = await browser.new_context()
        page = await context.new_page()
        html = "<!doctype html><title>receiver</title><body></body>"
        await page.route(f"{ADDRESS}**", lambda route: route.fulfill(content_type="text/html", body=html))
        await page.goto(ADDRESS)
        await page.add_script_tag(content=SCRIPT.read_text())
        return cls(page)

    async def offer(self, *, audio: int, video: int) -> str:
        """SDP that asks for so many tracks of each kind."""
        return str(await self._page.evaluate("counts => receiver.offer(counts)", {"audio": audio, "video": video}))

    async def answered(self, sdp: str) -> None:
        """Takes the answer to that."""
        await self._page.evaluate("sdp => receiver.answered(sdp)", sdp)

    async def answer(self, sdp: str) -> str:
        """SDP that answers an offer."""
        return str(await self._page.evaluate("sdp => receiver.answer(sdp)", sdp))

    async def connected(self) -> float:
        """When ICE and DTLS were done, s since 1970. Waits for it."""
        return float(await self._page.evaluate("() => receiver.connected")) / 1e3

    async def take(self) -> dict[str, Any]:
        """What was noted since the last call, as page.js has it: `frames`, `samples`, names of what was `counted`."""
        noted: dict[str, Any] = await self._page.evaluate("() => receiver.take()")
        return noted

    async def close(self) -> None:
        """The page and its context."""
        await self._page.context.close()
