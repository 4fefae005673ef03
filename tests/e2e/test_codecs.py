"""Every codec, published by one Chromium and decoded by another."""

from typing import Any

import pytest

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMALL = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}


@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "av1"])
async def test_codec_is_decoded_by_the_other_side(join: Join, codec: str) -> None:
    publish = {"videoCodec": codec, "simulcast": False, "backupCodec": False}
    await join("one", capture=SMALL, publish=publish, microphone=False)
    two = await join("two", camera=False, microphone=False)
    seen = await until(lambda: two.seen("one"), lambda track: track.get("framesDecoded", 0) > 30, 20, f"{codec} frames")
    assert seen["mimeType"].lower() == f"video/{codec}"
    assert (seen["width"], seen["height"]) == (320, 240)


@pytest.mark.parametrize("codec", ["vp9", "av1"])
async def test_scalable_codec_is_decoded(join: Join, codec: str) -> None:
    publish = {"videoCodec": codec, "scalabilityMode": "L3T3_KEY", "backupCodec": False}
    await join("one", capture={"resolution": {"width": 640, "height": 360, "frameRate": 15}}, publish=publish)
    two = await join("two", camera=False, microphone=False)
    seen = await until(lambda: two.seen("one"), lambda track: track.get("framesDecoded", 0) > 20, 30, f"{codec} frames")
    assert seen["mimeType"].lower() == f"video/{codec}"


@pytest.mark.parametrize("red", [True, False], ids=["red", "opus"])
async def test_audio_with_and_without_redundancy(join: Join, red: bool) -> None:
    await join("one", camera=False, room={"publishDefaults": {"red": red}})
    two = await join("two", camera=False, microphone=False)

    def audible(track: dict[str, Any]) -> bool:
        return float(track.get("energy", 0)) > 0.001

    seen = await until(lambda: two.seen("one", "microphone"), audible, 10, "sound")
    assert seen["mimeType"].lower() == ("audio/red" if red else "audio/opus")
