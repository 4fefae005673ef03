"""What the browser part of the quality measurement makes of pictures and of a receiver's notes."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from bench.quality.browser import recording, stamp
from bench.quality.browser.call import Noted
from bench.quality.browser.link import Link, candidate
from bench.quality.browser.measure import FREEZE, INTERVAL, PERIOD, Seen
from bench.quality.browser.metrics import LAYERS, share_of_best
from bench.quality.browser.scenarios import QUICK, SCENARIOS
from bench.quality.browser.scenarios import Path as Way
from bench.record import Ivf

READY = 1_700_000_000.0
ANSWER = (
    "v=0\r\na=ice-lite\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    "a=candidate:1 1 udp 2130706431 10.0.0.1 7882 typ host\r\n"
    "a=candidate:2 1 udp 2130706430 192.168.0.7 7882 typ host\r\n"
    "a=end-of-candidates\r\n"
)


def test_stamps_survive_an_encoder_that_has_to_save() -> None:
    layer = recording.LAYERS[0]
    predicted, keyframes = (recording.encode(layer, keyframes=wanted) for wanted in (False, True))
    assert len(predicted) == len(keyframes) == stamp.FRAMES
    # The inverse key frame flag (RFC 6386 section 9.1).
    assert all(frame[0] & 1 for frame in predicted)
    assert not any(frame[0] & 1 for frame in keyframes)
    decoder = av.CodecContext.create("vp8", "r")
    assert isinstance(decoder, VideoCodecContext)
    # A keyframe of the other encoding where one is asked for, then on, over the seam.
    numbers = [number % stamp.FRAMES for number in range(200, 200 + stamp.FRAMES)]
    for place, number in enumerate(numbers):
        content = (keyframes if place in (0, 90) else predicted)[number]
        (frame,) = decoder.decode(av.Packet(content))
        assert stamp.read(frame.to_ndarray().astype(np.uint8)[: layer.height]) == number


def test_a_damaged_stamp_has_no_number() -> None:
    picture = np.full((270, 320), 128, np.uint8)
    assert stamp.read(picture[:180]) is None
    stamp.draw(picture, 311)
    assert stamp.read(picture[:180]) == 311
    side = 320 // stamp.ACROSS
    for block in range(stamp.BLOCKS):
        broken = picture[:180].copy()
        broken[:side, block * side : (block + 1) * side] = 252 - broken[:side, block * side : (block + 1) * side]
        assert stamp.read(broken) is None, block


def noted(frames: list[tuple[float, int]], *, delay: float = 0.05, missed: int = 0) -> Noted:
    """A receiver that was shown frames of these heights at these times; before the last one the page missed some."""
    notes = []
    for place, (at, height) in enumerate(frames):
        shown = READY + at
        number = round((shown - delay) / INTERVAL) % stamp.FRAMES
        presented = place + 1 + (missed if place == len(frames) - 1 else 0)
        notes.append(["1", shown * 1e3, 0, height, presented, number])
    return Noted(READY, frames=notes)


def test_delays_are_those_since_the_frame_was_due() -> None:
    due = [(place + 0.0) * INTERVAL for place in range(400)]
    offset = READY % INTERVAL
    seen = Seen(noted([(at - offset + 0.05, 720) for at in due], delay=0.05), 20)
    delays = seen.delays()
    assert len(delays) == len(due)
    assert due[-1] + 1 > PERIOD
    assert max(abs(delay - 0.05) for delay in delays) < 1e-4


def test_a_gap_is_a_freeze_only_when_nothing_was_shown() -> None:
    steady = [(place * INTERVAL, 720) for place in range(60)]
    end = steady[-1][0]
    assert Seen(noted(steady), end).freezes() == []
    late = [*steady, (end + FREEZE + 0.1, 720)]
    ((begun, length),) = Seen(noted(late), late[-1][0] + 0.01).freezes()
    assert begun == pytest.approx(end)
    assert length == pytest.approx(FREEZE + 0.1)
    # The page was busy, the browser was not.
    assert Seen(noted(late, missed=8), late[-1][0] + 0.01).freezes() == []
    # What ends before the run does is a freeze to its end.
    ((_, rest),) = Seen(noted(steady), end + 3).freezes()
    assert rest == pytest.approx(3)


def test_use_counts_frames_against_the_best_layer_that_fits() -> None:
    path = Way([(0, 10_000_000), (5, 1_000_000)])
    frames = [(place * INTERVAL, 720 if place < 150 else 360) for place in range(300)]
    assert share_of_best(path, Seen(noted(frames), 10)) == pytest.approx(1, abs=0.01)
    # Every other frame is a slower picture, and still a picture; a freeze is none.
    half = [frame for place, frame in enumerate(frames) if place % 2]
    assert share_of_best(path, Seen(noted(half), 10)) == pytest.approx(1, abs=0.02)
    torn = [(at, height) for at, height in frames if not 6 < at < 8]
    expected = (LAYERS[720] + LAYERS[360] * 0.6) / (LAYERS[720] + LAYERS[360])
    assert share_of_best(path, Seen(noted(torn), 10)) == pytest.approx(expected, abs=0.01)


def test_frames_never_decoded_are_lost() -> None:
    one = noted([(0.0, 720)])
    one.counted = ["framesDecoded"]
    # One in ten is missing.
    one.samples = [["video", "1", (READY + second) * 1e3, [27 * second]] for second in range(11)]
    assert Seen(one, 20).undecoded(4) == pytest.approx(0.1, abs=1e-6)
    assert Seen(one, 3).undecoded(4) == 1


def test_the_page_is_sent_to_the_link() -> None:
    assert candidate(ANSWER) == ("10.0.0.1", 7882)
    rewritten = Link("10.77.0.1", 5_000).rewrite(ANSWER)
    assert rewritten.count("a=candidate") == 1
    assert candidate(rewritten) == ("10.77.0.1", 5_000)
    assert "\r\n\r\n" not in rewritten
    assert rewritten.endswith("a=end-of-candidates\r\n")
    with pytest.raises(ValueError, match="no IPv4 candidate"):
        candidate("v=0\r\n")


def test_scenarios_fit_their_time() -> None:
    total = sum(scenario.seconds + 3 for scenario in SCENARIOS)
    assert 2 * 3 * total / 60 <= 25
    assert 2 * sum(scenario.seconds + 3 for scenario in SCENARIOS if scenario.name in QUICK) / 60 <= 4
    for scenario in SCENARIOS:
        for path in scenario.paths:
            times = [at for at, _ in path.capacities]
            assert times[0] == 0
            assert all(a < b for a, b in pairwise(times))
            assert times[-1] < scenario.seconds
            json.dumps([path.down, path.up, path.changes])


def test_recordings_are_ivf(tmp_path: Path) -> None:
    assert not recording.is_complete(tmp_path)
    frames = [b"\x01\x02", b"\x03"]
    file = Ivf(tmp_path / "a.ivf", b"VP80", (320, 180), 30)
    for content in frames:
        file.add(content)
    assert file.save() == 3
    data = (tmp_path / "a.ivf").read_bytes()
    assert data[:4] == b"DKIF"
    assert struct.unpack_from("<I", data, 32) == (2,)
