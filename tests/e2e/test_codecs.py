"""Every codec, published by one Chromium and decoded by another."""

from functools import partial
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


async def test_audio_with_and_without_redundancy(join: Join) -> None:
    """Both are heard. A publisher's RED, each frame twice, is taken apart at its arrival: where nothing is lost,
    listeners get every frame once, as of who sends plain Opus."""
    await join("plain", camera=False, room={"publishDefaults": {"red": False}})
    await join("redundant", camera=False, room={"publishDefaults": {"red": True}})
    listener = await join("listener", camera=False, microphone=False)

    async def packet_bytes(identity: str) -> float:
        def enough(track: dict[str, Any]) -> bool:
            return float(track.get("energy", 0)) > 0.001 and int(track["packets"]) > 200

        track = await until(partial(listener.seen, identity, "microphone"), enough, 20, f"sound of {identity}")
        return float(track["bytes"] / track["packets"])

    assert 0.7 < await packet_bytes("redundant") / await packet_bytes("plain") < 1.3
