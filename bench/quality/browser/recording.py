"""Makes the stamped recording that the publisher replays: `python -m bench.quality.browser.recording --out FOLDER`.

Three simulcast layers of VP8 and speech. Each layer is recorded twice: as a browser encodes a call, one frame predicted
from the other, and with every frame as a keyframe, so that whoever replays it can send a keyframe at any time, as an
encoder does that is asked for one. What follows such a keyframe was predicted from another encoding of the same
picture; the difference is small, and the stamp stays readable (`tests/test_quality_browser.py`).
"""

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from bench.quality.browser import stamp
from bench.record import FRAME_RATE, PICTURES, VIDEO_ENCODERS, Ivf, Picture, moving_picture, record_audio

# The lowest is what LiveKit's clients send in that size, so that it fits beside sound into 250 kb/s.
LAYERS = (Picture("0", 320, 180, 110_000), *PICTURES[1:3])
COARSEST = "56"
"""Quantizer index of predicted frames at most, as libwebrtc has it."""
KEYFRAME = "40"
"""Quantizer index of keyframes. They come to 5 (720p) to 8 (180p) mean frames; libwebrtc allows up to 9."""
WARM_UP = 60
"""Frames after which a recording shows no more that the first of them was a keyframe."""


def stamped_pictures(width: int, height: int, *, first: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Frames for ever, planar 4:2:0, shape (1.5 × height, width): the moving picture, numbered from `first` on."""
    moving = [
        VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p").to_ndarray().astype(np.uint8)
        for pixels in moving_picture(width, height)
    ]
    for place in count(first):
        picture = moving[place % len(moving)].copy()
        stamp.draw(picture, place % stamp.FRAMES)
        yield picture


def encode(picture: Picture, *, keyframes: bool) -> list[bytes]:
    """`stamp.FRAMES` encoded frames of one layer, all of them keyframes or none but by accident."""
    encoder, _, options = VIDEO_ENCODERS["vp8"]
    context = VideoCodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)
    finest = KEYFRAME if keyframes else "2"
    coarsest = KEYFRAME if keyframes else COARSEST
    context.width, context.height, context.pix_fmt = picture.width, picture.height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FRAME_RATE), Fraction(FRAME_RATE)
    context.bit_rate, context.thread_count = picture.bitrate, 1
    context.gop_size = 1 if keyframes else 100 * stamp.FRAMES
    rate = {"maxrate": str(picture.bitrate), "bufsize": str(picture.bitrate // 2)}
    context.options = {**options, **rate, "qmin": finest, "qmax": coarsest}
    # What comes first only warms up: a recording begins with what follows its own end.
    before = 0 if keyframes else WARM_UP
    encoded: list[bytes] = []
    pictures = stamped_pictures(picture.width, picture.height, first=-before)
    for time, pixels in zip(range(before + stamp.FRAMES), pictures, strict=False):
        frame = VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts, frame.time_base = time, context.time_base
        encoded += [bytes(packet) for packet in context.encode(frame)]
    encoded += [bytes(packet) for packet in context.encode(None)]
    assert len(encoded) == before + stamp.FRAMES, "an encoder without look-ahead gives a packet per frame"
    return encoded[-stamp.FRAMES :]


def record(folder: Path) -> Iterator[tuple[Path, float]]:
    """Makes all of it in `folder`, which is made too: each file with its bits per second as it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in LAYERS:
        for suffix, keyframes in (("", False), ("-key", True)):
            path = folder / f"vp8-{picture.name}{suffix}.ivf"
            file = Ivf(path, b"VP80", (picture.width, picture.height), FRAME_RATE)
            for content in encode(picture, keyframes=keyframes):
                file.add(content)
            yield path, file.save() * 8 * FRAME_RATE / stamp.FRAMES
    yield record_audio(folder)


def is_complete(folder: Path) -> bool:
    """Whether `record` has made everything there."""
    names = [f"vp8-{picture.name}{suffix}" for picture in LAYERS for suffix in ("", "-key")]
    return all((folder / f"{name}.ivf").is_file() for name in [*names, "opus"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.browser.recording", description="Make the recording."
    )
    parser.add_argument("--out", type=Path, default=Path("target/load/stamped"), help="folder (default: %(default)s)")
    try:
        for path, rate in record(parser.parse_args().out):
            print(f"{path}  {rate / 1_000:.0f} kb/s", flush=True)
    except (OSError, av.FFmpegError) as error:
        sys.exit(f"bench.quality.browser.recording: {error}")


if __name__ == "__main__":
    main()
