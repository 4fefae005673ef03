"""The gateway over HTTP and WebSocket: tokens, status codes, malformed input."""

import asyncio
import base64
import gzip
from datetime import timedelta

import aiohttp
import jwt
import pytest
from livekit.protocol import rtc as lr

from tests.e2e.harness.server import KEY, SECRET, Server, token

pytestmark = pytest.mark.asyncio(loop_scope="module")


def unsigned() -> str:
    claims = {"iss": KEY, "sub": "x", "exp": 2_000_000_000, "video": {"roomJoin": True, "room": "r"}}
    return jwt.encode(claims, "", algorithm="none")


BAD_TOKENS = {
    "missing": ("", "no access token"),
    "nonsense": ("nonsense", "malformed"),
    "expired": (token("r", "x", ttl=timedelta(hours=-1)), "expired"),
    "forged": (token("r", "x")[:-8] + "AAAAAAAA", "signature"),
    "alg none": (unsigned(), "HS256"),
    "unknown key": (jwt.encode({"iss": "other", "exp": 2_000_000_000}, SECRET, algorithm="HS256"), "API key"),
}


@pytest.mark.parametrize("path", ["/rtc/v1", "/rtc/v1/validate", "/rtc", "/rtc/validate"])
@pytest.mark.parametrize("bad", BAD_TOKENS)
async def test_bad_tokens_are_401_with_the_reason(http: aiohttp.ClientSession, path: str, bad: str) -> None:
    value, reason = BAD_TOKENS[bad]
    async with http.get(path, params={"access_token": value}) as response:
        assert response.status == 401
        assert reason in await response.text()


async def test_good_tokens_validate_from_anywhere(http: aiohttp.ClientSession) -> None:
    async with http.get("/rtc/v1/validate", headers={"Authorization": f"Bearer {token('r', 'x')}"}) as response:
        assert (response.status, await response.text()) == (200, "success")
        assert response.headers["Access-Control-Allow-Origin"] == "*"


def wrapped(content: bytes, compression: int = lr.WrappedJoinRequest.NONE) -> str:
    message = lr.WrappedJoinRequest(
        compression=lr.WrappedJoinRequest.Compression.Name(compression), join_request=content
    )
    return base64.urlsafe_b64encode(message.SerializeToString()).decode()


@pytest.mark.parametrize(
    ("request_text", "named"),
    [
        ("", "missing"),
        ("!!!", "base64url"),
        (wrapped(b"\xff\xff\xff"), "WrappedJoinRequest"),
        (wrapped(b"no gzip", lr.WrappedJoinRequest.GZIP), "gzip"),
        (wrapped(gzip.compress(bytes(2_000_000)), lr.WrappedJoinRequest.GZIP), "longer"),
    ],
)
async def test_malformed_join_requests_are_400(http: aiohttp.ClientSession, request_text: str, named: str) -> None:
    query = {"access_token": token("r", "x"), "join_request": request_text}
    async with http.get("/rtc/v1", params=query) as response:
        assert response.status == 400
        assert named in await response.text()


async def test_malformed_messages_are_answered_and_the_connection_lives(http: aiohttp.ClientSession) -> None:
    query = {"access_token": token("malformed", "x"), "protocol": "16"}
    async with http.ws_connect("/rtc", params=query) as socket:
        first = lr.SignalResponse.FromString(await socket.receive_bytes())
        assert first.join.participant.identity == "x"
        assert first.join.subscriber_primary
        await socket.send_bytes(b"\xff\xff\xff\xff")
        bad_candidate = lr.TrickleRequest(candidateInit="{not json")
        await socket.send_bytes(lr.SignalRequest(trickle=bad_candidate).SerializeToString())
        await socket.send_bytes(
            lr.SignalRequest(offer=lr.SessionDescription(sdp="x", type="offer")).SerializeToString()
        )
        await socket.send_bytes(lr.SignalRequest(ping_req=lr.Ping(timestamp=7)).SerializeToString())
        refused = 0
        while (message := lr.SignalResponse.FromString(await socket.receive_bytes())).WhichOneof(
            "message"
        ) != "pong_resp":
            refused += message.HasField("request_response")
        assert message.pong_resp.last_ping_timestamp == 7
        assert refused >= 2


async def test_text_frames_are_protojson_both_ways(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/rtc", params={"access_token": token("text", "x"), "protocol": "16"}) as socket:
        await socket.receive_bytes()
        await socket.send_str('{"pingReq": {"timestamp": "7"}}')
        while True:
            message = await socket.receive(timeout=5)
            if message.type is aiohttp.WSMsgType.TEXT and "pongResp" in message.json():
                break
        assert message.json()["pongResp"]["lastPingTimestamp"] == "7"


async def test_resuming_an_unknown_session_says_join_anew(http: aiohttp.ClientSession) -> None:
    query = {"access_token": token("r", "x"), "reconnect": "1", "sid": "PA_unknown"}
    async with http.ws_connect("/rtc", params=query) as socket:
        message = lr.SignalResponse.FromString(await socket.receive_bytes())
        assert message.leave.action == lr.LeaveRequest.RECONNECT


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/whip/r", {}, 401),
        ("POST", "/whip/r", {"Authorization": "Bearer x"}, 401),
        ("POST", "/whip/other", {"token": "r", "Content-Type": "application/sdp"}, 403),
        ("POST", "/whip/r", {"token": "r", "Content-Type": "text/plain"}, 415),
        ("POST", "/whip/r", {"token": "r", "Content-Type": "application/sdp"}, 400),
        ("POST", "/whep/r", {"token": "r", "Content-Type": "application/sdp"}, 400),
        ("GET", "/whip/r", {}, 405),
        ("PUT", "/whep/r/x", {}, 405),
        ("OPTIONS", "/whip/r", {}, 204),
        ("DELETE", "/whip/r/unknown", {"token": "r"}, 404),
        ("PATCH", "/whep/r/unknown", {"token": "r"}, 404),
    ],
)
async def test_whip_and_whep_statuses(
    http: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    headers = dict(headers)
    room = headers.pop("token", None)
    if room is not None:
        headers["Authorization"] = f"Bearer {token(room, 'x')}"
    async with http.request(method, path, data="no sdp", headers=headers) as response:
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert ("WWW-Authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/api/config"])
async def test_operators_pages_answer(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/../config.py", "/%2e%2e/config.py", "/assets/../../app.py", "/none"])
async def test_files_outside_the_client_are_not_served(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"room": "r"}', 200),
        ("{", 400),
        pytest.param("[" * 100_000, 400, id="deep"),
        ("[]", 400),
        ('{"room": ""}', 400),
    ],
)
async def test_development_tokens(http: aiohttp.ClientSession, body: str, status: int) -> None:
    async with http.post("/api/token", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == status
        assert ("token" if status == 200 else "error") in await response.json()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /rtc?access_token=" + b"s3cret" * 2_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /rtc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"s3cret" * 2_000 + b"\r\n\r\n",
        b"GET /rtc HTTP/1.1\r\nHost : s3cret\r\n\r\n",
        b"s3cret\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfcs3cret\r\n\r\n",
    ],
    ids=["long line", "long header", "space in a name", "a word", "TLS"],
)
async def test_what_is_no_http_is_400_and_leaves_no_traceback(server: Server, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    try:
        writer.write(request_bytes)
        status = await asyncio.wait_for(reader.readline(), 10)
        assert status.split()[1:2] == [b"400"], status
    finally:
        writer.close()
    # It has logged what it does before it answers.
    log = server.log
    assert "Traceback" not in log
    assert "s3cret" not in log
