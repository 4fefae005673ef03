"""Signaling sessions over gRPC, in a real server in this process."""

from typing import Any

import grpc
import pytest

from control_plane.negotiation.parse import parse
from pysfu.v1 import models_pb2, rooms_pb2, signaling_pb2
from tests.control_plane.client import recorded
from tests.control_plane.conftest import admin_metadata, token
from tests.control_plane.recording import RecordingMedia

MICROPHONE: dict[str, Any] = {"kind": models_pb2.MEDIA_KIND_AUDIO, "source": models_pb2.TRACK_SOURCE_MICROPHONE}
CAMERA: dict[str, Any] = {"kind": models_pb2.MEDIA_KIND_VIDEO, "source": models_pb2.TRACK_SOURCE_CAMERA}
LAYERS = [
    models_pb2.VideoLayer(spatial=index, width=320 << index, height=180 << index, rid=rid)
    for index, rid in enumerate("qhf")
]


def msid(name: str, kind: str) -> str:
    """The msid track id of a recorded offer's first section of a kind."""
    return next(section.media.msid_track for section in parse(recorded(name)).sections if section.kind == kind)


async def publish_camera(client: Any, recording: str = "chromium_simulcast", **options: Any) -> str:
    """Publishes the recording's camera, returns the track id."""
    track = signaling_pb2.AddTrack(cid=msid(recording, "video"), layers=LAYERS, **CAMERA, **options)
    await client.send(add_track=track)
    published = await client.until("track_published")
    await client.offer(recording)
    return str(published.track.id)


async def test_join_tells_room_participant_and_others(connect: Any) -> None:
    alice = await connect("alice", name="Alice")
    bob = await connect("bob")
    assert alice.joined.room.id.startswith("RM_")
    assert alice.joined.participant.name == "Alice"
    assert list(alice.joined.others) == []
    assert [other.identity for other in bob.joined.others] == ["alice"]
    joined = await alice.until_participant("bob")
    assert joined.state == models_pb2.Participant.STATE_JOINED


async def test_others_are_told_of_a_track_before_its_media(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await bob.offer("chromium_receive")
    assert media.named("subscribe") == []
    track_id = await publish_camera(alice)
    seen = await bob.until_participant("alice", lambda participant: participant.tracks)
    (track,) = seen.tracks
    assert (track.id, track.mime_type, track.simulcast) == (track_id, "video/VP8", True)
    assert [layer.rid for layer in track.layers] == ["q", "h", "f"]
    assert media.named("subscribe") == []
    await bob.until("media_sections_required")
    answer = await bob.offer("chromium_receive")
    subscribed = await bob.until("track_subscribed")
    assert subscribed.track_id == track_id
    assert answer.mid_to_track_id == {subscribed.mid: track_id}
    (core,) = media.named("subscribe")
    assert core["mid"] == subscribed.mid
    # VP8 of both Chromium recordings is 96 with 97 for retransmission.
    assert core["payloads"][0] == (96, 96, 97)


async def test_published_track_reaches_the_core_as_negotiated(connect: Any, media: RecordingMedia) -> None:
    alice = await connect()
    await publish_camera(alice)
    (publish,) = media.named("publish")
    assert (publish["kind"], publish["mid"], tuple(publish["rids"])) == ("video", "1", ("q", "h", "f"))
    assert publish["codecs"][0] == (96, 97, "vp8", 90_000, True, True)
    assert publish["ssrcs"] == []
    (remote,) = media.named("set_remote")
    assert len(remote["fingerprints"][0]) == 32
    (extensions,) = media.named("set_extensions")
    assert extensions["ids"]["rid"] == 10
    assert media.named("set_feedback") == [{"peer": publish["peer"], "transport_cc": True, "remb": False}]


async def test_track_added_after_the_offer_takes_its_section(connect: Any, media: RecordingMedia) -> None:
    alice = await connect()
    await alice.offer("chromium_simulcast")
    assert media.named("publish") == []
    await alice.send(add_track=signaling_pb2.AddTrack(cid="0", **MICROPHONE))
    await alice.until("track_published")
    seen = await alice.until_participant("alice", lambda participant: participant.tracks)
    assert seen.tracks[0].mime_type == "audio/opus"
    assert media.named("publish")[0]["mid"] == "0"


async def test_firefox_tracks_go_by_kind_as_its_msid_differs(connect: Any, media: RecordingMedia) -> None:
    alice = await connect()
    for cid, track in (("{screen}", CAMERA), ("{mic}", MICROPHONE)):
        await alice.send(add_track=signaling_pb2.AddTrack(cid=cid, **track))
    ids = {(await alice.until("track_published")).track.kind: alice.seen[-1].track_published.track.id for _ in range(2)}
    answer = await alice.offer("firefox_publish")
    assert answer.mid_to_track_id == {"0": ids[MICROPHONE["kind"]], "1": ids[CAMERA["kind"]]}
    assert [item["kind"] for item in media.named("publish")] == ["audio", "video"]


async def test_join_with_offer_and_tracks_saves_round_trips(connect: Any) -> None:
    offer = signaling_pb2.SessionDescription(sdp=recorded("chromium_simulcast"), id=3)
    track = signaling_pb2.AddTrack(cid=msid("chromium_simulcast", "video"), **CAMERA)
    alice = await connect(offer=offer, add_tracks=[track])
    published = await alice.until("track_published")
    answer = await alice.until("answer")
    assert answer.id == 3
    assert answer.mid_to_track_id == {"1": published.track.id}


async def test_automatic_publish_needs_no_add_track(connect: Any, media: RecordingMedia) -> None:
    offer = signaling_pb2.SessionDescription(sdp=recorded("aiortc_sendonly"))
    alice = await connect(offer=offer, auto_publish=True)
    tracks = [(await alice.until("track_published")).track for _ in range(2)]
    assert [track.source for track in tracks] == [MICROPHONE["source"], CAMERA["source"]]
    assert [len(item["ssrcs"]) for item in media.named("publish")] == [1, 1]


async def test_sections_that_are_missing_are_asked_for(connect: Any) -> None:
    bob = await connect("bob")
    await bob.offer("livekit_js_v0")
    alice = await connect("alice")
    await publish_camera(alice)
    required = await bob.until("media_sections_required")
    assert (required.audio, required.video) == (0, 1)


async def test_unsubscribed_section_goes_inactive_and_carries_another_track_after(
    connect: Any, media: RecordingMedia
) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await bob.offer("chromium_receive")
    mid = (await bob.until("track_subscribed")).mid
    await bob.send(update_subscription=signaling_pb2.UpdateSubscription(track_ids=[track_id], subscribe=False))
    required = await bob.until("media_sections_required")
    assert (required.audio, required.video) == (0, 0)
    assert len(media.named("unsubscribe")) == 1
    answer = await bob.offer("chromium_receive")
    assert f"a=mid:{mid}\r\na=inactive" in answer.sdp
    first_ssrc = media.named("subscribe")[0]["ssrc"]
    await bob.send(update_subscription=signaling_pb2.UpdateSubscription(track_ids=[track_id], subscribe=True))
    await bob.until("media_sections_required")
    answer = await bob.offer("chromium_receive")
    assert answer.mid_to_track_id == {mid: track_id}
    assert media.named("subscribe")[1]["ssrc"] != first_ssrc


async def test_reserved_sections_are_answered_at_once_and_bound_later(connect: Any, media: RecordingMedia) -> None:
    offer = signaling_pb2.SessionDescription(sdp=recorded("aiortc_recvonly"))
    viewer = await connect("viewer", offer=offer, reserve_sections=True)
    answer = await viewer.until("answer")
    assert answer.sdp.count("a=sendonly") == 2
    alice = await connect("alice")
    await publish_camera(alice)
    subscribed = await viewer.until("track_subscribed")
    assert subscribed.mid == "1"
    (core,) = media.named("subscribe")
    assert f"a=ssrc:{core['ssrc']} cname" in answer.sdp
    assert core["payloads"][0] == (96, 97, 98)


async def test_split_layout_offers_and_reuses_sections(connect: Any, media: RecordingMedia) -> None:
    bob = await connect("bob", layout=signaling_pb2.Join.LAYOUT_SPLIT, data_channels=["_reliable", "_lossy"])
    first = await bob.until("offer")
    assert parse(as_answer(first.sdp)).bundle == ("data",)
    alice = await connect("alice")
    track_id = await publish_camera(alice)
    await bob.send(answer=signaling_pb2.SessionDescription(sdp=as_answer(first.sdp), id=first.id))
    second = await bob.until("offer")
    assert second.mid_to_track_id == {"v0": track_id}
    assert media.named("subscribe") == []
    await bob.send(answer=signaling_pb2.SessionDescription(sdp=as_answer(second.sdp), id=second.id))
    subscribed = await bob.until("track_subscribed")
    assert (subscribed.mid, subscribed.transport) == ("v0", signaling_pb2.TRANSPORT_SUBSCRIBER)
    assert media.named("subscribe")[0]["payloads"][0] == (96, 96, 97)
    await alice.send(unpublish=signaling_pb2.Unpublish(track_id=track_id))
    third = await bob.until("offer")
    assert "a=mid:v0\r\na=inactive" in third.sdp
    # The section is free again only once the client has seen it inactive.
    await bob.send(answer=signaling_pb2.SessionDescription(sdp=as_answer(third.sdp), id=third.id))
    other = await publish_camera(await connect("carol"))
    fourth = await bob.until("offer")
    assert fourth.mid_to_track_id == {"v0": other}


def as_answer(offer: str) -> str:
    """What a client that takes everything would answer."""
    return (
        offer.replace("a=setup:actpass", "a=setup:active")
        .replace("a=sendonly", "a=recvonly")
        .replace("\r\na=ice-lite", "")
    )


async def test_split_layout_opens_data_channels_when_connected(connect: Any, media: RecordingMedia) -> None:
    bob = await connect("bob", layout=signaling_pb2.Join.LAYOUT_SPLIT, data_channels=["_reliable", "_lossy"])
    await bob.until("offer")
    peer = media.named("add_peer")[0]["handle"]
    media.emit("connected", peer, "aead_aes_128_gcm")
    await bob.until("transport_changed")
    opened = [(item["label"], item["ordered"], item["max_retransmits"]) for item in media.named("open_data_channel")]
    assert opened == [("_reliable", True, None), ("_lossy", False, 0)]


async def test_mute_is_told_and_only_the_server_drops(connect: Any, media: RecordingMedia, rooms: Any) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await alice.send(mute=signaling_pb2.Mute(track_id=track_id, muted=True))
    await bob.until_participant("alice", lambda participant: participant.tracks and participant.tracks[0].muted)
    assert media.named("set_muted") == []
    await alice.send(mute=signaling_pb2.Mute(track_id=track_id, muted=False))
    await bob.until_participant("alice", lambda participant: not participant.tracks[0].muted)
    request = rooms_pb2.MuteTrackRequest(room="room", identity="alice", track_id=track_id, muted=True)
    await rooms.MuteTrack(request, metadata=admin_metadata("room"))
    assert (await alice.until("mute_changed")).muted
    assert [item["muted"] for item in media.named("set_muted")] == [True]


async def test_same_identity_replaces_the_first(connect: Any) -> None:
    first, watcher = await connect("twin"), await connect("watcher")
    second = await connect("twin")
    left = await first.until("left")
    assert left.reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY
    gone = await watcher.until_participant("twin", lambda item: item.id == first.joined.participant.id)
    assert gone.state == models_pb2.Participant.STATE_DISCONNECTED
    assert second.joined.participant.id != first.joined.participant.id


async def test_lost_stream_is_resumed_with_media_untouched(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    alice.call.cancel()
    again = await connect("alice", resume_session_id=alice.joined.session_id)
    assert again.joined.resumed
    assert again.joined.participant.id == alice.joined.participant.id
    assert [track.id for track in again.joined.participant.tracks] == [track_id]
    assert [other.identity for other in again.joined.others] == ["bob"]
    assert media.named("unpublish") == []
    assert media.named("remove_peer") == []


@pytest.mark.parametrize("session_id", ["SE_unknown", None], ids=["unknown", "of somebody else"])
async def test_resuming_what_is_not_yours_is_a_state_mismatch(connect: Any, session_id: str | None) -> None:
    alice = await connect("alice")
    thief = await connect("thief", resume_session_id=session_id or alice.joined.session_id)
    assert thief.seen[0].left.reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH
    assert thief.seen[0].left.can_rejoin


async def test_changed_ice_credentials_restart_ice(connect: Any, media: RecordingMedia) -> None:
    alice = await connect()
    before = parse_ice((await alice.offer("chromium_simulcast")).sdp)
    same = parse_ice((await alice.offer("chromium_simulcast")).sdp)
    assert same == before
    restarted = recorded("chromium_simulcast").replace("a=ice-ufrag:", "a=ice-ufrag:new")
    after = parse_ice((await alice.offer(restarted)).sdp)
    assert after != before
    (restart,) = media.named("restart_ice")
    assert restart["ice_ufrag"] == after[0]
    assert restart["remote_ufrag"].startswith("new")


def parse_ice(sdp: str) -> tuple[str, str]:
    lines = sdp.split("\r\n")
    first = {name: next(line for line in lines if line.startswith(f"a={name}:")) for name in ("ice-ufrag", "ice-pwd")}
    return first["ice-ufrag"].partition(":")[2], first["ice-pwd"].partition(":")[2]


async def test_restart_without_a_description(connect: Any, media: RecordingMedia) -> None:
    alice = await connect()
    await alice.offer("chromium_simulcast")
    await alice.send(request_id=5, restart_ice=signaling_pb2.RestartIce(ufrag="abcd", pwd="p" * 24))
    restarted = await alice.until("ice_restarted")
    assert restarted.candidates[0].startswith("candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host")
    assert media.named("restart_ice")[0]["ice_ufrag"] == restarted.ufrag


async def test_lost_media_ends_the_session_and_tells_why(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await alice.offer("chromium_simulcast")
    media.emit("disconnected", media.named("add_peer")[0]["handle"], "consent_lost")
    changed = await alice.until("transport_changed")
    assert changed.reason == "consent_lost"
    left = await alice.until("left")
    assert (left.reason, left.can_rejoin) == (models_pb2.DISCONNECT_REASON_CONNECTION_TIMEOUT, True)
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_DISCONNECTED)
    assert media.named("remove_peer") == []


async def test_data_goes_to_the_same_label_of_the_others(connect: Any, media: RecordingMedia) -> None:
    for name in ("alice", "bob", "carol"):
        client = await connect(name)
        await client.offer("livekit_js_v0")
        media.emit("connected", media.named("add_peer")[-1]["handle"], "aead_aes_128_gcm")
        await client.until("transport_changed")
    alice, bob, carol = (item["handle"] for item in media.named("add_peer"))
    media.emit("data_received", alice, "chat", False, b"hi")
    assert media.named("send_data") == [{"peers": [bob, carol], "label": "chat", "payload": b"hi", "binary": False}]


async def test_data_through_signaling_is_stamped_and_addressed(connect: Any, media: RecordingMedia) -> None:
    alice = await connect("alice", data_mode=signaling_pb2.Join.DATA_MODE_SIGNALING)
    bob = await connect("bob")
    for client in (alice, bob):
        await client.offer("livekit_js_v0")
        media.emit("connected", media.named("add_peer")[-1]["handle"], "aead_aes_128_gcm")
    peers = [item["handle"] for item in media.named("add_peer")]
    media.emit("data_channel_opened", peers[0], "_lossy", False, (2, False, 0, None))
    media.emit("data_received", peers[0], "_lossy", True, b"x")
    message = await alice.until("data")
    assert (message.sender_id, message.sender_identity) == (alice.joined.participant.id, "alice")
    assert (message.label, message.payload, message.reliable) == ("_lossy", b"x", False)
    message.sender_identity = "somebody else"
    await alice.send(send_data=signaling_pb2.SendData(message=message, destination_identities=["bob", "nobody"]))
    await alice.send(request_id=9, mute=signaling_pb2.Mute(track_id="none"))
    await alice.until("request_failed")
    assert media.named("send_data") == [{"peers": [peers[1]], "label": "_lossy", "payload": b"x", "binary": True}]


async def test_speakers_are_told_as_changes(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await alice.send(add_track=signaling_pb2.AddTrack(cid=msid("chromium_simulcast", "audio"), **MICROPHONE))
    await alice.offer("chromium_simulcast")
    handle = media.named("publish")[0]["handle"]
    media.emit("audio_levels", [(handle, 20, True)])
    (speaker,) = (await bob.until("speakers_changed")).speakers
    assert (speaker.participant_id, speaker.active) == (alice.joined.participant.id, True)
    assert speaker.level == pytest.approx(0.1)
    # Who joins meanwhile is told soon after its media flow, also when the speaker goes on alike.
    carol = await connect("carol")
    await carol.offer("chromium_simulcast")
    media.emit("connected", media.named("add_peer")[-1]["handle"], "aead_aes_128_gcm")
    (speaker,) = (await carol.until("speakers_changed")).speakers
    assert (speaker.participant_id, speaker.active) == (alice.joined.participant.id, True)
    media.emit("audio_levels", [(handle, 127, False)])
    (speaker,) = (await bob.until("speakers_changed")).speakers
    assert not speaker.active


async def test_publisher_decides_who_may_subscribe(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await alice.send(subscription_permission=signaling_pb2.SubscriptionPermission(all=False))
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await bob.send(update_subscription=signaling_pb2.UpdateSubscription(track_ids=[track_id], subscribe=True))
    failed = await bob.until("subscription_failed")
    assert failed.reason == signaling_pb2.SubscriptionFailed.REASON_NOT_ALLOWED
    allowed = signaling_pb2.SubscriptionPermission.Allowed(identity="bob", all_tracks=True)
    await alice.send(subscription_permission=signaling_pb2.SubscriptionPermission(allowed=[allowed]))
    assert (await bob.until("subscription_permission_changed")).allowed
    assert (await alice.until("first_subscriber")).track_id == track_id


async def test_no_common_codec_fails_the_subscription(connect: Any) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    only_av1 = without_formats(recorded("chromium_publish"), "video", keep={"45", "46"})
    await alice.send(add_track=signaling_pb2.AddTrack(cid="1", **CAMERA))
    await alice.offer(only_av1)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await bob.offer("aiortc_recvonly")
    failed = [item.subscription_failed for item in bob.seen if item.HasField("subscription_failed")]
    assert [item.reason for item in failed] == [signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC]


def without_formats(sdp: str, kind: str, keep: set[str]) -> str:
    lines = []
    for line in sdp.split("\r\n"):
        if line.startswith(f"m={kind}"):
            head = line.split()[:3]
            line = " ".join([*head, *sorted(keep)])
        lines.append(line)
    return "\r\n".join(lines)


async def test_section_that_ceases_to_send_ends_its_track(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await alice.offer(recorded("chromium_simulcast").replace("a=sendonly", "a=inactive"))
    await bob.until_participant("alice", lambda participant: not participant.tracks)
    assert any(item.track_unpublished.track_id == track_id for item in alice.seen)
    assert len(media.named("unpublish")) == 1


async def test_hidden_participants_are_not_told_of(connect: Any) -> None:
    hidden = await connect("ghost", bearer=token(identity="ghost", hidden=True))
    bob = await connect("bob")
    assert list(bob.joined.others) == []
    alice = await connect("alice")
    await bob.until_participant("alice")
    assert [other.identity for other in alice.joined.others] == ["bob"]
    assert all(p.identity != "ghost" for item in bob.seen for p in item.participants_changed.participants)
    assert hidden.joined.participant.permission.hidden


async def test_leaving_frees_everything(connect: Any, media: RecordingMedia, plane: Any) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await bob.offer("chromium_receive")
    await bob.until("track_subscribed")
    for client in (alice, bob):
        await client.send(leave=signaling_pb2.Leave())
        left = await client.until("left")
        assert left.reason == models_pb2.DISCONNECT_REASON_CLIENT_INITIATED
        with pytest.raises(EOFError) as ended:
            await client.read()
        assert ended.value.args[0] is grpc.StatusCode.OK
    assert len(media.named("remove_peer")) == 2
    assert plane.node.num_sessions == 0
    assert plane.node.idle.is_set()
    assert not plane.node._peers
    assert not plane.node._tracks
    assert not plane.node._subscriptions
