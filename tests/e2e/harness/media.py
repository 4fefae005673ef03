"""Media for peers that have no camera: a moving picture and a tone."""

import asyncio
import fractions
import time

import numpy as np
from aiortc import VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack
from av import AudioFrame, VideoFrame

SAMPLE_RATE = 48_000
FRAME_SAMPLES = 960


class MovingPicture(VideoStreamTrack):
    """Grey bars that move, 30 frames/s."""

    def __init__(self, width: int = 320, height: int = 240) -> None:
        super().__init__()
        self._base = np.tile(np.linspace(0, 255, width, dtype=np.uint8), (height, 1))
        self._count = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        self._count += 1
        grey = np.roll(self._base, self._count * 4, axis=1)
        frame = VideoFrame.from_ndarray(np.stack([grey] * 3, axis=-1), format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """440 Hz at half of full scale, 20 ms frames."""

    def __init__(self) -> None:
        super().__init__()
        self._began: float | None = None
        self._samples = 0

    async def recv(self) -> AudioFrame:
        self._began = self._began or time.monotonic()
        due = self._began + self._samples / SAMPLE_RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        t = (np.arange(FRAME_SAMPLES) + self._samples) / SAMPLE_RATE
        wave = (np.sin(2 * np.pi * 440 * t) * 16_000).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._samples, fractions.Fraction(1, SAMPLE_RATE)
        self._samples += FRAME_SAMPLES
        return frame


def loudness(frame: AudioFrame) -> float:
    """Root mean square of the samples, as a share of full scale."""
    samples = frame.to_ndarray().astype(np.float64)
    return float(np.sqrt(np.mean(samples**2)) / 32_768)


async def picture(track: MediaStreamTrack, within: float = 10) -> VideoFrame:
    """The next decoded picture."""
    frame = await asyncio.wait_for(track.recv(), within)
    assert isinstance(frame, VideoFrame)
    return frame


async def loudest(track: MediaStreamTrack, frames: int = 100, within: float = 10) -> float:
    """Loudness of the loudest of some decoded audio frames."""
    levels = []
    for _ in range(frames):
        frame = await asyncio.wait_for(track.recv(), within)
        assert isinstance(frame, AudioFrame)
        levels.append(loudness(frame))
    return max(levels)
