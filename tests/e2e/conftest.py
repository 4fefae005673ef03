"""Fixtures of the end-to-end tests. One server and one Chromium serve a module; rooms are named after tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.e2e.harness.firefox import Firefox
from tests.e2e.harness.pages import CHROMIUM_ARGUMENTS, Participant
from tests.e2e.harness.server import Server, token
from tests.e2e.harness.site import serve_site

OpenPage = Callable[[str], Awaitable[Participant]]
Join = Callable[..., Awaitable[Participant]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site() -> AsyncIterator[str]:
    async with serve_site() as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room name of the test's own."""
    return str(request.node.name)


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser, site: str) -> AsyncIterator[OpenPage]:
    """Opens the test page in a browser context of its own."""
    contexts = []

    async def open_one(identity: str) -> Participant:
        context = await chromium.new_context(permissions=["camera", "microphone"])
        contexts.append(context)
        page = await context.new_page()
        await page.goto(site)
        return Participant(page, identity)

    yield open_one
    for context in contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def join(open_page: OpenPage, server: Server, room: str) -> Join:
    """A Chromium participant, joined to the test's room with camera and microphone unless told otherwise."""

    async def join_one(identity: str, **options: Any) -> Participant:
        participant = await open_page(identity)
        options = {"camera": True, "microphone": True} | options
        await participant.join(server.ws_url, token(room, identity), **options)
        return participant

    return join_one


@pytest_asyncio.fixture(loop_scope="session")
async def firefox(site: str) -> AsyncIterator[Participant]:
    async with Firefox() as browser:
        await browser.goto(site)
        yield Participant(browser, "firefox")
