"""Three simulcast layers, each delivered when the subscriber's size asks for it."""

import pytest

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HD = {"resolution": {"width": 1280, "height": 720, "frameRate": 20}}
LAYERS = {
    "videoSimulcastLayers": [
        {"width": 320, "height": 180, "encoding": {"maxBitrate": 120_000, "maxFramerate": 15}},
        {"width": 640, "height": 360, "encoding": {"maxBitrate": 300_000, "maxFramerate": 20}},
    ],
    "videoEncoding": {"maxBitrate": 1_000_000, "maxFramerate": 20},
    "degradationPreference": "maintain-resolution",
}


async def test_top_layer_reaches_a_full_screen_subscriber(join: Join) -> None:
    two = await join("two", camera=False, microphone=False)
    await join("one", capture=HD, publish=LAYERS, microphone=False)
    seen = await until(lambda: two.seen("one"), lambda t: t.get("width") == 1280, 5, "the top layer")
    assert seen["height"] == 720


async def test_three_layers_follow_the_size_asked_for(join: Join) -> None:
    one = await join("one", capture=HD, publish=LAYERS, microphone=False)
    two = await join("two", camera=False, microphone=False)
    await until(lambda: two.seen("one"), lambda t: t.get("width") == 1280, 15, "the top layer first")
    for width, height in ((320, 180), (640, 360), (1280, 720), (320, 180), (1280, 720)):
        await two.call("setDimensions", {"identity": "one", "width": width, "height": height})
        before = await until(
            lambda: two.seen("one"),
            lambda t, width=width: t.get("width") == width,  # type: ignore[misc]
            10,
            f"{width} wide",
        )
        assert before["height"] == height
        await until(
            lambda: two.seen("one"),
            lambda t, before=before: t["framesDecoded"] > before["framesDecoded"] + 10,  # type: ignore[misc]
            5,
            "frames that go on after the switch",
        )
    assert {layer["rid"] for layer in await one.call("sent")} == {"q", "h", "f"}


async def test_two_subscribers_get_different_layers(join: Join) -> None:
    await join("one", capture=HD, publish=LAYERS, microphone=False)
    large = await join("large", camera=False, microphone=False)
    small = await join("small", camera=False, microphone=False)
    await until(lambda: small.seen("one"), lambda t: t.get("framesDecoded", 0) > 0, 10, "video")
    await small.call("setQuality", {"identity": "one", "quality": "LOW"})
    await until(lambda: small.seen("one"), lambda t: t.get("width") == 320, 10, "the low layer")
    await until(lambda: large.seen("one"), lambda t: t.get("width") == 1280, 10, "the high layer")
