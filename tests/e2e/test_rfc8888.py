"""Chromium that knows RFC 8888 (a field trial): taken where we offer it, transport-wide feedback elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from pysfu.v1 import stats_pb2, stats_pb2_grpc
from tests.e2e.conftest import Join
from tests.e2e.harness.pages import CHROMIUM_ARGUMENTS, Participant, until
from tests.e2e.harness.server import Server, admin_token, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRIAL = "--force-fieldtrials=WebRTC-RFC8888CongestionControlFeedback/Enabled,offer:true/"
SMALL = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}
Feedback = stats_pb2.DownlinkStats.Feedback


@pytest_asyncio.fixture(loop_scope="session")
async def trial() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        arguments = [*CHROMIUM_ARGUMENTS, TRIAL]
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        await browser.close()


async def feedback(server: Server, room: str) -> set[int]:
    """What subscribers tell of arrivals."""
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        service: Any = stats_pb2_grpc.StatsServiceStub(channel)
        metadata = (("authorization", f"Bearer {admin_token(room)}"),)
        stats = await service.GetRoomStats(stats_pb2.GetRoomStatsRequest(room=room), metadata=metadata)
    return {row.feedback for row in stats.downlinks if row.feedback}


@pytest.mark.parametrize(
    ("single", "expected"), [(False, Feedback.FEEDBACK_RFC8888), (True, Feedback.FEEDBACK_TRANSPORT_WIDE)]
)
async def test_a_receiver_that_knows_it(
    join: Join, trial: Browser, site: str, server: Server, room: str, single: bool, expected: int
) -> None:
    await join("one", capture=SMALL)
    context = await trial.new_context(permissions=["camera", "microphone"])
    page = await context.new_page()
    await page.goto(site)
    two = Participant(page, "two")
    await two.join(server.ws_url, token(room, "two"), room={"singlePeerConnection": single})
    await until(lambda: two.seen("one"), lambda t: t.get("framesDecoded", 0) > 30, 20, "video")
    await until(lambda: feedback(server, room), lambda told: told == {expected}, 10, "feedback of the kind agreed on")
    before = await two.seen("one")
    await until(lambda: two.seen("one"), lambda t: t["framesDecoded"] > before["framesDecoded"] + 30, 10, "more of it")
    await context.close()
