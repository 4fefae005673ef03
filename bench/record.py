"""Makes the recordings that `pysfu-load` replays: `python -m bench.record --out target/load`, or `make recordings`.

A moving picture by libvpx (VP8) and x264 (H.264, constrained baseline) in three simulcast layers and one single layer,
and speech-like sound by libopus. Everything is computed from a fixed seed; only the encoders' versions make a
difference.

The container is IVF for all of them (Opus under the code `OPUS`, a packet per frame): 32 bytes of header, then frames
of 4 bytes length, 8 bytes time and content, little-endian.
"""

import argparse
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

FRAME_RATE = 30
SAMPLE_RATE = 48_000
OPUS_FRAME = SAMPLE_RATE // 50
"""Samples of 20 ms."""
SECONDS = 3
"""Length of a recording: one keyframe at its beginning, and so one every 3 s when it is replayed round and round."""
OPUS_BITRATE = 32_000


@dataclass(frozen=True)
class Picture:
    """One encoding of the moving picture. `bitrate` in bits per second."""

    name: str
    width: int
    height: int
    bitrate: int


PICTURES = (
    Picture("0", 320, 180, 150_000),
    Picture("1", 640, 360, 500_000),
    Picture("2", 1_280, 720, 1_500_000),
    Picture("single", 1_280, 720, 2_500_000),
)

VIDEO_ENCODERS = {
    "vp8": (
        "libvpx",
        b"VP80",
        # As a browser encodes a call: one pass, no look-ahead, one partition.
        {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "1", "auto-alt-ref": "0"},
    ),
    "h264": (
        "libx264",
        b"H264",
        # Sliced threads would cut each frame into many NAL units.
        {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline", "x264-params": "sliced-threads=0"},
    ),
}


class Ivf:
    """Writes an IVF file. Times count in units of 1 / `rate` seconds."""

    def __init__(self, path: Path, code: bytes, size: tuple[int, int], rate: int) -> None:
        self._path = path
        self._head = code, size, rate
        self._frames: list[bytes] = []

    def add(self, content: bytes) -> None:
        """The next frame, one unit of time after the one before."""
        self._frames.append(content)

    def save(self) -> int:
        """Writes the file and returns its bytes of content."""
        code, size, rate = self._head
        parts = [b"DKIF", struct.pack("<HH4sHHIIII", 0, 32, code, *size, rate, 1, len(self._frames), 0)]
        for time, content in enumerate(self._frames):
            parts += [struct.pack("<IQ", len(content), time), content]
        self._path.write_bytes(b"".join(parts))
        return sum(len(content) for content in self._frames)


def moving_picture(width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of `SECONDS`: RGB, shape (height, width, 3), values 0 to 255.

    A textured background drifts, a bright shape circles before it, and there is the noise of a camera: detail and
    motion for an encoder to spend its bits on, the same at every size.
    """
    random = np.random.default_rng(1)
    texture = (110 + 28 * random.normal(0, 1, (45, 80, 3))).astype(np.float32)
    # Another part of it in each frame.
    noise = random.normal(0, 2.5, (height + 64, width + 64, 1)).astype(np.float32)
    x, y = (np.arange(count, dtype=np.float32) / count for count in (width, height))
    for index in range(SECONDS * FRAME_RATE):
        phase = 2 * np.pi * index / (SECONDS * FRAME_RATE)
        rows = np.floor(y * 45 + 6 * np.sin(phase)).astype(np.intp) % 45
        columns = np.floor(x * 80 + 9 * np.cos(phase)).astype(np.intp) % 80
        frame = texture[rows[:, None], columns]
        across = (x - 0.5 - 0.3 * np.cos(3 * phase)) ** 2
        down = ((y - 0.5) * 0.56 - 0.12 * np.sin(3 * phase)) ** 2
        face = np.clip(1 - np.sqrt(down[:, None] + across) / 0.12, 0, 1).astype(np.float32)[..., None]
        frame += face * (np.array([225, 180, 150], np.float32) - frame)
        top, left = random.integers(0, 64, 2)
        frame += noise[top : top + height, left : left + width]
        yield np.clip(frame, 0, 255).astype(np.uint8)


def speech() -> NDArray[np.float32]:
    """`SECONDS` of something like speech: mono samples at `SAMPLE_RATE`, shape (samples,), values -1 to 1.

    A pulse train of wandering pitch through three resonances that change with every syllable (the source-filter model:
    Fant, "Acoustic Theory of Speech Production", 1960), hiss between syllables, and pauses.
    """
    random = np.random.default_rng(2)
    count = SECONDS * SAMPLE_RATE
    time = np.arange(count) / SAMPLE_RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time) + 8 * np.sin(2 * np.pi * 3.1 * time)
    cycles = np.cumsum(pitch) / SAMPLE_RATE
    source = np.zeros(count)
    source[np.flatnonzero(np.diff(np.floor(cycles)) > 0)] = 1.0
    out = np.zeros(count)
    syllable = SAMPLE_RATE // 5
    for start in range(0, count, syllable):
        if random.random() < 0.15:
            continue
        end = min(start + syllable, count)
        first, second, third = random.uniform((300, 900, 2_200), (800, 2_200, 3_000))
        # The impulse response of resonances in parallel, 30 ms of it.
        tail = np.arange(SAMPLE_RATE * 30 // 1_000) / SAMPLE_RATE
        response = sum(
            gain * np.exp(-np.pi * width * tail) * np.sin(2 * np.pi * formant * tail)
            for gain, formant, width in ((1.0, first, 80.0), (0.6, second, 100.0), (0.3, third, 140.0))
        )
        voiced = np.convolve(source[start:end], response)[: end - start]
        out[start:end] = (voiced + random.normal(0, 0.01, end - start)) * np.hanning(end - start)
    sound: NDArray[np.float32] = (0.5 * out / np.abs(out).max()).astype(np.float32)
    return sound


class VideoRecorder:
    """Encodes one picture into a file."""

    def __init__(self, folder: Path, codec: str, picture: Picture) -> None:
        encoder, code, options = VIDEO_ENCODERS[codec]
        context = VideoCodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = picture.width, picture.height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, FRAME_RATE), Fraction(FRAME_RATE)
        context.bit_rate = picture.bitrate
        # One keyframe at the beginning, none where the encoder would see a cut.
        context.gop_size = 10 * SECONDS * FRAME_RATE
        context.thread_count = 1
        context.options = {**options, "maxrate": str(picture.bitrate), "bufsize": str(picture.bitrate // 2)}
        self.path = folder / f"{codec}-{picture.name}.ivf"
        self._context = context
        self._file = Ivf(self.path, code, (picture.width, picture.height), FRAME_RATE)

    def add(self, time: int, frame: VideoFrame) -> None:
        """The frame with this number."""
        frame.pts, frame.time_base = time, self._context.time_base
        self._encode(frame)

    def save(self) -> tuple[Path, float]:
        """Writes the file. Returns it and its bits per second."""
        self._encode(None)
        return self.path, self._file.save() * 8 / SECONDS

    def _encode(self, frame: VideoFrame | None) -> None:
        for packet in self._context.encode(frame):
            self._file.add(bytes(packet))


def record_video(folder: Path, pictures: Sequence[Picture] = PICTURES) -> Iterator[tuple[Path, float]]:
    """Encodes the moving picture as each of `pictures`, by each codec. Yields the files with their bits per second."""
    for size in sorted({(picture.width, picture.height) for picture in pictures}):
        alike = [picture for picture in pictures if (picture.width, picture.height) == size]
        recorders = [VideoRecorder(folder, codec, picture) for codec in VIDEO_ENCODERS for picture in alike]
        for time, pixels in enumerate(moving_picture(*size)):
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            for recorder in recorders:
                recorder.add(time, frame)
        for recorder in recorders:
            yield recorder.save()


def record_audio(folder: Path) -> tuple[Path, float]:
    """Encodes the speech in packets of 20 ms. Returns the file and its bits per second."""
    context = AudioCodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = SAMPLE_RATE, "mono", "flt"
    context.time_base, context.bit_rate = Fraction(1, SAMPLE_RATE), OPUS_BITRATE
    context.options = {"application": "voip", "frame_duration": "20"}
    path = folder / "opus.ivf"
    file = Ivf(path, b"OPUS", (0, 0), SAMPLE_RATE // OPUS_FRAME)
    for index, part in enumerate(speech().reshape(-1, 1, OPUS_FRAME)):
        frame = AudioFrame.from_ndarray(part, format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, index * OPUS_FRAME, context.time_base
        for packet in context.encode(frame):
            file.add(bytes(packet))
    return path, file.save() * 8 / SECONDS


def record(folder: Path) -> Iterator[tuple[Path, float]]:
    """Makes all recordings in `folder`, which is made too: each file with its bits per second as it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    yield from record_video(folder)
    yield record_audio(folder)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description="Make the recordings of pysfu-load.")
    parser.add_argument("--out", type=Path, default=Path("target/load"), help="folder (default: %(default)s)")
    folder: Path = parser.parse_args().out
    count = len(VIDEO_ENCODERS) * len(PICTURES) + 1
    try:
        for index, (path, rate) in enumerate(record(folder), 1):
            print(f"{index:>2} of {count}  {path}  {rate / 1_000:.0f} kb/s", flush=True)
    except (OSError, av.FFmpegError) as error:
        sys.exit(f"bench.record: {error}")


if __name__ == "__main__":
    main()
