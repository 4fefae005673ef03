"""The unmodified Python SDK (PyPI `livekit`, libwebrtc in Rust) with Chromium and with itself."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import until
from tests.e2e.harness.sdk import HEIGHT, WIDTH, SdkParticipant
from tests.e2e.harness.server import Server, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

SdkJoin = Callable[[str], Awaitable[SdkParticipant]]


@pytest_asyncio.fixture(loop_scope="session")
async def sdk_join(server: Server, room: str) -> AsyncIterator[SdkJoin]:
    participants: list[SdkParticipant] = []

    async def join_one(identity: str) -> SdkParticipant:
        participant = SdkParticipant()
        participants.append(participant)
        await participant.room.connect(server.ws_url, token(room, identity))
        return participant

    yield join_one
    for participant in participants:
        await participant.close()


async def now(value: object) -> object:
    return value


async def test_python_sdk_with_chromium(sdk_join: SdkJoin, join: Join) -> None:
    small = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}
    chromium = await join("chromium", capture=small)
    python = await sdk_join("python")
    await python.publish()
    await until(lambda: chromium.seen("python"), lambda t: t.get("framesDecoded", 0) > 20, 20, "Chromium sees Python")
    await until(
        lambda: chromium.seen("python", "microphone"), lambda t: t.get("energy", 0) > 0.01, 10, "Chromium hears Python"
    )
    await until(lambda: now(python.frames.get("chromium", 0)), lambda count: count > 20, 20, "Python sees Chromium")  # type: ignore[operator]
    await until(lambda: now(python.loudest.get("chromium", 0)), lambda peak: peak > 500, 10, "Python hears Chromium")  # type: ignore[operator]
    await python.room.local_participant.publish_data(b"from python", reliable=True)
    await until(chromium.summary, lambda s: [d["text"] for d in s["data"]] == ["from python"], 5, "data to Chromium")
    await chromium.call("send", {"text": "from chromium", "reliable": True})
    await until(
        lambda: now(list(python.data)), lambda got: got == [("chromium", b"from chromium")], 5, "data to Python"
    )


async def test_two_python_sdks(sdk_join: SdkJoin) -> None:
    one, two = await sdk_join("one"), await sdk_join("two")
    await one.publish()
    await until(lambda: now(two.frames.get("one", 0)), lambda count: count > 20, 20, "video")  # type: ignore[operator]
    await until(lambda: now(two.loudest.get("one", 0)), lambda peak: peak > 8_000, 10, "a tone at half scale")  # type: ignore[operator]
    assert two.sizes["one"] == (WIDTH, HEIGHT)
