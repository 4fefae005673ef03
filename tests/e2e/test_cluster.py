"""Two real nodes with a real NATS server: a browser on each node's page, in one room."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import OpenPage
from tests.e2e.harness.cluster import DevCluster
from tests.e2e.harness.pages import Participant, until
from tests.e2e.harness.server import token
from tests.e2e.test_web_client import enter, shown_videos

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What each video shows, as the share of its pixels that is not black, and its size on the screen.
PICTURES = """() => [...document.querySelectorAll('video')].map((video) => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 36 });
  const paint = canvas.getContext('2d');
  paint.drawImage(video, 0, 0, 64, 36);
  const { data } = paint.getImageData(0, 0, 64, 36);
  let lit = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] + data[at + 1] + data[at + 2] > 60) lit += 1;
  return { lit: lit / (64 * 36), width: video.clientWidth };
})"""
# Energy of what is heard of the other, in the browser's own measure.
HEARD = """async () => {
  let energy = 0;
  for (const other of window.__room.remoteParticipants.values()) {
    for (const publication of other.audioTrackPublications.values()) {
      const report = await publication.track?.receiver?.getStats();
      for (const entry of report?.values() ?? []) {
        if (entry.type === 'inbound-rtp') energy += entry.totalAudioEnergy ?? 0;
      }
    }
  }
  return energy;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def cluster() -> AsyncIterator[DevCluster]:
    async with DevCluster(2, "--keep-going") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def open_client(chromium: Browser) -> AsyncIterator[Callable[[str], Awaitable[Page]]]:
    contexts = []

    async def open_one(url: str) -> Page:
        context = await chromium.new_context(
            permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800}
        )
        contexts.append(context)
        page = await context.new_page()
        await page.goto(url)
        return page

    yield open_one
    for context in contexts:
        await context.close()


async def test_a_browser_on_each_node_in_the_same_room(
    cluster: DevCluster, open_client: Callable[[str], Awaitable[Page]], room: str
) -> None:
    alice = await open_client(f"{cluster.url(0)}/r/{room}")
    await enter(alice, "Alice")
    bob = await open_client(f"{cluster.url(1)}/r/{room}")
    await enter(bob, "Bob")
    for page, other in ((alice, "Bob"), (bob, "Alice")):
        await expect(page.get_by_text(other, exact=True).first).to_be_visible(timeout=10_000)
        await until(partial(shown_videos, page), lambda count: count >= 2, 20, "both pictures")
        await until(partial(page.evaluate, HEARD), lambda energy: energy > 0.001, 20, "the other's voice")
        pictures: list[dict[str, Any]] = await page.evaluate(PICTURES)
        assert len([one for one in pictures if one["lit"] > 0.5 and one["width"] > 200]) >= 2, pictures
    assert "joined" in cluster.log(0)
    assert "joined" in cluster.log(1), "each is on the node whose page it opened"

    await alice.get_by_test_id("toggle-chat").click()
    await alice.get_by_test_id("chat-input").fill("Hello across nodes")
    await alice.get_by_test_id("chat-input").press("Enter")
    await bob.get_by_test_id("toggle-chat").click()
    await expect(bob.get_by_test_id("chat-message").last).to_contain_text("Hello across nodes", timeout=5_000)
    if folder := os.environ.get("PYSFU_SCREENSHOTS"):
        await alice.screenshot(path=f"{folder}/cluster-alice.png")
        await bob.screenshot(path=f"{folder}/cluster-bob.png")

    await alice.get_by_test_id("leave").click()
    await expect(bob.get_by_text("Alice", exact=True)).to_have_count(0, timeout=10_000)


async def test_who_was_on_a_node_that_is_killed_is_back_within_seconds(
    cluster: DevCluster, open_page: OpenPage, room: str
) -> None:
    """Through the gateway of a node that lives: it tells its client to come back, and sends it elsewhere."""
    alice, bob = await open_page("alice"), await open_page("bob")
    await alice.join(cluster.ws_url(0), token(room, "alice"), camera=True, microphone=True)
    away = f"{cluster.ws_url(0)}?region=region-2"
    await bob.join(away, token(room, "bob"), camera=True, microphone=True)
    for one, other in ((alice, "bob"), (bob, "alice")):
        await until(partial(one.seen, other), lambda track: track.get("framesDecoded", 0) > 5, 20, f"video of {other}")
    assert "identity=bob" in cluster.log(1)
    assert "identity=bob" not in cluster.log(0)
    os.kill(cluster.pid(1), signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: says(cluster, 0, "identity=bob"), bool, 10, "bob joined anew")
    back = time.monotonic() - killed
    assert back < 2.0, f"the gateway sent it elsewhere after {back:.1f} s"
    for one, other in ((alice, "bob"), (bob, "alice")):
        await until(partial(flows, one, other), bool, 15, f"video of {other} again")
    summary = await bob.summary()
    assert (summary["connection"], summary["disconnected"]) == ("connected", None), "it came back by itself"


async def says(cluster: DevCluster, node: int, text: str) -> bool:
    return text in cluster.log(node)


async def flows(page: Participant, other: str) -> bool:
    """Whether pictures come now."""
    before = await page.seen(other)
    await asyncio.sleep(0.3)
    after = await page.seen(other)
    return bool(after.get("framesDecoded", 0) > before.get("framesDecoded", 0) > 0)


async def test_pictures_go_on_when_a_node_is_drained(cluster: DevCluster, open_page: OpenPage, room: str) -> None:
    alice, bob = await open_page("alice"), await open_page("bob")
    await alice.join(cluster.ws_url(0), token(room, "alice"), camera=True, microphone=True)
    await bob.join(cluster.ws_url(1), token(room, "bob"), camera=True, microphone=True)
    for one, other in ((alice, "bob"), (bob, "alice")):
        await until(partial(one.seen, other), lambda track: track.get("framesDecoded", 0) > 30, 20, f"video of {other}")
    await cluster.pysfu(1, "node", "drain", "node-2")
    await until(lambda: says(cluster, 1, "the node is empty"), bool, 10, "bob moved")
    await asyncio.sleep(2)  # what was on its way has come
    for one, other in ((alice, "bob"), (bob, "alice")):
        await until(partial(flows, one, other), bool, 10, f"video of {other} still")
