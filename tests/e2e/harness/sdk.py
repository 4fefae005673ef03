"""A participant of the unmodified Python SDK (PyPI `livekit`, libwebrtc in Rust)."""

import asyncio
from collections.abc import Coroutine

import numpy as np
from livekit import rtc

WIDTH, HEIGHT = 320, 240


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
