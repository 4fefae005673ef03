"""A camera in VP9 that somebody cannot decode: `livekit-client` publishes it in VP8, too, while that is so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc.mediastreams import MediaStreamTrack

from pysfu.v1 import signaling_pb2
from tests.e2e.conftest import Join
from tests.e2e.harness.pages import Participant, until
from tests.e2e.harness.server import Server, token
from tests.e2e.harness.signaling import Peer, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

CAPTURE = {"resolution": {"width": 640, "height": 360, "frameRate": 15}}
VP9 = {"videoCodec": "vp9", "scalabilityMode": "L3T3_KEY", "backupCodec": {"codec": "vp8"}}
SIMULCAST = 1  # BackupCodecPolicy of livekit-client; its default regresses


@asynccontextmanager
async def old_receiver(server: Server, room: str, identity: str = "old") -> AsyncIterator[tuple[Session, Peer]]:
    """aiortc, which knows VP8 and H.264."""
    async with Session(server.grpc_address, token(room, identity), auto_subscribe=True) as session:
        peer = Peer(session)
        yield session, peer
        await session.send(leave=signaling_pb2.Leave())
        await peer.close()


async def video_of(session: Session, peer: Peer) -> MediaStreamTrack:
    """The only video in the room."""
    joined = await session.wait("joined")
    (track,) = joined.others[0].tracks if joined.others[0].identity == "one" else joined.others[1].tracks
    peer.connection.addTransceiver("video", direction="recvonly")
    await peer.negotiate()
    return await peer.media(track.id)


async def shows(track: MediaStreamTrack, count: int = 10) -> None:
    for _ in range(count):
        await asyncio.wait_for(track.recv(), 15)


async def sending(one: Participant, over: float = 1.0) -> set[str]:
    """MIME types of what the camera was sent in within `over` seconds."""
    before = await one.call("sentByCodec")
    await asyncio.sleep(over)
    return {codec for codec, frames in (await one.call("sentByCodec")).items() if frames > before.get(codec, 0)}


async def watching(join: Join, publish: dict[str, Any]) -> tuple[Participant, Participant]:
    """One publishes, two sees VP9, and nothing else is sent."""
    one = await join("one", capture=CAPTURE, publish=VP9 | publish, microphone=False, room={"dynacast": True})
    two = await join("two", camera=False, microphone=False)
    await seen_in(two, "video/VP9")
    assert await sending(one) == {"video/VP9"}
    return one, two


async def seen_in(two: Participant, codec: str) -> dict[str, Any]:
    """Frames go on, in this codec."""
    before = await until(lambda: two.seen("one"), lambda t: t.get("mimeType") == codec, 20, f"{codec} at the viewer")
    return await until(
        lambda: two.seen("one"),
        lambda t: t["framesDecoded"] > before["framesDecoded"] + 15 and t["mimeType"] == codec,
        15,
        f"frames of {codec}",
    )


@pytest.mark.timeout(120)
async def test_who_cannot_decode_it_gets_the_backup_and_the_others_keep_what_they_have(
    join: Join, server: Server, room: str
) -> None:
    one, two = await watching(join, {"backupCodecPolicy": SIMULCAST})
    for identity in ("old", "older"):
        async with old_receiver(server, room, identity) as (session, peer):
            await shows(await video_of(session, peer))
            assert await sending(one) == {"video/VP9", "video/VP8"}
            assert (await seen_in(two, "video/VP9"))["freezes"] == 0
        await until(lambda: sending(one), lambda codecs: codecs == {"video/VP9"}, 20, "the backup is not sent any more")


@pytest.mark.timeout(120)
async def test_by_default_all_regress_to_the_backup_and_return(join: Join, server: Server, room: str) -> None:
    one, two = await watching(join, {})
    async with old_receiver(server, room) as (session, peer):
        track = await video_of(session, peer)
        await shows(track)
        regressed = await seen_in(two, "video/VP8")
        await until(lambda: sending(one), lambda codecs: codecs == {"video/VP8"}, 20, "the publisher encodes once")
        await shows(track)
    returned = await seen_in(two, "video/VP9")
    await until(lambda: sending(one), lambda codecs: codecs == {"video/VP9"}, 20, "the publisher encodes once")
    # Neither change was seen: it is the same track, and no picture stood still.
    assert returned["framesDecoded"] > regressed["framesDecoded"]
    assert returned["freezes"] == 0


@pytest.mark.timeout(60)
async def test_an_encrypted_camera_has_no_backup(join: Join, server: Server, room: str) -> None:
    """`livekit-client` sends none then: who cannot decode it is told."""
    one = await join(
        "one", capture=CAPTURE, publish=VP9, microphone=False, room={"dynacast": True}, passphrase="secret"
    )
    async with old_receiver(server, room) as (session, peer):
        peer.connection.addTransceiver("video", direction="recvonly")
        await peer.negotiate()
        failed = await session.wait("subscription_failed")
        assert failed.reason == signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC
        assert await sending(one) <= {"video/VP9"}
