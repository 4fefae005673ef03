"""Layers switch though nobody on the way can read the pictures: `livekit-client`'s own encryption, real Chromium."""

import pytest

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import until
from tests.e2e.test_simulcast import HD, LAYERS

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "known to the participants alone"


@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9"])
async def test_layers_follow_what_is_asked_for(join: Join, codec: str) -> None:
    publish = LAYERS | {"videoCodec": codec, "backupCodec": False}
    if codec == "vp9":
        publish = publish | {"scalabilityMode": "L3T3_KEY"}
    await join("one", capture=HD, publish=publish, microphone=False, passphrase=SECRET)
    two = await join("two", camera=False, microphone=False, passphrase=SECRET)
    await until(lambda: two.seen("one"), lambda t: t.get("framesDecoded", 0) > 10, 20, "decrypted frames")
    for quality, width in (("LOW", 320), ("HIGH", 1280), ("LOW", 320)):
        await two.call("setQuality", {"identity": "one", "quality": quality})
        before = await until(
            lambda: two.seen("one"),
            lambda t, width=width: t.get("width") == width,  # type: ignore[misc]
            15,
            f"{quality}, {width} wide",
        )
        await until(
            lambda: two.seen("one"),
            lambda t, before=before: t["framesDecoded"] > before["framesDecoded"] + 10,  # type: ignore[misc]
            10,
            "frames that go on after the switch",
        )


async def test_who_has_another_key_sees_nothing(join: Join) -> None:
    await join("one", capture=HD, publish=LAYERS, microphone=False, passphrase=SECRET)
    friend = await join("friend", camera=False, microphone=False, passphrase=SECRET)
    stranger = await join("stranger", camera=False, microphone=False, passphrase="something else")
    await until(lambda: friend.seen("one"), lambda t: t.get("framesDecoded", 0) > 30, 20, "decrypted frames")
    seen = await stranger.seen("one")
    assert seen["packets"] > 0
    assert seen["framesDecoded"] == 0
