"""A track in several codecs: who receives which, and what its publisher is asked for."""

import asyncio
import contextlib
import re
from typing import Any

import pytest
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane.gateway.livekit import from_livekit, to_livekit
from control_plane.selection import Choice, Viewer, choose
from pysfu.v1 import models_pb2, signaling_pb2, stats_pb2
from tests.cluster.waiting import PATIENCE, until
from tests.control_plane.client import recorded
from tests.control_plane.conftest import admin_metadata
from tests.control_plane.recording import RecordingMedia, rows
from tests.control_plane.test_demand import settled
from tests.control_plane.test_sessions import CAMERA, LAYERS, msid

SIMULCAST = models_pb2.BACKUP_CODEC_POLICY_SIMULCAST
REGRESSION = models_pb2.BACKUP_CODEC_POLICY_REGRESSION
BOTH, FIRST, BACKUP = (0, 1), (0,), (1,)
Told = tuple[str, tuple[bool, ...]]
"""Codec, and whether each layer is wanted."""


@pytest.mark.parametrize("regress", [False, True])
@pytest.mark.parametrize(
    ("viewers", "published", "flowing", "now", "awaited"),
    [
        # Everybody decodes the first: nobody waits for a backup.
        ([Viewer(BOTH), Viewer(FIRST)], {0}, {0}, ([0, 0], [0, 0]), (set(), set())),
        # It is published and nobody needs it.
        ([Viewer(BOTH, 1)], {0, 1}, {0, 1}, ([0], [0]), (set(), set())),
        # One does not, and the backup is not there yet: nobody gives anything up.
        ([Viewer(BOTH, 0), Viewer(BACKUP)], {0}, {0}, ([0, None], [0, None]), ({1}, {1})),
        # Published, but no packet has come: who has nothing subscribes, who sees something keeps it.
        ([Viewer(BOTH, 0), Viewer(BACKUP)], {0, 1}, {0}, ([0, 1], [0, 1]), (set(), {1})),
        # It flows.
        ([Viewer(BOTH, 0), Viewer(BACKUP, 1)], {0, 1}, {0, 1}, ([0, 1], [1, 1]), (set(), set())),
        # Who cannot decode the backup keeps the first in either case, and so does who comes.
        ([Viewer(FIRST, 0), Viewer(BACKUP, 1), Viewer(BOTH)], {0, 1}, {0, 1}, ([0, 1, 0], [0, 1, 1]), (set(), set())),
        # Nobody needs the backup any more: back as soon as the first is sent again.
        ([Viewer(BOTH, 1)], {0, 1}, {1}, ([1], [1]), ({0}, {0})),
        # Who has paused needs nothing, and others are not held to it.
        ([Viewer(BOTH, 0), Viewer(BACKUP, paused=True)], {0}, {0}, ([0, None], [0, None]), (set(), set())),
        # The backup vanished: whoever can goes back.
        ([Viewer(BOTH, 1), Viewer(BACKUP, 1)], {0}, {0}, ([0, None], [0, None]), ({1}, {1})),
        # Two backups: each has the one that it decodes.
        (
            [Viewer((2,), 2), Viewer(BACKUP, 1), Viewer((0, 2), 0)],
            {0, 1, 2},
            {0, 1, 2},
            ([2, 1, 0], [2, 1, 2]),
            (set(), set()),
        ),
        # None at all.
        ([Viewer(())], {0}, {0}, ([None], [None]), (set(), set())),
    ],
)
def test_choices(
    viewers: list[Viewer],
    published: set[int],
    flowing: set[int],
    now: tuple[list[int | None], list[int | None]],
    awaited: tuple[set[int], set[int]],
    regress: bool,
) -> None:
    found, waits = choose(dict(enumerate(viewers)), published, flowing, regress=regress)
    assert [choice.now for choice in found.values()] == now[regress]
    assert waits == awaited[regress]
    assert all(choice.best in (None, *viewer.decodes) for choice, viewer in zip(found.values(), viewers, strict=True))


def test_what_is_best_is_told_beside_what_is_there() -> None:
    assert choose({"old": Viewer(BACKUP)}, {0}, {0}, regress=True)[0] == {"old": Choice(None, 1)}


def only(sdp: str, *codecs: str) -> str:
    """A description without video formats but these (and without all that refers to them)."""
    formats = {
        number: name.lower() for number, name in re.findall(r"a=rtpmap:(\d+) (\w+)/90000", sdp) if name not in codecs
    }
    lines = []
    for line in sdp.splitlines():
        words = line.split(" ")
        if line.startswith("m=video"):
            words = [*words[:3], *(word for word in words[3:] if word not in formats)]
        elif (match := re.match(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+) ", line)) and match[1] in formats:
            continue
        lines.append(" ".join(words))
    return "\r\n".join(lines) + "\r\n"


def twice(sdp: str) -> str:
    """The recorded offer with its video section a second time, as another track."""
    sections = re.split(r"(?=^m=)", sdp, flags=re.MULTILINE)
    video = next(section for section in sections if section.startswith("m=video"))
    second = video.replace(msid("chromium_simulcast", "video"), "backup-cid").replace("a=mid:1\r", "a=mid:9\r")
    second = re.sub(r"a=msid:.*\r\n", "a=msid:- backup-cid\r\n", second)
    return "".join([*sections, second]).replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1 2 9")


class Room:
    """Alice, whose camera is VP9 with VP8 as its backup; `bob` decodes all, `old` VP8 alone."""

    def __init__(self, connect: Any, media: RecordingMedia) -> None:
        self.connect, self.media = connect, media
        self.alice: Any
        self.track_id = ""

    async def publish(self, policy: Any) -> None:
        self.alice = await self.connect("alice")
        options = {"backup_codecs": ["video/vp8", "video/h265"], "backup_codec_policy": policy}
        track = signaling_pb2.AddTrack(
            cid=msid("chromium_simulcast", "video"), layers=LAYERS, preferred_codec="video/vp9", **CAMERA, **options
        )
        await self.alice.send(add_track=track)
        self.track_id = (await self.alice.until("track_published")).track.id
        await self.alice.offer("chromium_simulcast")
        self.flows(self.handle("1"), True)

    async def join(self, identity: str, sdp: str) -> Any:
        client = await self.connect(identity)
        if not client.joined.others[0].tracks:
            await client.until_participant("alice", lambda participant: participant.tracks)
        await client.offer(sdp)
        return client

    async def add_backup(self, **options: Any) -> None:
        """As the client does when it is asked."""
        track = {"cid": "backup-cid", "track_id": self.track_id, "preferred_codec": "video/vp8", **CAMERA, **options}
        await self.alice.send(add_track=signaling_pb2.AddTrack(layers=LAYERS[:2], **track))
        assert (await self.alice.until("track_published")).track.id == self.track_id
        answer = await self.alice.offer(twice(recorded("chromium_simulcast")))
        assert answer.mid_to_track_id["9"] == self.track_id
        self.flows(self.handle("9"), True)

    def handle(self, mid: str) -> int:
        """The core's, of what is published in a section."""
        return int(next(item["handle"] for item in reversed(self.media.named("publish")) if item["mid"] == mid))

    def flows(self, handle: int, active: bool) -> None:
        self.media.emit("layer_active", handle, 0, active)

    async def receives(self, *expected: str) -> None:
        """MIDs whose encodings are forwarded, by subscriber in order of arrival."""
        await settled(self.alice)
        with contextlib.suppress(TimeoutError):
            await until(lambda: self._forwarded() == [self.handle(mid) for mid in expected])
        assert self._forwarded() == [self.handle(mid) for mid in expected]

    def _forwarded(self) -> list[int]:
        """Tracks, by subscriber in order of arrival."""
        now: dict[int, int] = {}
        peers: dict[int, int] = {}
        for command, item in self.media.calls:
            if command == "subscribe":
                now[item["handle"]], peers[item["handle"]] = item["track"], item["peer"]
            elif command == "redirect":
                now[item["subscription"]] = item["track"]
            elif command == "unsubscribe":
                now.pop(item["subscription"])
            elif command == "remove_peer":
                now = {key: track for key, track in now.items() if peers[key] != item["peer"]}
        return list(now.values())

    async def tells(self, *expected: Told) -> None:
        """Each is in Alice's newest message of the layers that are wanted, which may be on its way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not set(expected) <= set(await self._told()):  # noqa: ASYNC110 - nothing else tells
                    await asyncio.sleep(0.01)
        told = await self._told()
        assert set(expected) <= set(told), told

    async def _told(self) -> list[Told]:
        await settled(self.alice)
        messages = [item.layers_wanted for item in self.alice.seen if item.HasField("layers_wanted")]
        return [
            (one.mime_type, tuple(layer.wanted for layer in one.layers))
            for newest in messages[-1:]
            for one in (newest, *newest.backups)
        ]


async def codecs_told(client: Any) -> list[list[str]]:
    """Those of Alice's track, in each update that a client has had so far."""
    await settled(client)
    updates = [one for item in client.seen for one in item.participants_changed.participants if one.identity == "alice"]
    return [[codec.mime_type for codec in one.tracks[0].codecs] for one in updates if one.tracks]


ALL = recorded("chromium_receive")
VP8_ALONE = only(ALL, "VP8")
VP9, VP8 = "video/VP9", "video/VP8"


@pytest.fixture
def room(connect: Any, media: RecordingMedia) -> Room:
    return Room(connect, media)


async def test_backup_is_asked_for_while_somebody_needs_it(room: Room) -> None:
    await room.publish(SIMULCAST)
    await room.join("bob", ALL)
    await room.receives("1")
    assert not any(item.HasField("layers_wanted") for item in room.alice.seen)
    old = await room.join("old", VP8_ALONE)
    await room.tells((VP9, (True,) * 3), (VP8, (True,)))
    # Its section is there already, nothing is said of a failure.
    assert not any(item.HasField("subscription_failed") or item.HasField("track_subscribed") for item in old.seen)
    await room.add_backup()
    await room.receives("1", "9")
    assert (await old.until("track_subscribed")).track_id == room.track_id
    await old.send(leave=signaling_pb2.Leave())
    await old.until("left")
    await room.receives("1")
    room.media.emit("layers_wanted", room.handle("9"), None)
    await room.tells((VP9, (True,) * 3), (VP8, (False, False)))
    # It is still published, and there at once for the next one.
    await room.join("older", VP8_ALONE)
    await room.receives("1", "9")
    await room.tells((VP9, (True,) * 3), (VP8, (True, True)))


async def test_request_that_is_not_needed_any_more_is_taken_back(room: Room) -> None:
    await room.publish(SIMULCAST)
    old = await room.join("old", VP8_ALONE)
    await room.tells((VP8, (True,)))
    pause: dict[str, Any] = {"track_ids": [room.track_id], "disabled": True}
    await old.send(update_track_settings=signaling_pb2.UpdateTrackSettings(**pause))
    await settled(old)
    await room.tells((VP8, (False,)))
    await old.send(update_track_settings=signaling_pb2.UpdateTrackSettings(track_ids=[room.track_id]))
    await settled(old)
    await room.tells((VP8, (True,)))


async def test_regression_moves_all_who_can_and_returns(room: Room) -> None:
    await room.publish(REGRESSION)
    bob = await room.join("bob", ALL)
    await room.join("modern", only(ALL, "VP9"))
    old = await room.join("old", VP8_ALONE)
    await room.receives("1", "1")
    await room.add_backup()
    await room.receives("9", "1", "9")
    # Under the numbers that it has, without another negotiation.
    (moved,) = room.media.named("redirect")
    assert (moved["track"], (96, 96, 97) in moved["payloads"]) == (room.handle("9"), True)
    assert not any(item.HasField("track_unpublished") for item in bob.seen)
    room.media.emit("layers_wanted", room.handle("1"), None)
    room.flows(room.handle("1"), False)
    await old.send(leave=signaling_pb2.Leave())
    await old.until("left")
    # Bob keeps what he has until the first flows again.
    await room.receives("9", "1")
    await room.tells((VP9, (True,) * 3))
    room.flows(room.handle("1"), True)
    await room.receives("1", "1")
    await room.tells((VP9, (True,) * 3))


async def test_backup_that_vanishes(room: Room) -> None:
    await room.publish(REGRESSION)
    await room.join("bob", ALL)
    old = await room.join("old", VP8_ALONE)
    await room.add_backup()
    await room.receives("9", "9")
    handle = room.handle("9")
    offer = twice(recorded("chromium_simulcast"))
    head, tail = offer[: offer.rindex("m=video")], offer[offer.rindex("m=video") :]
    await room.alice.offer(head + tail.replace("a=sendonly", "a=inactive"))
    await room.receives("1")
    assert room.media.named("unpublish") == [{"track": handle}]
    # Bob had gone on with the first before it ended.
    names = [name for name, _ in room.media.calls]
    assert names.index("unpublish") > len(names) - 1 - names[::-1].index("redirect")
    # The other waits in another section.
    await old.until("media_sections_required")
    await old.offer(VP8_ALONE)
    await room.tells((VP8, (True,)))
    async with asyncio.timeout(PATIENCE):
        while (await codecs_told(old))[-1:] != [[VP9]]:  # noqa: ASYNC110 - updates are gathered
            await asyncio.sleep(0.01)
    # The client may publish it again.
    await room.alice.send(
        add_track=signaling_pb2.AddTrack(
            cid="backup-cid", track_id=room.track_id, preferred_codec="video/vp8", layers=LAYERS, **CAMERA
        )
    )
    await room.alice.offer(offer)
    published = [item["handle"] for item in room.media.named("publish") if item["mid"] == "9"]
    assert len(published) == 2


async def test_who_can_decode_neither_is_told(room: Room) -> None:
    await room.publish(SIMULCAST)
    stranger = await room.join("stranger", only(ALL, "AV1"))
    failed = next(item.subscription_failed for item in stranger.seen if item.HasField("subscription_failed"))
    assert failed.reason == signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC
    await settled(room.alice)
    assert not any(item.HasField("layers_wanted") for item in room.alice.seen)
    # A client that sends something else than it negotiated first corrects that.
    room.media.emit("track_started", room.handle("1"), "av1")
    await stranger.until("media_sections_required")
    await stranger.offer(only(ALL, "AV1"))
    await room.receives("1")
    # Updates are gathered: it may have come before what was waited for.
    async with asyncio.timeout(PATIENCE):
        while (await codecs_told(stranger))[-1:] != [["video/AV1"]]:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)
    updates = [item.participants_changed for item in stranger.seen if item.HasField("participants_changed")]
    last = next(one for one in updates[-1].participants if one.identity == "alice")
    assert last.tracks[0].mime_type == "video/AV1"


async def test_order_of_the_offer_decides_where_nothing_is_preferred(connect: Any, media: RecordingMedia) -> None:
    alice = await connect("alice")
    await alice.send(add_track=signaling_pb2.AddTrack(cid=msid("chromium_simulcast", "video"), layers=LAYERS, **CAMERA))
    await alice.offer("chromium_simulcast")
    old = await connect("old")
    await old.until_participant("alice", lambda one: one.tracks)
    await old.offer(only(ALL, "VP9"))
    assert [item.subscription_failed.reason for item in old.seen if item.HasField("subscription_failed")]
    # The client changes its mind: VP9 (98) before VP8 (96).
    offer = recorded("chromium_simulcast")
    line = next(line for line in offer.splitlines() if line.startswith("m=video"))
    words = [word for word in line.split() if word not in ("98", "99")]
    answer = await alice.offer(offer.replace(line, " ".join([*words[:3], "98", "99", *words[3:]])))
    assert next(line for line in answer.sdp.splitlines() if line.startswith("m=video")).split()[3] == "98"
    await old.until_participant("alice", lambda one: one.tracks[0].mime_type == VP9)
    await old.offer(only(ALL, "VP9"))
    assert (await old.until("track_subscribed")).track_id


async def test_split_layout_is_offered_both(room: Room) -> None:
    await room.publish(SIMULCAST)
    client = await room.connect("split", layout=signaling_pb2.Join.LAYOUT_SPLIT)
    offer = await client.until("offer")
    assert " VP9/90000" in offer.sdp
    assert " VP8/90000" in offer.sdp


async def test_everything_goes_for_all_encodings(room: Room, rooms: Any, stats: Any) -> None:
    await room.publish(SIMULCAST)
    await room.join("bob", ALL)
    old = await room.join("old", VP8_ALONE)
    await room.add_backup()
    seen = await old.until_participant("alice", lambda one: len(one.tracks[0].codecs) == 2)
    (track,) = seen.tracks
    assert [(codec.mime_type, codec.mid, len(codec.layers)) for codec in track.codecs] == [(VP9, "1", 3), (VP8, "9", 2)]
    assert track.backup_codec_policy == SIMULCAST
    handles = [room.handle("1"), room.handle("9")]
    await room.receives("1", "9")
    assert [item["sizes"] for item in room.media.named("describe")][1] == [(320, 180), (640, 360)]
    room.media.statistics.subscriptions = rows("subscriptions", *({"track": handle} for handle in handles))
    found = await stats.GetRoomStats(stats_pb2.GetRoomStatsRequest(room="room"), metadata=admin_metadata("room"))
    assert [(row.track_id, row.mime_type) for row in found.tracks] == [(room.track_id, VP9), (room.track_id, VP8)]
    await room.alice.send(unpublish=signaling_pb2.Unpublish(track_id=room.track_id))
    await room.alice.until("track_unpublished")
    assert [item["track"] for item in room.media.named("unpublish")] == handles


@pytest.mark.parametrize(
    "change",
    [{"cid": ""}, {"cid": "c" * 300}, {"layers": [models_pb2.VideoLayer()] * 9}],
)
async def test_a_backup_that_is_malformed_is_refused(room: Room, change: dict[str, Any]) -> None:
    await room.publish(SIMULCAST)
    fields = {"cid": "x", "track_id": room.track_id, "preferred_codec": VP8, **CAMERA} | change
    await room.alice.send(request_id=5, add_track=signaling_pb2.AddTrack(**fields))
    reply = await room.alice.read()
    while reply.request_id != 5:
        reply = await room.alice.read()
    # Without a cid it is what was published before, said again.
    assert reply.WhichOneof("message") == ("request_failed" if fields["cid"] else "track_published")


def test_livekit_requests() -> None:
    codecs = [lr.SimulcastCodec(codec="vp9", cid="a"), lr.SimulcastCodec(codec="vp8")]
    request = lr.AddTrackRequest(
        cid="a", type=lm.VIDEO, simulcast_codecs=codecs, backup_codec_policy=lm.BackupCodecPolicy.SIMULCAST
    )
    found = from_livekit.add_track(request)
    assert (found.preferred_codec, list(found.backup_codecs)) == ("video/vp9", ["video/vp8"])
    assert found.backup_codec_policy == SIMULCAST
    layers = [lm.VideoLayer(quality=lm.LOW, width=320), lm.VideoLayer(quality=lm.MEDIUM, width=640)]
    second = lr.AddTrackRequest(
        cid="b", sid="TR_x", type=lm.VIDEO, simulcast_codecs=[lr.SimulcastCodec(codec="vp8", cid="b", layers=layers)]
    )
    found = from_livekit.add_track(second)
    assert (found.cid, found.track_id, found.preferred_codec) == ("b", "TR_x", "video/vp8")
    assert [(layer.rid, layer.width) for layer in found.layers] == [("q", 320), ("h", 640)]
    assert found.backup_codec_policy == REGRESSION


def test_livekit_is_told_of_all_codecs_at_once() -> None:
    def layers(*wanted: bool) -> list[signaling_pb2.LayersWanted.Layer]:
        return [
            signaling_pb2.LayersWanted.Layer(spatial=index, rid="qhf"[index], wanted=on)
            for index, on in enumerate(wanted)
        ]

    wanted = signaling_pb2.LayersWanted(track_id="TR_x", mime_type=VP9, layers=layers(True, True, False))
    wanted.backups.add(mime_type=VP8, layers=layers(True, False))
    translated = to_livekit.response(signaling_pb2.SessionResponse(layers_wanted=wanted))
    assert translated is not None
    told = {
        item.codec: [quality.enabled for quality in item.qualities]
        for item in translated.subscribed_quality_update.subscribed_codecs
    }
    assert told == {"vp9": [True, True, False], "vp8": [True, False, False]}


def test_livekit_is_told_what_is_published() -> None:
    info = models_pb2.Track(id="TR_x", kind=models_pb2.MEDIA_KIND_VIDEO, backup_codec_policy=SIMULCAST)
    info.codecs.add(mime_type=VP9, mid="1", cid="a", layers=LAYERS)
    info.codecs.add(mime_type=VP8, mid="9", cid="b", layers=LAYERS[:1])
    told = to_livekit.track(info)
    assert [(one.mime_type, one.mid, one.cid, len(one.layers)) for one in told.codecs] == [
        (VP9, "1", "a", 3),
        (VP8, "9", "b", 1),
    ]
    assert told.backup_codec_policy == lm.BackupCodecPolicy.SIMULCAST
