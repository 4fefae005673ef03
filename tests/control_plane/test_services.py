"""Rooms, statistics, health and reflection over gRPC, and what bad callers are told."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from control_plane.auth import Grants, Token, create_token
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, GrpcBindError, ServerOptions
from pysfu.v1 import models_pb2, rooms_pb2, signaling_pb2, stats_pb2
from tests.control_plane.client import SignalingClient, recorded
from tests.control_plane.conftest import KEY, SECRET, admin_metadata, token
from tests.control_plane.recording import RecordingMedia, rows
from tests.control_plane.test_sessions import publish_camera


def metadata(**grants: Any) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {create_token(KEY, SECRET, Token('me', Grants(**grants)))}"),)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_rooms_are_created_listed_updated_and_ended(rooms: Any, connect: Any) -> None:
    admin = admin_metadata()
    request = rooms_pb2.CreateRoomRequest(name="room", metadata="m", max_participants=2)
    made = await rooms.CreateRoom(request, metadata=admin)
    assert (await rooms.CreateRoom(request, metadata=admin)).id == made.id
    alice = await connect("alice")
    assert alice.joined.room.id == made.id
    listed = await rooms.ListRooms(rooms_pb2.ListRoomsRequest(names=["room", "nowhere"]), metadata=admin)
    assert [(item.name, item.num_participants, item.max_participants) for item in listed.rooms] == [("room", 1, 2)]
    await rooms.UpdateRoom(rooms_pb2.UpdateRoomRequest(room="room", metadata="new"), metadata=admin)
    assert (await alice.until("room_changed")).metadata == "new"
    await rooms.EndRoom(rooms_pb2.EndRoomRequest(room="room"), metadata=admin)
    assert (await alice.until("left")).reason == models_pb2.DISCONNECT_REASON_ROOM_ENDED
    code, reason = await refused(rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), metadata=admin))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "no room 'room'")


async def test_participants_are_listed_updated_and_removed(rooms: Any, connect: Any) -> None:
    admin = admin_metadata("room")
    alice, bob = await connect("alice"), await connect("bob")
    listed = await rooms.ListParticipants(rooms_pb2.ListParticipantsRequest(room="room"), metadata=admin)
    assert [item.identity for item in listed.participants] == ["alice", "bob"]
    update = rooms_pb2.UpdateParticipantRequest(
        room="room", identity="alice", name="A", attributes={"k": "v", "no": ""}
    )
    await rooms.UpdateParticipant(update, metadata=admin)
    seen = await bob.until_participant("alice", lambda item: item.name == "A")
    assert dict(seen.attributes) == {"k": "v"}
    one = await rooms.GetParticipant(rooms_pb2.GetParticipantRequest(room="room", identity="alice"), metadata=admin)
    assert one.version == seen.version
    await rooms.RemoveParticipant(rooms_pb2.RemoveParticipantRequest(room="room", identity="alice"), metadata=admin)
    assert (await alice.until("left")).reason == models_pb2.DISCONNECT_REASON_PARTICIPANT_REMOVED


async def test_revoked_permission_takes_tracks_away(rooms: Any, connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await publish_camera(alice)
    await bob.until_participant("alice", lambda item: item.tracks)
    update = rooms_pb2.UpdateParticipantRequest(
        room="room", identity="alice", permission=models_pb2.Permission(can_subscribe=True)
    )
    await rooms.UpdateParticipant(update, metadata=admin_metadata("room"))
    await alice.until("track_unpublished")
    await bob.until_participant("alice", lambda item: not item.tracks)
    await alice.send(request_id=4, add_track=signaling_pb2.AddTrack(cid="x", kind=models_pb2.MEDIA_KIND_AUDIO))
    failed = await alice.until("request_failed")
    assert (failed.code, failed.message) == (
        signaling_pb2.RequestFailed.CODE_PERMISSION_DENIED,
        "publishing is not allowed",
    )


async def test_subscriptions_and_data_by_an_administrator(rooms: Any, connect: Any, media: RecordingMedia) -> None:
    admin = admin_metadata("room")
    alice, bob = await connect("alice"), await connect("bob", auto_subscribe=False)
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda item: item.tracks)
    await bob.offer("chromium_receive")
    request = rooms_pb2.UpdateSubscriptionsRequest(room="room", identity="bob", track_ids=[track_id], subscribe=True)
    await rooms.UpdateSubscriptions(request, metadata=admin)
    await bob.until("media_sections_required")
    for item in media.named("add_peer"):
        media.emit("connected", item["handle"], "aead_aes_128_gcm")
    message = models_pb2.DataMessage(label="chat", payload=b"x")
    await rooms.SendData(
        rooms_pb2.SendDataRequest(room="room", message=message, destination_identities=["bob"]), metadata=admin
    )
    (sent,) = media.named("send_data")
    assert sent["peers"] == [media.named("add_peer")[1]["handle"]]


async def test_events_are_watched(rooms: Any, connect: Any) -> None:
    kinds = rooms_pb2.RoomEvent
    watch = rooms.WatchEvents(rooms_pb2.WatchEventsRequest(), metadata=admin_metadata())
    await watch.initial_metadata()
    alice = await connect("alice")
    await publish_camera(alice)
    await alice.send(leave=signaling_pb2.Leave())
    wanted = [
        kinds.KIND_ROOM_STARTED,
        kinds.KIND_PARTICIPANT_JOINED,
        kinds.KIND_TRACK_PUBLISHED,
        kinds.KIND_TRACK_UNPUBLISHED,
        kinds.KIND_PARTICIPANT_LEFT,
    ]
    seen: list[Any] = []
    while kinds.KIND_PARTICIPANT_LEFT not in seen:
        event = await asyncio.wait_for(watch.read(), 5)
        assert event.room.name == "room"
        seen.append(event.kind)
    assert [kind for kind in seen if kind != kinds.KIND_PARTICIPANT_UPDATED] == wanted
    watch.cancel()


@pytest.mark.parametrize(
    ("call", "request_", "grants", "code", "reason"),
    [
        ("CreateRoom", rooms_pb2.CreateRoomRequest(name="x"), {}, "PERMISSION_DENIED", "roomCreate"),
        ("CreateRoom", rooms_pb2.CreateRoomRequest(), {"room_create": True}, "INVALID_ARGUMENT", "1 to 256"),
        (
            "CreateRoom",
            rooms_pb2.CreateRoomRequest(name="a\nb"),
            {"room_create": True},
            "INVALID_ARGUMENT",
            "printable",
        ),
        ("ListRooms", rooms_pb2.ListRoomsRequest(), {"room_create": True}, "PERMISSION_DENIED", "roomList"),
        ("UpdateRoom", rooms_pb2.UpdateRoomRequest(room="x"), {"room_list": True}, "PERMISSION_DENIED", "roomAdmin"),
        (
            "ListParticipants",
            rooms_pb2.ListParticipantsRequest(room="x"),
            {"room_admin": True, "room": "y"},
            "PERMISSION_DENIED",
            "administers room 'y'",
        ),
        ("GetParticipant", rooms_pb2.GetParticipantRequest(room="x"), {"room_admin": True}, "NOT_FOUND", "no room 'x'"),
    ],
)
async def test_room_calls_are_refused_with_a_reason(
    rooms: Any, call: str, request_: Any, grants: dict[str, Any], code: str, reason: str
) -> None:
    status, details = await refused(getattr(rooms, call)(request_, metadata=metadata(**grants)))
    assert status is grpc.StatusCode[code]
    assert reason in details


@pytest.mark.parametrize("authorization", [None, "Bearer x.y.z", "Basic x", f"Bearer {'e' * 20_000}"])
async def test_calls_without_a_valid_token_are_unauthenticated(rooms: Any, authorization: str | None) -> None:
    sent = (("authorization", authorization),) if authorization else ()
    code, reason = await refused(rooms.ListRooms(rooms_pb2.ListRoomsRequest(), metadata=sent))
    # gRPC itself refuses metadata that is too large.
    assert code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert reason


@pytest.mark.parametrize(
    ("bearer", "first", "code", "reason"),
    [
        ("x.y.z", {"join": signaling_pb2.Join()}, "UNAUTHENTICATED", "malformed"),
        (None, {"leave": signaling_pb2.Leave()}, "INVALID_ARGUMENT", "first request must be `join`"),
        (None, {}, "INVALID_ARGUMENT", "first request must be `join`"),
        (None, {"join": signaling_pb2.Join(room="other")}, "PERMISSION_DENIED", "not for 'other'"),
        (token(identity=""), {"join": signaling_pb2.Join()}, "PERMISSION_DENIED", "no identity"),
        (token(room=""), {"join": signaling_pb2.Join()}, "INVALID_ARGUMENT", "1 to 256"),
        (None, {"join": signaling_pb2.Join(name="n" * 300)}, "INVALID_ARGUMENT", "name is longer"),
        (None, {"join": signaling_pb2.Join(metadata="n" * 70_000)}, "INVALID_ARGUMENT", "metadata is larger"),
        (
            None,
            {"join": signaling_pb2.Join(offer=signaling_pb2.SessionDescription(sdp="v=0"))},
            "INVALID_ARGUMENT",
            "no media section",
        ),
    ],
)
async def test_joins_are_refused_with_a_status(
    channel: grpc.aio.Channel, plane: Any, bearer: str | None, first: dict[str, Any], code: str, reason: str
) -> None:
    client = SignalingClient(channel, token() if bearer is None else bearer)
    await client.send(**first)
    with pytest.raises(grpc.aio.AioRpcError):
        await client.read()
    assert await client.call.code() is grpc.StatusCode[code]
    assert reason in await client.call.details()
    assert plane.node.num_sessions == 0


async def test_refused_description_is_detailed(channel: grpc.aio.Channel) -> None:
    sdp = recorded("chromium_publish").replace("a=setup:actpass", "a=setup:passive")
    client = SignalingClient(channel, token())
    await client.send(join=signaling_pb2.Join(offer=signaling_pb2.SessionDescription(sdp=sdp)))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await client.read()
    (packed,) = rpc_status.from_call(error.value).details
    details = error_details_pb2.BadRequest()
    assert packed.Unpack(details)
    assert details.field_violations[0].field == "sdp.0.setup"


async def test_a_full_room_and_a_draining_node_refuse(rooms: Any, connect: Any, channel: Any, plane: Any) -> None:
    await rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room", max_participants=1), metadata=admin_metadata())
    await connect("alice")
    for prepare, code in ((lambda: None, "RESOURCE_EXHAUSTED"), (plane.node.drain, "UNAVAILABLE")):
        prepare()
        client = SignalingClient(channel, token(identity="bob"))
        await client.send(join=signaling_pb2.Join())
        with pytest.raises(grpc.aio.AioRpcError):
            await client.read()
        assert await client.call.code() is grpc.StatusCode[code]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, "INVALID_ARGUMENT", "without a message"),
        ({"join": signaling_pb2.Join()}, "INVALID_ARGUMENT", "unexpected request 'join'"),
        ({"offer": signaling_pb2.SessionDescription(sdp="x")}, "INVALID_ARGUMENT", "not of the form"),
        ({"answer": signaling_pb2.SessionDescription(sdp="x")}, "INVALID_ARGUMENT", "client offers"),
        ({"candidate": signaling_pb2.IceCandidate(candidate="nonsense")}, "INVALID_ARGUMENT", "candidate"),
        ({"restart_ice": signaling_pb2.RestartIce()}, "FAILED_PRECONDITION", "nothing is negotiated"),
        ({"add_track": signaling_pb2.AddTrack()}, "INVALID_ARGUMENT", "cid"),
        ({"add_track": signaling_pb2.AddTrack(cid="x")}, "INVALID_ARGUMENT", "kind"),
        ({"unpublish": signaling_pb2.Unpublish(track_id="TR_x")}, "NOT_FOUND", "TR_x"),
        ({"mute": signaling_pb2.Mute(track_id="TR_x")}, "NOT_FOUND", "TR_x"),
        ({"update_track_settings": signaling_pb2.UpdateTrackSettings(track_ids=["TR_x"])}, "NOT_FOUND", "TR_x"),
        ({"send_data": signaling_pb2.SendData()}, "INVALID_ARGUMENT", "label"),
        ({"update_participant": signaling_pb2.UpdateParticipant(name="x")}, "PERMISSION_DENIED", "not allowed"),
        (
            {"update_subscription": signaling_pb2.UpdateSubscription(track_ids=["x"] * 5_000)},
            "INVALID_ARGUMENT",
            "4096",
        ),
    ],
)
async def test_bad_requests_are_answered_and_the_session_lives(
    connect: Any, message: dict[str, Any], code: str, reason: str
) -> None:
    alice = await connect()
    await alice.send(request_id=42, **message)
    failed = await alice.until("request_failed")
    assert alice.seen[-1].request_id == 42
    assert failed.code == signaling_pb2.RequestFailed.Code.Value(f"CODE_{code}")
    assert reason in failed.message
    assert (await alice.offer("chromium_publish")).sdp


async def test_too_many_requests_are_refused(connect: Any) -> None:
    alice = await connect()
    for _ in range(700):
        await alice.send(candidate=signaling_pb2.IceCandidate())
    failed = await alice.until("request_failed")
    assert failed.code == signaling_pb2.RequestFailed.CODE_LIMIT_EXCEEDED


async def test_bytes_that_are_no_message_end_that_call_alone(channel: grpc.aio.Channel, connect: Any) -> None:
    raw: Any = channel.stream_stream("/pysfu.v1.SignalingService/Session")
    call = raw(metadata=(("authorization", f"Bearer {token()}"),))
    await call.write(b"\xff\xff\xff")
    assert await call.code() is not grpc.StatusCode.OK
    assert (await connect("alice")).joined.session_id


class TestResumption:
    @pytest.fixture
    def limits(self) -> NodeLimits:
        return NodeLimits(resume_timeout=0.05, departure_timeout=0.05)

    async def test_sessions_and_empty_rooms_end_in_time(self, connect: Any, plane: ControlPlane, rooms: Any) -> None:
        watch = rooms.WatchEvents(rooms_pb2.WatchEventsRequest(), metadata=admin_metadata())
        await watch.initial_metadata()
        alice = await connect("alice")
        alice.call.cancel()
        kinds = []
        while rooms_pb2.RoomEvent.KIND_ROOM_ENDED not in kinds:
            kinds.append((await asyncio.wait_for(watch.read(), 5)).kind)
        assert rooms_pb2.RoomEvent.KIND_PARTICIPANT_LEFT in kinds
        assert (plane.node.num_sessions, plane.node.num_rooms) == (0, 0)
        watch.cancel()


class TestResumed:
    @pytest.fixture
    def limits(self) -> NodeLimits:
        return NodeLimits(resume_timeout=0.5, departure_timeout=0.05)

    async def test_what_was_resumed_in_time_goes_on(self, connect: Any, plane: ControlPlane) -> None:
        alice = await connect("alice")
        alice.call.cancel()
        await asyncio.sleep(0.2)
        again = await connect("alice", resume_session_id=alice.joined.session_id)
        assert again.joined.resumed
        await asyncio.sleep(0.6)
        assert (plane.node.num_sessions, again.call.done()) == (1, False)


async def test_statistics_name_what_they_are_of(stats: Any, rooms: Any, connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda item: item.tracks)
    await bob.offer("chromium_receive")
    await bob.until("track_subscribed")
    track, peer = media.named("publish")[0]["handle"], media.named("add_peer")[1]["handle"]
    media.statistics.layers = rows(
        "layers",
        {"track": track, "layer": 1, "active": 1, "packets": 5, "packets_recovered": 3, "packets_recovered_fec": 2},
        {"track": 99},
    )
    subscription_row = {"track": track, "peer": peer, "layer": 1, "bytes": 9, "spatial": 1, "temporal": 2}
    subscription_row |= {"fec_bytes": 6, "fec_share": 0.25, "rtx_share": 0.5}
    subscription_row |= {"target_spatial": 2, "target_temporal": -1, "freezes": 3, "freeze_ms": 1_500.0, "rtx_bytes": 4}
    media.statistics.subscriptions = rows("subscriptions", subscription_row | {"pause_reason": 2})
    path = {"peer": peer, "feedback": 1, "limited_by": 3, "estimate_bps": 1e6, "desired_bps": 2e6, "fec_bytes": 7}
    media.statistics.downlinks = rows("downlinks", path, {"peer": 99})
    found = await stats.GetRoomStats(stats_pb2.GetRoomStatsRequest(room="room"), metadata=admin_metadata("room"))
    ((layer,),) = [item.layers for item in found.tracks]
    assert (found.tracks[0].track_id, layer.rid, layer.packets, layer.active) == (track_id, "h", 5, True)
    assert (layer.packets_recovered, layer.packets_recovered_fec) == (3, 2)
    (subscription,) = found.subscriptions
    assert subscription.subscriber_id == bob.joined.participant.id
    assert (subscription.spatial, subscription.target_spatial, subscription.target_temporal) == (1, 2, -1)
    assert (subscription.freezes, subscription.freeze_seconds, subscription.rtx_bytes) == (3, 1.5, 4)
    assert (subscription.fec_bytes, subscription.fec_share, subscription.rtx_share) == (6, 0.25, 0.5)
    assert subscription.pause_reason == stats_pb2.SubscriptionStats.PAUSE_REASON_BANDWIDTH
    (downlink,) = found.downlinks
    assert downlink.participant_id == bob.joined.participant.id
    assert downlink.feedback == stats_pb2.DownlinkStats.FEEDBACK_TRANSPORT_WIDE
    assert downlink.limited_by == stats_pb2.DownlinkStats.LIMIT_LOSS
    assert (downlink.estimate_bps, downlink.desired_bps, downlink.fec_bytes) == (1e6, 2e6, 7)
    node = await stats.GetNodeStats(stats_pb2.GetNodeStatsRequest(), metadata=admin_metadata())
    assert (node.rooms, node.participants, node.workers[0].counters["bytes_in"]) == (1, 2, 1_000)
    watch = stats.WatchNodeStats(stats_pb2.WatchNodeStatsRequest(interval_ms=100), metadata=admin_metadata())
    assert [(await watch.read()).participants for _ in range(2)] == [2, 2]
    watch.cancel()
    short = stats.WatchRoomStats(
        stats_pb2.WatchRoomStatsRequest(room="room", interval_ms=5), metadata=admin_metadata("room")
    )
    assert await short.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_connection_quality_is_told_when_it_changes(
    connect: Any, media: RecordingMedia, plane: ControlPlane
) -> None:
    from control_plane.monitor import Monitor

    alice = await connect("alice")
    await alice.offer("chromium_publish")
    peer = media.named("add_peer")[0]["handle"]
    media.emit("connected", peer, "aead_aes_128_gcm")
    monitor = Monitor(plane.node, media.snapshot)
    qualities = signaling_pb2.ConnectionQualities
    for loss, expected in ((0.0, qualities.QUALITY_EXCELLENT), (0.0, None), (0.5, qualities.QUALITY_POOR)):
        media.statistics.peers = rows("peers", {"peer": peer, "rtt_ms": 10})
        media.statistics.subscriptions = rows(
            "subscriptions", {"peer": peer, "layer": 0, "fraction_lost": loss, "bitrate_bps": 1}
        )
        monitor.update(media.statistics)
        if expected is not None:
            (update,) = (await alice.until("connection_qualities")).updates
            assert (update.participant_id, update.quality) == (alice.joined.participant.id, expected)


async def test_connection_quality_follows_what_is_delivered(
    connect: Any, media: RecordingMedia, plane: ControlPlane
) -> None:
    from control_plane.monitor import Monitor

    alice = await connect("alice")
    await alice.offer("chromium_publish")
    peer = media.named("add_peer")[0]["handle"]
    media.emit("connected", peer, "aead_aes_128_gcm")
    monitor = Monitor(plane.node, media.snapshot)
    names = signaling_pb2.ConnectionQualities.Quality.Name

    def round_of(estimate: float = 3e6, freeze_ms: float = 0.0, paused: int = 0) -> None:
        path = {"peer": peer, "feedback": 1, "estimate_bps": estimate, "desired_bps": 3e6}
        video = {"subscription": 7, "peer": peer, "is_video": 1, "layer": 0, "freeze_ms": freeze_ms}
        # A receiver report counts what the publisher lost as well; the path itself loses nothing.
        video |= {"fraction_lost": 0.5, "bitrate_bps": 1e6, "pause_reason": 2 * paused}
        media.statistics.peers = rows("peers", {"peer": peer, "rtt_ms": 10})
        media.statistics.downlinks = rows("downlinks", path)
        media.statistics.subscriptions = rows("subscriptions", video)
        monitor.update(media.statistics)

    async def told() -> str:
        (update,) = (await alice.until("connection_qualities")).updates
        return names(update.quality)

    round_of()
    assert await told() == "QUALITY_EXCELLENT"
    round_of(estimate=0.4e6)
    assert await told() == "QUALITY_POOR"
    round_of()
    round_of()
    # The score is told at once, the quality when the path has been good for two rounds.
    assert [await told(), await told()] == ["QUALITY_POOR", "QUALITY_EXCELLENT"]
    round_of(freeze_ms=400.0)
    assert await told() == "QUALITY_POOR"
    round_of(freeze_ms=400.0)
    round_of(freeze_ms=400.0)
    assert [await told(), await told()] == ["QUALITY_POOR", "QUALITY_EXCELLENT"]
    round_of(paused=1, freeze_ms=400.0)
    assert await told() == "QUALITY_POOR"


async def test_health_and_reflection(channel: grpc.aio.Channel, plane: ControlPlane) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="pysfu.v1.SignalingService")
    assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = reflection.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {item.name for item in (await call.read()).list_services_response.service}
    assert {"pysfu.v1.RoomService", "pysfu.v1.SignalingService", "pysfu.v1.StatsService"} <= names
    call.cancel()
    await plane.drain(0.01)
    assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_drain_waits_for_the_last_to_leave(connect: Any, plane: ControlPlane) -> None:
    alice = await connect("alice")
    draining = asyncio.ensure_future(plane.drain(5))
    await alice.send(leave=signaling_pb2.Leave())
    await asyncio.wait_for(draining, 2)
    await plane.stop()


async def test_an_address_in_use_is_named(plane: ControlPlane) -> None:
    address = f"127.0.0.1:{plane.port}"
    with pytest.raises(GrpcBindError, match=address):
        await ControlPlane(RecordingMedia(), ServerOptions({}, address)).start()
