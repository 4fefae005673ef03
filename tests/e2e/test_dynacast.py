"""Layers that nobody can use are not sent, and return when somebody can."""

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import Participant, until
from tests.e2e.test_simulcast import HD, LAYERS

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADAPTIVE = {"adaptiveStream": {"pixelDensity": 1}, "dynacast": True}


async def sending(one: Participant, over: float = 1.0) -> set[str]:
    """RIDs of the layers that have sent frames within `over` seconds."""

    async def frames() -> dict[str, int]:
        return {layer["rid"]: layer["framesSent"] or 0 for layer in await one.call("sent") if layer["kind"] == "video"}

    before = await frames()
    await asyncio.sleep(over)  # that nothing is sent can be seen with time alone
    return {rid for rid, count in (await frames()).items() if count > before.get(rid, 0)}


async def test_small_tiles_switch_the_large_layers_off(join: Join) -> None:
    two = await join("two", camera=False, microphone=False, room=ADAPTIVE)
    await two.call("resize", {"identity": "one", "width": 1280, "height": 720})
    one = await join("one", capture=HD, publish=LAYERS, microphone=False, room=ADAPTIVE)
    seen: dict[str, Any] = await until(
        lambda: two.seen("one"), lambda t: t.get("width") == 1280, 10, "the top layer in a large tile"
    )
    assert await sending(one) == {"q", "h", "f"}

    await two.call("resize", {"identity": "one", "width": 200, "height": 112})
    await until(lambda: two.seen("one"), lambda t: t.get("width") == 320, 5, "the low layer in a small tile")
    await until(lambda: sending(one), lambda rids: rids == {"q"}, 15, "nothing but the low layer from the publisher")

    await two.call("resize", {"identity": "one", "width": 1280, "height": 720})
    seen = await until(lambda: two.seen("one"), lambda t: t.get("width") == 1280, 5, "the top layer again")
    assert seen["freezes"] == 0
    assert await sending(one) == {"q", "h", "f"}


async def test_nobody_is_sent_nothing(join: Join) -> None:
    one = await join("one", capture=HD, publish=LAYERS, microphone=False, room=ADAPTIVE)
    await until(lambda: sending(one), lambda rids: rids == set(), 15, "a publisher at rest")
    two = await join("two", camera=False, microphone=False)
    await until(lambda: two.seen("one"), lambda t: t.get("framesDecoded", 0) > 10, 10, "video for the first subscriber")
    await two.call("leave")
    await until(lambda: sending(one), lambda rids: rids == set(), 15, "a publisher at rest again")
