"""What subscribers want reaches the core, and what nobody takes is told to its publisher."""

from typing import Any

import pytest
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane import demand
from control_plane.gateway.livekit import from_livekit, to_livekit
from pysfu.v1 import models_pb2, signaling_pb2
from tests.control_plane.recording import RecordingMedia
from tests.control_plane.test_sessions import CAMERA, msid, publish_camera


async def settled(client: Any) -> None:
    """Everything sent so far has been handled."""
    await client.send(request_id=9, mute=signaling_pb2.Mute(track_id="none"))
    await client.until("request_failed")


async def watched_camera(connect: Any, **options: Any) -> tuple[Any, Any, str]:
    """Alice's camera, which Bob receives."""
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice, **options)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    await bob.offer("chromium_receive")
    await bob.until("track_subscribed")
    return alice, bob, track_id


async def test_how_a_video_is_shown_reaches_the_core(connect: Any, media: RecordingMedia) -> None:
    _, bob, track_id = await watched_camera(connect)
    settings: list[dict[str, Any]] = [
        {"width": 320, "height": 180, "priority": 4},
        {"width": 320, "height": 180, "priority": 4, "disabled": True},
        {"width": 641, "height": 361},
        {"max_spatial": 1},
        {},
    ]
    for item in settings:
        await bob.send(update_track_settings=signaling_pb2.UpdateTrackSettings(track_ids=[track_id], **item))
    await settled(bob)
    views = [(item["width"], item["height"], item["priority"]) for item in media.named("set_view")]
    assert views == [(320, 180, 2), (641, 361, 0), (0, 0, 0)]
    wanted = [(item["paused"], item["max_spatial"]) for item in media.named("set_wanted")]
    assert wanted == [(True, 255), (False, 255), (False, 1), (False, 255)]


async def test_a_view_told_before_media_flows_holds_from_the_start(connect: Any, media: RecordingMedia) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    track_id = await publish_camera(alice)
    await bob.until_participant("alice", lambda participant: participant.tracks)
    settings = signaling_pb2.UpdateTrackSettings(track_ids=[track_id], width=320, height=180)
    await bob.send(update_track_settings=settings)
    await bob.offer("chromium_receive")
    await bob.until("track_subscribed")
    (subscribed,) = media.named("subscribe")
    (view,) = media.named("set_view")
    assert (view["subscription"], view["width"]) == (subscribed["handle"], 320)


async def test_what_a_video_shows_and_its_sizes_reach_the_core(connect: Any, media: RecordingMedia) -> None:
    alice = await connect("alice")
    await publish_camera(alice)
    assert [(item["source"], item["sizes"]) for item in media.named("describe")] == [
        ("camera", [(320, 180), (640, 360), (1280, 720)])
    ]
    bob = await connect("bob")
    screen = {**CAMERA, "source": models_pb2.TRACK_SOURCE_SCREEN_SHARE}
    track = signaling_pb2.AddTrack(cid=msid("chromium_publish", "video"), width=70_000, height=1_080, **screen)
    await bob.send(add_track=track)
    await bob.offer("chromium_publish")
    assert [(item["source"], item["sizes"]) for item in media.named("describe")][1:] == [("screen", [(0, 0)])]


async def test_speakers_are_ranked_by_who_spoke_last(connect: Any, media: RecordingMedia) -> None:
    voices, cameras = {}, {}
    for name in ("alice", "bob"):
        client = await connect(name)
        microphone = signaling_pb2.AddTrack(
            cid=msid("chromium_simulcast", "audio"),
            kind=models_pb2.MEDIA_KIND_AUDIO,
            source=models_pb2.TRACK_SOURCE_MICROPHONE,
        )
        await client.send(add_track=microphone)
        await publish_camera(client)
        handles = {item["kind"]: item["handle"] for item in media.named("publish")[-2:]}
        voices[name], cameras[name] = handles["audio"], handles["video"]
    for speaker, other in (("alice", "bob"), ("bob", "alice")):
        media.emit("audio_levels", [(voices[speaker], 20, True), (voices[other], 90, False)])
        await client.until("speakers_changed")
    ranks = [(item["track"], item["rank"]) for item in media.named("set_speaker")]
    assert ranks[0] == (cameras["alice"], 0)
    assert set(ranks[1:]) == {(cameras["bob"], 0), (cameras["alice"], 1)}


async def test_publisher_is_told_what_nobody_takes(connect: Any, media: RecordingMedia) -> None:
    alice, _, track_id = await watched_camera(connect)
    handle = media.named("publish")[0]["handle"]
    for highest, expected in (((0, 255), [True, False, False]), (None, [False] * 3), ((255, 1), [True] * 3)):
        media.emit("layers_wanted", handle, highest)
        told = await alice.until("layers_wanted")
        assert (told.track_id, told.mime_type) == (track_id, "video/VP8")
        assert [(layer.rid, layer.wanted) for layer in told.layers] == list(zip("qhf", expected, strict=True))
    assert told.max_temporal == 1


async def test_what_was_told_while_the_stream_was_away_is_told_again(connect: Any, media: RecordingMedia) -> None:
    alice, bob, track_id = await watched_camera(connect)
    alice.call.cancel()
    bob.call.cancel()
    media.emit("layers_wanted", media.named("publish")[0]["handle"], (1, 255))
    media.emit("stream_paused", media.named("subscribe")[0]["handle"], True)
    alice = await connect("alice", resume_session_id=alice.joined.session_id)
    told = await alice.until("layers_wanted")
    assert [layer.wanted for layer in told.layers] == [True, True, False]
    bob = await connect("bob", resume_session_id=bob.joined.session_id)
    (state,) = (await bob.until("stream_states")).states
    assert (state.track_id, state.paused) == (track_id, True)


async def test_only_a_path_that_does_not_carry_it_pauses_a_stream(connect: Any, media: RecordingMedia) -> None:
    _, bob, track_id = await watched_camera(connect)
    handle = media.named("subscribe")[0]["handle"]
    # Layers come and go, and what the client itself has paused is no news to it.
    media.emit("layer_forwarded", handle, 1)
    await bob.send(update_track_settings=signaling_pb2.UpdateTrackSettings(track_ids=[track_id], disabled=True))
    media.emit("layer_forwarded", handle, None)
    for paused in (False, True, True, False):
        media.emit("stream_paused", handle, paused)
    await settled(bob)
    told = [list(item.stream_states.states) for item in bob.seen if item.HasField("stream_states")]
    assert [[(state.track_id, state.paused) for state in states] for states in told] == [
        [(track_id, True)],
        [(track_id, False)],
    ]


@pytest.mark.parametrize(
    ("rids", "highest", "expected"),
    [
        ("qhf", (255, 255), [True, True, True]),
        ("qhf", (1, 255), [True, True, False]),
        ("qhf", (0, 0), [True, False, False]),
        ("qhf", None, [False, False, False]),
        # Qualities that the track lacks go with the best that it has.
        ("qh", (1, 255), [True, True, True]),
        ("qh", (0, 255), [True, False, False]),
        (" ", (0, 255), [True, True, True]),
        (" ", None, [False, False, False]),
        ("", (255, 255), [True, True, True]),
        ("   ", (1, 255), [True, True, False]),
    ],
)
def test_layers_as_qualities(rids: str, highest: demand.Highest | None, expected: list[bool]) -> None:
    layers = [models_pb2.VideoLayer(spatial=index, rid=rid.strip()) for index, rid in enumerate(rids)]
    info = models_pb2.Track(id="TR_x", mime_type="video/VP8", layers=layers)
    message = signaling_pb2.SessionResponse(layers_wanted=demand.layers_wanted(info, highest))
    translated = to_livekit.response(message)
    assert translated is not None
    update = translated.subscribed_quality_update
    qualities = [lr.SubscribedQuality(quality=q, enabled=on) for q, on in enumerate(expected)]  # type: ignore[arg-type]
    assert (update.track_sid, list(update.subscribed_qualities)) == ("TR_x", qualities)
    (codec,) = update.subscribed_codecs
    assert (codec.codec, list(codec.qualities)) == ("vp8", qualities)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"width": 320, "height": 180, "fps": 15, "priority": 3, "quality": lm.HIGH}, None),
        ({"quality": lm.HIGH}, None),
        ({"quality": lm.MEDIUM}, 1),
        ({"quality": lm.LOW, "disabled": True}, None),
    ],
)
def test_settings_of_a_livekit_client(settings: dict[str, Any], expected: int | None) -> None:
    request = lr.SignalRequest(track_setting=lr.UpdateTrackSettings(track_sids=["TR_x"], **settings))
    (translated,) = from_livekit.requests(request)
    found = translated.update_track_settings
    assert list(found.track_ids) == ["TR_x"]
    assert (found.max_spatial if found.HasField("max_spatial") else None) == expected
    assert (found.width, found.height, found.fps, found.priority, found.disabled) == (
        settings.get("width", 0),
        settings.get("height", 0),
        settings.get("fps", 0),
        settings.get("priority", 0),
        settings.get("disabled", False),
    )
