"""The web client as people meet it: pages served by the node, driven by what is on the screen."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

OpenClient = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_client(chromium: Browser, server: Server) -> AsyncIterator[OpenClient]:
    """Opens a path of the web client; any error on its console fails the test."""
    contexts = []
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    async def open_one(path: str, width: int = 1280, height: int = 800, *, devices: bool = True) -> Page:
        permissions = ["camera", "microphone"] if devices else []
        context = await chromium.new_context(
            permissions=permissions, viewport={"width": width, "height": height}, base_url=server.url
        )
        contexts.append(context)
        page = await context.new_page()
        page.on("console", note)
        await page.goto(path)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert errors == []


async def enter(page: Page, name: str) -> None:
    await page.get_by_test_id("prejoin-name").fill(name)
    await page.get_by_test_id("prejoin-join").click()
    await expect(page.get_by_test_id("leave")).to_be_visible(timeout=15_000)


async def shown_videos(page: Page) -> int:
    """Videos on the page that have a picture and play."""
    return int(
        await page.evaluate(
            "[...document.querySelectorAll('video')].filter((v) => v.videoWidth > 0 && v.readyState >= 2).length"
        )
    )


async def test_two_people_meet_talk_and_chat(open_client: OpenClient, room: str) -> None:
    alice = await open_client(f"/r/{room}")
    await enter(alice, "Alice")
    bob = await open_client(f"/r/{room}")
    await enter(bob, "Bob")
    for page, other in ((alice, "Bob"), (bob, "Alice")):
        await expect(page.get_by_text(other, exact=True).first).to_be_visible(timeout=10_000)
        await until(partial(shown_videos, page), lambda count: count >= 2, 15, "both pictures")

    await alice.get_by_test_id("toggle-chat").click()
    await alice.get_by_test_id("chat-input").fill("Hello <b>Bob</b>")
    await alice.get_by_test_id("chat-input").press("Enter")
    await bob.get_by_test_id("toggle-chat").click()
    await expect(bob.get_by_test_id("chat-message").last).to_contain_text("Hello <b>Bob</b>", timeout=5_000)

    await alice.get_by_test_id("leave").click()
    await expect(bob.get_by_text("Alice", exact=True)).to_have_count(0, timeout=10_000)


async def test_a_full_meeting_says_so(open_client: OpenClient, chromium: Browser, server: Server, room: str) -> None:
    await server.make_room(room, max_participants=1)
    alice = await open_client(f"/r/{room}")
    await enter(alice, "Alice")
    # Browsers write to the console that a WebSocket was refused.
    context = await chromium.new_context(permissions=["camera", "microphone"], base_url=server.url)
    try:
        bob = await context.new_page()
        await bob.goto(f"/r/{room}")
        await bob.get_by_test_id("prejoin-name").fill("Bob")
        await bob.get_by_test_id("prejoin-join").click()
        problem = bob.get_by_test_id("problem")
        await expect(problem).to_have_attribute("data-code", "room-full", timeout=15_000)
        await alice.get_by_test_id("leave").click()
        await enter(bob, "Bob")
    finally:
        await context.close()


async def test_phone_sized_screen_shows_every_control(open_client: OpenClient, room: str) -> None:
    page = await open_client(f"/r/{room}", 360, 640)
    await enter(page, "Small")
    for control in ("toggle-mic", "toggle-camera", "leave"):
        box = await page.get_by_test_id(control).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["y"] + box["height"] <= 640


async def test_keyboard_alone_joins_and_mutes(open_client: OpenClient, room: str) -> None:
    page = await open_client(f"/r/{room}")
    await page.get_by_test_id("prejoin-name").focus()
    await page.keyboard.type("Keys")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("leave")).to_be_visible(timeout=15_000)
    enabled = partial(page.evaluate, "window.__room.localParticipant.isMicrophoneEnabled")
    await until(enabled, bool, 10, "an open microphone")
    await page.keyboard.press("m")
    await until(enabled, lambda on: not on, 5, "a muted microphone")


async def test_statistics_say_what_arrives_and_what_is_sent(open_client: OpenClient, room: str) -> None:
    alice = await open_client(f"/r/{room}")
    await enter(alice, "Alice")
    bob = await open_client(f"/r/{room}")
    await enter(bob, "Bob")
    await until(partial(shown_videos, bob), lambda count: count >= 2, 15, "both pictures")
    # Without a mouse.
    await bob.keyboard.press("i")
    panel = bob.get_by_test_id("stats-panel")
    received = panel.get_by_role("region", name="Received")
    for what in (
        r"\d+×\d+, \d+ fps",
        r"Layer\s*[123] of 3",
        r"[1-9]\d* [kM]b/s, VP8",
        r"Freezes\s*\d+, \d+\.\d s",
        r"Concealed sound\s*\d",
    ):
        await expect(received).to_contain_text(re.compile(what), timeout=10_000)
    sent = panel.get_by_role("region", name="Sent")
    await expect(sent).to_contain_text(re.compile(r"\d+×\d+\s*\d+ fps, \d+.* [kM]b/s"), timeout=10_000)
    await expect(panel.get_by_role("region", name="Connection")).to_contain_text(re.compile(r"\d ms"))
    await bob.keyboard.press("Escape")
    await expect(panel).to_have_count(0)
    await expect(bob.get_by_test_id("more")).to_be_focused()
    await bob.keyboard.press("Enter")
    await bob.get_by_test_id("menu-stats").click()
    await expect(panel).to_be_visible()


async def test_landing_page_starts_a_room(open_client: OpenClient) -> None:
    page = await open_client("/")
    await page.get_by_role("button", name="new", exact=False).first.click()
    await expect(page.get_by_test_id("prejoin-name")).to_be_visible(timeout=10_000)
    assert "/r/" in page.url
