"""An external signaling tier drives aiortc peers with nothing but the gRPC protos."""

import asyncio

import grpc
import pytest

from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc, signaling_pb2, stats_pb2, stats_pb2_grpc
from tests.e2e.harness.media import MovingPicture, Tone, loudest, picture
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, admin_token, token
from tests.e2e.harness.signaling import Peer, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_peers_publish_subscribe_and_exchange_data(server: Server, room: str) -> None:
    async with (
        Session(server.grpc_address, token(room, "one"), auto_subscribe=True) as first,
        Session(server.grpc_address, token(room, "two"), auto_subscribe=True) as second,
    ):
        one, two = Peer(first), Peer(second)
        channels = [peer.connection.createDataChannel("chat") for peer in (one, two)]
        inbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        channels[1].on("message", inbox.put_nowait)

        async def states() -> list[str]:
            return [channel.readyState for channel in channels]

        joined = await first.wait("joined")
        assert joined.participant.identity == "one"

        video = await one.publish(MovingPicture(), models_pb2.TRACK_SOURCE_CAMERA)
        audio = await one.publish(Tone(), models_pb2.TRACK_SOURCE_MICROPHONE)
        await one.negotiate()
        await two.negotiate()

        frame = await picture(await two.media(video))
        assert (frame.width, frame.height) == (320, 240)
        assert await loudest(await two.media(audio)) > 0.1

        await until(states, lambda found: set(found) == {"open"}, 10, "open data channels")
        channels[0].send("hello")
        assert await asyncio.wait_for(inbox.get(), 5) == "hello"

        operator = [("authorization", f"Bearer {admin_token(room)}")]
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            rooms = rooms_pb2_grpc.RoomServiceStub(channel)
            listed = await rooms.ListParticipants(rooms_pb2.ListParticipantsRequest(room=room), metadata=operator)
            assert {p.identity: len(p.tracks) for p in listed.participants} == {"one": 2, "two": 0}
            stats = stats_pb2_grpc.StatsServiceStub(channel)

            async def packets() -> list[int]:
                seen = await stats.GetRoomStats(stats_pb2.GetRoomStatsRequest(room=room), metadata=operator)
                return [subscription.packets for subscription in seen.subscriptions]

            await until(packets, lambda counts: len(counts) == 2 and all(counts), 10, "statistics of both tracks")
        await one.close()
        await two.close()


async def test_session_resumes_after_its_stream_broke(server: Server, room: str) -> None:
    async with Session(server.grpc_address, token(room, "one")) as first:
        joined = await first.wait("joined")
        peer = Peer(first)
        track = await peer.publish(Tone(), models_pb2.TRACK_SOURCE_MICROPHONE)
        await peer.negotiate()
        await first.wait("transport_changed")
    again = Session(server.grpc_address, token(room, "one"), resume_session_id=joined.session_id)
    async with again:
        resumed = await again.wait("joined")
        assert resumed.resumed
        assert resumed.participant.id == joined.participant.id
        assert [t.id for t in resumed.participant.tracks] == [track]
        await again.send(leave=signaling_pb2.Leave())
        left = await again.wait("left")
        assert left.reason == models_pb2.DISCONNECT_REASON_CLIENT_INITIATED
    await peer.close()


@pytest.mark.parametrize(
    ("bearer", "status"),
    [("", "UNAUTHENTICATED"), ("nonsense", "UNAUTHENTICATED"), ("other-room", "PERMISSION_DENIED")],
)
async def test_join_is_refused_with_a_status(server: Server, room: str, bearer: str, status: str) -> None:
    bearer = token("another room", "one") if bearer == "other-room" else bearer
    async with Session(server.grpc_address, bearer, room=room) as session:
        await session.ended()
        assert session.status is not None
        assert session.status.name == status
        assert session.details


async def test_full_room_is_resource_exhausted(server: Server, room: str) -> None:
    await server.make_room(room, max_participants=1)
    async with Session(server.grpc_address, token(room, "one")) as first:
        await first.wait("joined")
        async with Session(server.grpc_address, token(room, "two")) as second:
            await second.ended()
            assert second.status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert room in (second.details or "") or "full" in (second.details or "")


@pytest.mark.parametrize(
    ("sdp", "named"),
    [
        ("", "session description"),
        ("garbage", ""),
        ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 300\r\n", ""),
        ("v=0\r\n" + "a=x\r\n" * 100_000, "long"),
    ],
    ids=["empty", "garbage", "payload type 300", "too long"],
)
async def test_malformed_offer_is_refused_and_the_session_lives_on(
    server: Server, room: str, sdp: str, named: str
) -> None:
    async with Session(server.grpc_address, token(room, "one")) as session:
        await session.wait("joined")
        request = await session.send(offer=signaling_pb2.SessionDescription(sdp=sdp, id=1))
        failed = await session.wait("request_failed")
        assert failed.code == signaling_pb2.RequestFailed.CODE_INVALID_ARGUMENT
        assert failed.message
        assert named.lower() in failed.message.lower() or not named
        assert any(r.request_id == request for r in session.responses)
        peer = Peer(session)
        await peer.publish(Tone(), models_pb2.TRACK_SOURCE_MICROPHONE)
        await peer.connection.setLocalDescription(await peer.connection.createOffer())
        good = signaling_pb2.SessionDescription(sdp=peer.connection.localDescription.sdp, id=2)
        await session.send(offer=good)
        assert (await session.wait("answer")).id == 2
        await peer.close()
