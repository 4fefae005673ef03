"""aiortc through WHIP (RFC 9725) and WHEP, with and without Chromium on the other side."""

from collections.abc import AsyncIterator
from urllib.parse import urljoin

import aiohttp
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.e2e.conftest import Join
from tests.e2e.harness.media import MovingPicture, Tone, loudest, picture
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, token

pytestmark = pytest.mark.asyncio(loop_scope="session")


class HttpPeer:
    """An aiortc peer connection behind one WHIP or WHEP resource."""

    def __init__(self, http: aiohttp.ClientSession, endpoint: str, bearer: str) -> None:
        self.http, self.endpoint = http, endpoint
        self.headers = {"Authorization": f"Bearer {bearer}"}
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.location = ""

    async def open(self) -> None:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        headers = self.headers | {"Content-Type": "application/sdp"}
        async with self.http.post(
            self.endpoint, data=self.connection.localDescription.sdp, headers=headers
        ) as response:
            assert response.status == 201, await response.text()
            assert response.content_type == "application/sdp"
            assert response.headers["ETag"]
            self.location = urljoin(self.endpoint, response.headers["Location"])
            answer = RTCSessionDescription(await response.text(), "answer")
        await self.connection.setRemoteDescription(answer)

    async def delete(self) -> int:
        async with self.http.delete(self.location, headers=self.headers) as response:
            return response.status

    async def close(self) -> None:
        await self.connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_whip_to_whep(http: aiohttp.ClientSession, server: Server, room: str) -> None:
    publisher = HttpPeer(http, f"{server.url}/whip/{room}", token(room, "camera"))
    publisher.connection.addTrack(MovingPicture(320, 240))
    publisher.connection.addTrack(Tone())
    await publisher.open()

    viewer = HttpPeer(http, f"{server.url}/whep/{room}?publisher=camera", token(room, "viewer"))
    viewer.connection.addTransceiver("video", direction="recvonly")
    viewer.connection.addTransceiver("audio", direction="recvonly")
    await viewer.open()
    video, audio = (transceiver.receiver.track for transceiver in viewer.connection.getTransceivers())
    frames = [await picture(video) for _ in range(10)]
    assert {(frame.width, frame.height) for frame in frames} == {(320, 240)}
    assert await loudest(audio) > 0.1

    assert await viewer.delete() == 200
    assert await viewer.delete() == 404
    assert await publisher.delete() == 200
    await viewer.close()
    await publisher.close()


async def test_whip_publisher_is_seen_by_chromium(
    http: aiohttp.ClientSession, server: Server, room: str, join: Join
) -> None:
    chromium = await join("chromium", camera=False, microphone=False)
    publisher = HttpPeer(http, f"{server.url}/whip/{room}", token(room, "camera"))
    publisher.connection.addTrack(MovingPicture(640, 480))
    await publisher.open()

    async def decoded() -> int:
        tracks = (await chromium.call("seen")).get("camera", {})
        return max((track["framesDecoded"] for track in tracks.values()), default=0)

    await until(decoded, lambda count: count > 20, 15, "frames of the WHIP publisher")
    assert await publisher.delete() == 200
    await until(chromium.summary, lambda s: "camera" not in s["participants"], 5, "the publisher's end")
    await publisher.close()


async def test_chromium_is_seen_by_a_whep_viewer_that_came_first(
    http: aiohttp.ClientSession, server: Server, room: str, join: Join
) -> None:
    viewer = HttpPeer(http, f"{server.url}/whep/{room}?publisher=chromium", token(room, "viewer"))
    viewer.connection.addTransceiver("video", direction="recvonly")
    await viewer.open()
    small = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}
    await join("chromium", capture=small, publish={"simulcast": False}, microphone=False)
    frame = await picture(viewer.connection.getTransceivers()[0].receiver.track, 20)
    assert (frame.width, frame.height) == (320, 240)
    await viewer.close()
