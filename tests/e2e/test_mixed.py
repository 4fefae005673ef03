"""Rooms of unlike clients, with real media: formats that not everybody decodes, receivers that tell little."""

import asyncio
from typing import Any

import grpc
import pytest
from aiortc import RTCRtpReceiver, RTCRtpSender
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from pysfu.v1 import signaling_pb2, stats_pb2, stats_pb2_grpc
from tests.control_plane.conftest import admin_metadata
from tests.control_plane.test_media import Peer, channel, peers

__all__ = ["channel", "peers"]

pytestmark = pytest.mark.timeout(60)
NO_COMMON_CODEC = signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC


def formats(side: Any, name: str) -> list[Any]:
    """What aiortc can do of one video format, with retransmission."""
    return [codec for codec in side.getCapabilities("video").codecs if codec.name.lower() in (name, "rtx")]


async def publish(peers: Any, identity: str, codec: str) -> Peer:
    """A participant that sends sound, and video of one format."""
    peer: Peer = peers(identity)
    await peer.join(auto_publish=True)
    peer.connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
    video = peer.connection.addTransceiver(VideoStreamTrack(), direction="sendonly")
    video.setCodecPreferences(formats(RTCRtpSender, codec))
    await peer.negotiate()
    await peer.signaling.until("transport_changed")
    return peer


async def watch(peers: Any, identity: str, codec: str) -> Peer:
    """A participant that receives sound, and video of one format."""
    peer: Peer = peers(identity)
    await peer.join()
    peer.connection.addTransceiver("audio", direction="recvonly")
    video = peer.connection.addTransceiver("video", direction="recvonly")
    video.setCodecPreferences(formats(RTCRtpReceiver, codec))
    await peer.negotiate()
    return peer


async def kinds(peer: Peer, count: int) -> list[str]:
    """Of the first tracks from which something is decoded."""
    tracks = [await asyncio.wait_for(peer.received.get(), 15) for _ in range(count)]

    async def decoded(track: Any) -> str:
        await track.recv()
        return str(track.kind)

    tasks = [asyncio.create_task(decoded(track)) for track in tracks]
    done, rest = await asyncio.wait(tasks, timeout=15)
    for task in rest:
        task.cancel()
    return sorted(task.result() for task in done)


async def test_who_cannot_decode_a_video_is_told_and_hears_the_sound(peers: Any) -> None:
    await publish(peers, "alice", "vp8")
    modern, old = await watch(peers, "modern", "vp8"), await watch(peers, "old", "h264")
    # Told before the answer, so that nobody waits.
    told = [response.subscription_failed for response in old.signaling.seen]
    assert [failed.reason for failed in told if failed.track_id] == [NO_COMMON_CODEC]
    assert await kinds(modern, 2) == ["audio", "video"]
    assert await kinds(old, 1) == ["audio"]
    # Nobody else was told of a failure.
    assert not any(response.HasField("subscription_failed") for response in modern.signaling.seen)


@pytest.mark.parametrize(("codec", "sender", "failures"), [("vp8", "alice", 0), ("h264", "bob", 1)])
async def test_two_formats_in_one_room(peers: Any, codec: str, sender: str, failures: int) -> None:
    """A section that is free because its track cannot be decoded goes to one that can."""
    publishers = {"alice": await publish(peers, "alice", "vp8"), "bob": await publish(peers, "bob", "h264")}
    viewer = await watch(peers, "viewer", codec)
    assert await kinds(viewer, 2) == ["audio", "video"]
    owners = [(await viewer.signaling.until("track_subscribed")).participant_id for _ in range(2)]
    assert publishers[sender].signaling.joined.participant.id in owners
    failed = [response for response in viewer.signaling.seen if response.HasField("subscription_failed")]
    assert len(failed) == failures


async def test_a_receiver_without_feedback_on_packets_gets_what_its_own_estimate_carries(
    channel: grpc.aio.Channel, peers: Any
) -> None:
    """aiortc knows REMB alone."""
    await publish(peers, "alice", "vp8")
    viewer = await watch(peers, "viewer", "vp8")
    assert await kinds(viewer, 2) == ["audio", "video"]
    service: Any = stats_pb2_grpc.StatsServiceStub(channel)
    stream = service.WatchRoomStats(
        stats_pb2.WatchRoomStatsRequest(room="room", interval_ms=500), metadata=admin_metadata("room")
    )
    names = {viewer.signaling.joined.participant.id}
    async with asyncio.timeout(20):
        while True:
            stats = await stream.read()
            told = [row for row in stats.downlinks if row.participant_id in names and row.feedback]
            if told:
                break
    stream.cancel()
    (row,) = told
    assert row.feedback == stats_pb2.DownlinkStats.FEEDBACK_REMB
    assert row.limited_by == stats_pb2.DownlinkStats.LIMIT_RECEIVER
    assert row.estimate_bps > 0
    # Nothing is known of single packets, so nothing is said of freezes.
    assert all(item.freezes == 0 and item.pictures_delivered == 0 for item in stats.subscriptions)
