"""Browsers cannot read why a WebSocket was refused: `/validate` tells them."""

import asyncio

import aiohttp
import pytest
from livekit.protocol import rtc as lr

from control_plane.gateway.livekit import refusals
from control_plane.gateway.livekit.refusals import Refusal, Refusals
from tests.e2e.harness.server import Server, token

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def join(http: aiohttp.ClientSession, bearer: str) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect("/rtc", params={"access_token": bearer, "protocol": "16"})
    assert lr.SignalResponse.FromString(await socket.receive_bytes()).HasField("join")
    return socket


async def validate(http: aiohttp.ClientSession, bearer: str, path: str = "/rtc/validate") -> tuple[int, str]:
    async with http.get(path, params={"access_token": bearer}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, await response.text()


async def test_who_was_refused_by_a_full_room_is_told_so(server: Server, http: aiohttp.ClientSession) -> None:
    await server.make_room("full", max_participants=1)
    first, second, other = (token("full", name) for name in ("first", "second", "other"))
    socket = await join(http, first)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await join(http, second)
    assert refused.value.status == 429
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        status, text = await validate(http, second, path)
        assert status == 403
        assert "is full" in text
    # Nobody else is told.
    for bearer in (first, other):
        assert await validate(http, bearer) == (200, "success")

    await socket.send_bytes(lr.SignalRequest(leave=lr.LeaveRequest()).SerializeToString())
    async with asyncio.timeout(10):
        while (await socket.receive()).type != aiohttp.WSMsgType.CLOSE:
            pass
    await join(http, second)
    assert await validate(http, second) == (200, "success"), "it was let in since"


async def test_who_asked_for_nonsense_is_told_so(http: aiohttp.ClientSession) -> None:
    bearer = token("nonsense", "x")
    async with http.get("/rtc/v1", params={"access_token": bearer, "join_request": "!!!"}) as response:
        assert response.status == 400
        reason = await response.text()
    assert await validate(http, bearer, "/rtc/v1/validate") == (403, reason)


LATER = {"Retry-After": "2"}


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(429, "room 'x' is full"), Refusal(403, "room 'x' is full")),
        (Refusal(400, "no"), Refusal(403, "no")),
        (Refusal(403, "no"), Refusal(403, "no")),
        (Refusal(401, "expired"), Refusal(401, "expired")),
        (Refusal(404, "no room 'x'"), Refusal(404, "requested room does not exist: no room 'x'")),
        (Refusal(429, "the node is full", LATER), Refusal(429, "the node is full", LATER)),
        (Refusal(503, "it drains", LATER), Refusal(503, "it drains", LATER)),
        (Refusal(500, "a fault"), Refusal(500, "a fault")),
    ],
    ids=lambda refusal: str(refusal.status),
)
async def test_what_people_are_told(refusal: Refusal, told: Refusal) -> None:
    assert refusal.for_people() == told


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_refusals_are_forgotten() -> None:
    clock = Clock()
    kept = Refusals(clock)
    for bearer in ("one", "two"):
        kept.keep(bearer, Refusal(429, bearer))
    kept.forget("one")
    kept.forget("nobody")
    assert kept.of("one") is None
    clock.now += refusals.KEPT - 1
    assert kept.of("two") == Refusal(429, "two")
    clock.now += 2
    assert kept.of("two") is None


async def test_the_oldest_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MAX_KEPT", 2)
    kept = Refusals(Clock())
    for bearer in ("one", "two", "one", "three"):
        kept.keep(bearer, Refusal(429, bearer))
    assert [kept.of(bearer) is not None for bearer in ("one", "two", "three")] == [True, False, True]
