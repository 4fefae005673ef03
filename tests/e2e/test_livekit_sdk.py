"""The unmodified Python SDK (PyPI `livekit`, libwebrtc in Rust) with Chromium and with itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import numpy as np
import pytest
import pytest_asyncio
from livekit import rtc

from tests.e2e.conftest import Join
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

WIDTH, HEIGHT = 320, 240
SdkJoin = Callable[[str], Awaitable["SdkParticipant"]]


class SdkParticipant:
    """A participant that counts what it receives."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.frames: dict[str, int] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.loudest: dict[str, int] = {}
        self.data: list[tuple[str, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.room.on("track_subscribed", self._on_track)
        self.room.on("data_received", self._on_data)

    async def publish(self) -> None:
        """A moving picture and a tone."""
        video, audio = rtc.VideoSource(WIDTH, HEIGHT), rtc.AudioSource(48_000, 1)
        camera = rtc.LocalVideoTrack.create_video_track("camera", video)
        microphone = rtc.LocalAudioTrack.create_audio_track("microphone", audio)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False)
        await self.room.local_participant.publish_track(camera, options)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(microphone, options)
        self._start(self._film(video))
        self._start(self._hum(audio))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    async def _film(self, source: rtc.VideoSource) -> None:
        for count in range(10_000):
            picture = np.full((HEIGHT, WIDTH, 4), count % 256, dtype=np.uint8)
            source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, picture.tobytes()))
            await asyncio.sleep(1 / 15)

    async def _hum(self, source: rtc.AudioSource) -> None:
        for count in range(100_000):
            t = (np.arange(480) + 480 * count) / 48_000
            wave = (np.sin(2 * np.pi * 440 * t) * 16_000).astype(np.int16)
            await source.capture_frame(rtc.AudioFrame(wave.tobytes(), 48_000, 1, 480))

    def _on_track(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self._start(self._watch(rtc.VideoStream(track), participant.identity))
        else:
            self._start(self._listen(rtc.AudioStream(track), participant.identity))

    async def _watch(self, stream: rtc.VideoStream, identity: str) -> None:
        async for event in stream:
            self.frames[identity] = self.frames.get(identity, 0) + 1
            self.sizes[identity] = (event.frame.width, event.frame.height)

    async def _listen(self, stream: rtc.AudioStream, identity: str) -> None:
        async for event in stream:
            peak = int(np.max(np.abs(np.frombuffer(event.frame.data, dtype=np.int16).astype(np.int32)), initial=0))
            self.loudest[identity] = max(peak, self.loudest.get(identity, 0))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        self.data.append((packet.participant.identity if packet.participant else "", packet.data))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)


@pytest_asyncio.fixture(loop_scope="session")
async def sdk_join(server: Server, room: str) -> AsyncIterator[SdkJoin]:
    participants: list[SdkParticipant] = []

    async def join_one(identity: str) -> SdkParticipant:
        participant = SdkParticipant()
        participants.append(participant)
        await participant.room.connect(server.ws_url, token(room, identity))
        return participant

    yield join_one
    for participant in participants:
        await participant.close()


async def now(value: object) -> object:
    return value


async def test_python_sdk_with_chromium(sdk_join: SdkJoin, join: Join) -> None:
    small = {"resolution": {"width": 320, "height": 240, "frameRate": 15}}
    chromium = await join("chromium", capture=small)
    python = await sdk_join("python")
    await python.publish()
    await until(lambda: chromium.seen("python"), lambda t: t.get("framesDecoded", 0) > 20, 20, "Chromium sees Python")
    await until(
        lambda: chromium.seen("python", "microphone"), lambda t: t.get("energy", 0) > 0.01, 10, "Chromium hears Python"
    )
    await until(lambda: now(python.frames.get("chromium", 0)), lambda count: count > 20, 20, "Python sees Chromium")  # type: ignore[operator]
    await until(lambda: now(python.loudest.get("chromium", 0)), lambda peak: peak > 500, 10, "Python hears Chromium")  # type: ignore[operator]
    await python.room.local_participant.publish_data(b"from python", reliable=True)
    await until(chromium.summary, lambda s: [d["text"] for d in s["data"]] == ["from python"], 5, "data to Chromium")
    await chromium.call("send", {"text": "from chromium", "reliable": True})
    await until(
        lambda: now(list(python.data)), lambda got: got == [("chromium", b"from chromium")], 5, "data to Python"
    )


async def test_two_python_sdks(sdk_join: SdkJoin) -> None:
    one, two = await sdk_join("one"), await sdk_join("two")
    await one.publish()
    await until(lambda: now(two.frames.get("one", 0)), lambda count: count > 20, 20, "video")  # type: ignore[operator]
    await until(lambda: now(two.loudest.get("one", 0)), lambda peak: peak > 8_000, 10, "a tone at half scale")  # type: ignore[operator]
    assert two.sizes["one"] == (WIDTH, HEIGHT)
