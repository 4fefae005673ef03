"""Real media through the real core, between aiortc peers that know nothing but the gRPC protos."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from control_plane.server import ControlPlane, ServerOptions
from pysfu import Sfu
from pysfu.v1 import models_pb2, signaling_pb2, stats_pb2, stats_pb2_grpc
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import KEY, SECRET, admin_metadata, token

PATIENCE = 15.0


@pytest_asyncio.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    media = Sfu(workers=2, bind=["127.0.0.1"], port=0)
    plane = ControlPlane(media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", version="test"))
    await plane.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as opened:
        yield opened
    await plane.stop()


class Peer:
    """A participant: an aiortc connection that its signaling client negotiates."""

    def __init__(self, channel: grpc.aio.Channel, identity: str) -> None:
        self.signaling = SignalingClient(channel, token(identity=identity))
        self.connection = RTCPeerConnection()
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.connection.on("track", self.received.put_nowait)

    async def join(self, **options: Any) -> None:
        await self.signaling.join(**options)

    async def negotiate(self) -> Any:
        """One offer and its answer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answer = await self.signaling.offer(self.connection.localDescription.sdp)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        return answer

    async def frame(self) -> tuple[str, Any]:
        """Kind and first decoded frame of the next track received."""
        track = await asyncio.wait_for(self.received.get(), PATIENCE)
        return track.kind, await asyncio.wait_for(track.recv(), PATIENCE)

    async def close(self) -> None:
        await self.connection.close()
        self.signaling.call.cancel()


@pytest_asyncio.fixture
async def peers(channel: grpc.aio.Channel) -> AsyncIterator[Any]:
    opened: list[Peer] = []

    def open_one(identity: str) -> Peer:
        opened.append(Peer(channel, identity))
        return opened[-1]

    yield open_one
    for peer in opened:
        await peer.close()


async def publisher(peers: Any, identity: str = "alice", **options: Any) -> Peer:
    peer: Peer = peers(identity)
    await peer.join(auto_publish=True, **options)
    peer.connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
    peer.connection.addTransceiver(VideoStreamTrack(), direction="sendonly")
    await peer.negotiate()
    await peer.signaling.until("transport_changed")
    return peer


@pytest.mark.timeout(60)
async def test_single_layout_decodes_audio_and_video(peers: Any) -> None:
    await publisher(peers)
    viewer = peers("viewer")
    await viewer.join()
    for kind in ("audio", "video"):
        viewer.connection.addTransceiver(kind, direction="recvonly")
    answer = await viewer.negotiate()
    assert len(answer.mid_to_track_id) == 2
    frames = dict([await viewer.frame(), await viewer.frame()])
    assert (frames["video"].width, frames["video"].height) == (640, 480)
    assert frames["audio"].sample_rate == 48_000


@pytest.mark.timeout(60)
async def test_split_layout_decodes_and_opens_data_channels(peers: Any) -> None:
    await publisher(peers)
    viewer = peers("viewer")
    await viewer.join(layout=signaling_pb2.Join.LAYOUT_SPLIT, data_channels=["_reliable", "_lossy"])
    channels: asyncio.Queue[Any] = asyncio.Queue()
    viewer.connection.on("datachannel", channels.put_nowait)
    offer = await viewer.signaling.until("offer")
    await answer_offer(viewer, offer)
    assert {kind for kind, _ in [await viewer.frame(), await viewer.frame()]} == {"audio", "video"}
    labels = {(await asyncio.wait_for(channels.get(), PATIENCE)).label for _ in range(2)}
    assert labels == {"_reliable", "_lossy"}


async def answer_offer(peer: Peer, offer: Any) -> None:
    await peer.connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
    await peer.connection.setLocalDescription(await peer.connection.createAnswer())
    sdp = peer.connection.localDescription.sdp
    await peer.signaling.send(answer=signaling_pb2.SessionDescription(sdp=sdp, id=offer.id))


@pytest.mark.timeout(60)
async def test_reserved_sections_carry_a_track_that_comes_later(peers: Any) -> None:
    viewer = peers("viewer")
    await viewer.join(reserve_sections=True)
    for kind in ("audio", "video"):
        viewer.connection.addTransceiver(kind, direction="recvonly")
    await viewer.negotiate()
    await viewer.signaling.until("transport_changed")
    await publisher(peers)
    assert {kind for kind, _ in [await viewer.frame(), await viewer.frame()]} == {"audio", "video"}


@pytest.mark.timeout(60)
async def test_data_is_forwarded_by_label(peers: Any) -> None:
    ends = []
    for identity in ("alice", "bob"):
        peer = peers(identity)
        await peer.join()
        channel = peer.connection.createDataChannel("chat")
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        opened = asyncio.Event()
        channel.on("open", opened.set)
        channel.on("message", inbox.put_nowait)
        await peer.negotiate()
        await asyncio.wait_for(opened.wait(), PATIENCE)
        ends.append((channel, inbox))
    (alice, alices), (bob, bobs) = ends
    # Both ends are open for their clients; the server hears of bob's channel with his first message.
    bob.send("from bob")
    assert await asyncio.wait_for(alices.get(), PATIENCE) == "from bob"
    alice.send(b"from alice")
    assert await asyncio.wait_for(bobs.get(), PATIENCE) == b"from alice"


@pytest.mark.timeout(60)
async def test_closing_the_connection_ends_the_session(peers: Any, channel: grpc.aio.Channel) -> None:
    alice = await publisher(peers)
    watcher = SignalingClient(channel, token(identity="watcher"))
    await watcher.join()
    await alice.connection.close()
    # An update from before may come first.
    await watcher.until_participant("alice", lambda one: one.state == models_pb2.Participant.STATE_DISCONNECTED)


@pytest.mark.timeout(60)
async def test_unsubscribed_track_ends_and_statistics_know_it(peers: Any, channel: grpc.aio.Channel) -> None:
    await publisher(peers)
    viewer = peers("viewer")
    await viewer.join()
    viewer.connection.addTransceiver("video", direction="recvonly")
    answer = await viewer.negotiate()
    (track_id,) = answer.mid_to_track_id.values()
    await viewer.frame()
    stats: Any = stats_pb2_grpc.StatsServiceStub(channel)
    watch = stats.WatchRoomStats(
        stats_pb2.WatchRoomStatsRequest(room="room", interval_ms=200), metadata=admin_metadata("room")
    )
    async with asyncio.timeout(PATIENCE):
        while not any(item.packets > 0 for item in (await watch.read()).subscriptions):
            pass
        await viewer.signaling.send(
            update_subscription=signaling_pb2.UpdateSubscription(track_ids=[track_id], subscribe=False)
        )
        while (await watch.read()).subscriptions:
            pass
    watch.cancel()
    required = await viewer.signaling.until("media_sections_required")
    # The publisher's audio has no section here; the video's is to be given back.
    assert required.video == 0
    answer = await viewer.negotiate()
    assert not answer.mid_to_track_id
    assert viewer.connection.getTransceivers()[0].currentDirection == "inactive"
