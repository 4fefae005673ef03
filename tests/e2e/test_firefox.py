"""Firefox and Chromium in one room."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import Join
from tests.e2e.harness.interface import own_interface
from tests.e2e.harness.pages import Participant, until
from tests.e2e.harness.server import Server, token

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    """With media on an interface that Firefox takes."""
    with own_interface() as address:
        async with Server("--media-ip", address, "--media-ip", "127.0.0.1") as running:
            yield running


SMALL = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}


async def test_firefox_and_chromium_see_and_hear_each_other(
    firefox: Participant, join: Join, server: Server, room: str
) -> None:
    chromium = await join("chromium", capture=SMALL)
    await firefox.join(server.ws_url, token(room, "firefox"), camera=True, microphone=True, capture=SMALL)
    for me, other in ((firefox, "chromium"), (chromium, "firefox")):
        await until(
            lambda me=me, other=other: me.seen(other),  # type: ignore[misc]
            lambda track: track.get("framesDecoded", 0) > 20,
            20,
            f"{me.identity} sees {other}",
        )
        await until(
            lambda me=me, other=other: me.seen(other, "microphone"),  # type: ignore[misc]
            lambda track: track.get("energy", 0) > 0,
            10,
            f"{me.identity} hears {other}",
        )
    await firefox.call("send", {"text": "hello", "reliable": True})
    await until(chromium.summary, lambda s: [d["text"] for d in s["data"]] == ["hello"], 5, "data")
