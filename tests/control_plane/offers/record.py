"""Records offers of real peers into this folder: `python -m tests.control_plane.offers.record`.

Needs Chromium, Firefox and the web client's `livekit-client`. Run it when a peer changes, and look at the difference.
`safari_*.sdp` is written by hand: Safari does not run here.
"""

import asyncio
import base64
import gzip
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from livekit import api, rtc
from livekit.protocol.models import ServerInfo
from livekit.protocol.rtc import JoinRequest, JoinResponse, SignalRequest, SignalResponse, WrappedJoinRequest
from playwright.async_api import async_playwright

from tests.e2e.harness.firefox import Firefox
from tests.e2e.harness.pages import CHROMIUM_ARGUMENTS
from tests.e2e.harness.site import serve_site

HERE = Path(__file__).parent

PUBLISH = """async (simulcast) => {
  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const [audio] = stream.getAudioTracks(), [video] = stream.getVideoTracks();
  const pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  const layers = [{rid: 'q', scaleResolutionDownBy: 4}, {rid: 'h', scaleResolutionDownBy: 2}, {rid: 'f'}];
  pc.createDataChannel('_reliable');
  pc.addTransceiver(audio, {direction: 'sendonly', streams: [stream]});
  pc.addTransceiver(video, {direction: 'sendonly', streams: [stream], sendEncodings: simulcast ? layers : undefined});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
RECEIVE = """async () => {
  const pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  for (const kind of ['audio', 'audio', 'audio', 'video', 'video', 'video'])
    pc.addTransceiver(kind, {direction: 'recvonly'});
  pc.createDataChannel('_lossy', {ordered: false, maxRetransmits: 0});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
SENDRECV = """async () => {
  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const pc = new RTCPeerConnection();
  for (const track of stream.getTracks()) pc.addTrack(track, stream);
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
CONNECT = """async ({url, token, single}) => {
  const room = new LivekitClient.Room({singlePeerConnection: single});
  room.connect(url, token, {maxRetries: 0}).catch(() => {});
}"""


async def main() -> None:
    async with serve_site() as site, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS)
        page = await (await browser.new_context(permissions=["camera", "microphone"])).new_page()
        await page.goto(site)
        write("chromium_simulcast", await page.evaluate(PUBLISH, True))
        write("chromium_publish", await page.evaluate(PUBLISH, False))
        write("chromium_receive", await page.evaluate(RECEIVE))
        write("chromium_sendrecv", await page.evaluate(SENDRECV))
        for single in (True, False):
            async with Signaling() as signaling:
                arguments = {"url": signaling.url, "token": livekit_token(), "single": single}
                await page.evaluate(CONNECT, arguments)
                write(f"livekit_js_{'v1' if single else 'v0'}", await asyncio.wait_for(signaling.offer, 20))
        await browser.close()
        async with Firefox() as firefox:
            await firefox.goto(site)
            write("firefox_simulcast", await firefox.evaluate(PUBLISH, True))
            write("firefox_publish", await firefox.evaluate(PUBLISH, False))
            write("firefox_receive", await firefox.evaluate(RECEIVE))
            write("firefox_sendrecv", await firefox.evaluate(SENDRECV))
    async with Signaling() as signaling:
        room = rtc.Room()
        connecting = asyncio.ensure_future(room.connect(signaling.url, livekit_token()))
        write("livekit_python_v1", await asyncio.wait_for(signaling.offer, 20))
        connecting.cancel()
    for directions in ("sendonly", "recvonly", "sendrecv"):
        write(f"aiortc_{directions}", await aiortc_offer(directions))


async def aiortc_offer(direction: str) -> str:
    connection = RTCPeerConnection()
    for track in (AudioStreamTrack(), VideoStreamTrack()):
        connection.addTransceiver(track.kind if direction == "recvonly" else track, direction=direction)
    connection.createDataChannel("chat")
    await connection.setLocalDescription(await connection.createOffer())
    sdp = connection.localDescription.sdp
    await connection.close()
    return str(sdp)


class Signaling:
    """Enough of the LiveKit protocol for a client to show its first offer."""

    def __init__(self) -> None:
        self.offer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> "Signaling":
        app = web.Application()
        app.router.add_get("/rtc/v1", self._v1)
        app.router.add_get("/rtc", self._v0)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _v1(self, request: web.Request) -> web.WebSocketResponse:
        encoded = request.query["join_request"]
        wrapped = WrappedJoinRequest.FromString(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        body = gzip.decompress(wrapped.join_request) if wrapped.compression else wrapped.join_request
        self.offer.set_result(JoinRequest.FromString(body).publisher_offer.sdp)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    async def _v0(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        join = JoinResponse(subscriber_primary=True, fast_publish=True, ping_interval=5, ping_timeout=15)
        join.room.sid, join.room.name = "RM_x", "r"
        join.participant.sid, join.participant.identity = "PA_x", "me"
        join.server_info.CopyFrom(ServerInfo(version="1.9.0", protocol=15))
        await socket.send_bytes(SignalResponse(join=join).SerializeToString())
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                signal = SignalRequest.FromString(message.data)
                if signal.HasField("offer"):
                    self.offer.set_result(signal.offer.sdp)
                    break
        await socket.close()
        return socket


def livekit_token() -> str:
    grants = api.VideoGrants(room_join=True, room="r")
    return api.AccessToken("devkey", "secret").with_identity("me").with_grants(grants).to_jwt()


def write(name: str, sdp: Any) -> None:
    (HERE / f"{name}.sdp").write_bytes(str(sdp).encode())
    print(f"{name}: {len(sdp)} characters, {sdp.count('m=')} sections")


if __name__ == "__main__":
    asyncio.run(main())
