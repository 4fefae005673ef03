"""Fresh tokens for clients that are connected."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import aiohttp
import grpc
import pytest
import pytest_asyncio
from livekit.protocol import rtc as lr

from control_plane.auth import Grants, Token, Verifier, create_token
from control_plane.gateway.livekit import renewal
from control_plane.gateway.livekit.renewal import Renewal, renewed
from control_plane.rooms import permission_of
from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc
from tests.e2e.harness.server import KEY, SECRET, Server, admin_token, token

EVERYTHING = Token(
    "alice",
    Grants(
        room="r",
        room_join=True,
        room_create=True,
        can_publish=True,
        can_publish_sources=("camera", "screen_share_audio"),
        can_update_own_metadata=True,
        agent=True,
    ),
    name="Alice",
    metadata="m",
    attributes={"a": "b"},
    kind="agent",
    key=KEY,
)
LITTLE = Token("bob", Grants(room="r", room_join=True, can_publish=False, hidden=True, recorder=True), key=KEY)


def participant(of: Token) -> models_pb2.Participant:
    return models_pb2.Participant(
        id="PA_1", name=of.name, metadata=of.metadata, attributes=of.attributes, permission=permission_of(of)
    )


@pytest.mark.parametrize("own", [EVERYTHING, LITTLE])
def test_grants_are_kept(own: Token) -> None:
    message = Renewal(Verifier({KEY: SECRET}), own, participant(own)).message()
    read = Verifier({KEY: SECRET}).verify(message.refresh_token)
    assert replace(read, expires_at=0.0) == own
    assert read.expires_at == pytest.approx(time.time() + 600, abs=5)


def test_what_changed_since_is_told() -> None:
    now = participant(EVERYTHING)
    now.permission.can_publish = False
    now.permission.can_publish_sources[:] = []
    now.permission.can_update_metadata = False
    now.metadata = "other"
    held = renewed(EVERYTHING, now)
    assert permission_of(held) == now.permission
    assert (held.metadata, held.grants.room_create, held.grants.agent) == ("other", True, True)
    assert permission_of(renewed(held, participant(EVERYTHING))) == permission_of(EVERYTHING)


def test_a_change_of_ones_own_is_news_once() -> None:
    before = participant(EVERYTHING)
    held = Renewal(Verifier({KEY: SECRET}), EVERYTHING, before)
    other, muted, renamed = (models_pb2.Participant() for _ in range(3))
    for one in (other, muted, renamed):
        one.CopyFrom(before)
    other.id, other.name = "PA_2", "Bob"
    muted.version, muted.state = 7, models_pb2.Participant.STATE_ACTIVE
    renamed.name = "Alicia"
    assert [held.take([one]) for one in (other, muted, renamed, renamed)] == [False, False, True, False]


def test_a_token_fits_into_a_request_line() -> None:
    now = participant(EVERYTHING)
    now.metadata = "m" * 60_000
    text = Renewal(Verifier({KEY: SECRET}), EVERYTHING, now).message().refresh_token
    assert len(text) <= renewal.MAX_LENGTH
    assert Verifier({KEY: SECRET}).verify(text).metadata == "m"


async def test_tokens_come_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "INTERVAL", 0.01)
    sent: list[lr.SignalResponse] = []

    async def send(message: lr.SignalResponse) -> None:
        sent.append(message)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Renewal(Verifier({KEY: SECRET}), LITTLE, participant(LITTLE)).run(send), 0.5)
    assert len(sent) > 3
    assert all(message.refresh_token for message in sent)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(workers=1) as running:
        yield running


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str) -> lr.SignalResponse:
    async with asyncio.timeout(10):
        while True:
            message = lr.SignalResponse.FromString(await socket.receive_bytes())
            if message.WhichOneof("message") == kind:
                return message


async def test_a_client_comes_back_with_the_fresh_token_and_not_with_an_expired_one(server: Server) -> None:
    verifier = Verifier({KEY: SECRET})
    # Within the leeway: it joins now, and does not in half a minute.
    short = token("r", "alice", ttl=timedelta(seconds=-30), can_publish_data=False)
    query = {"access_token": short, "protocol": "16"}
    async with aiohttp.ClientSession(server.url) as http:
        async with http.ws_connect("/rtc", params=query) as socket:
            sid = (await until(socket, "join")).join.participant.sid
            fresh = (await until(socket, "refresh_token")).refresh_token
            assert verifier.verify(fresh).grants.can_publish_data is False
            admin = (("authorization", f"Bearer {admin_token('r')}"),)
            async with grpc.aio.insecure_channel(server.grpc_address) as channel:
                rooms = rooms_pb2_grpc.RoomServiceStub(channel)
                change = rooms_pb2.UpdateParticipantRequest(
                    room="r", identity="alice", permission=models_pb2.Permission(can_subscribe=True)
                )
                await rooms.UpdateParticipant(change, metadata=admin)
            fresh = (await until(socket, "refresh_token")).refresh_token
            assert verifier.verify(fresh).grants.can_publish is False
        back = {"reconnect": "1", "sid": sid, "protocol": "16"}
        expired = create_token(KEY, SECRET, Token("alice", Grants(room="r", room_join=True)), ttl=-120)
        async with http.get("/rtc", params=back | {"access_token": expired}) as response:
            assert (response.status, await response.text()) == (401, "the token has expired")
        async with http.ws_connect("/rtc", params=back | {"access_token": fresh}) as socket:
            first = lr.SignalResponse.FromString(await socket.receive_bytes())
            assert first.WhichOneof("message") == "reconnect"
            again = (await until(socket, "refresh_token")).refresh_token
            assert verifier.verify(again).grants.can_publish is False
