"""From what one receiver noted to numbers and time series."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from bench.quality.browser import stamp
from bench.quality.browser.call import Noted
from bench.quality.rows import quantile

INTERVAL = 33_333_333 / 1e9
"""Between frames, s, as the load engine counts them."""
PERIOD = stamp.FRAMES * INTERVAL
FREEZE = max(3 * INTERVAL, INTERVAL + 0.15)
"""A longer gap between frames is a freeze, s."""
BIN = 0.25
"""Resolution of series, s."""


@dataclass(frozen=True)
class Frame:
    """A frame as it was shown: s since the transport was ready."""

    at: float
    height: int
    delay: float
    """Since it was due at the publisher, s; not a number where the stamp was unreadable."""
    number: int
    presented: int
    """How many were shown so far, counted by the browser: the page may have missed some."""


class Seen:
    """What one receiver saw of one run."""

    def __init__(self, noted: Noted, seconds: float) -> None:
        self.seconds = seconds
        self._noted = noted
        self.frames: dict[str, list[Frame]] = {}
        for mid, shown, _, height, presented, number in noted.frames:
            at = shown / 1e3 - noted.ready
            if at <= seconds:
                delay = (shown / 1e3 - number * INTERVAL) % PERIOD if number >= 0 else math.nan
                # What was shown a little "before" it was due is a matter of clocks.
                delay = delay - PERIOD if delay > PERIOD - 1 else delay
                self.frames.setdefault(mid, []).append(Frame(at, height, delay, number, presented))
        for frames in self.frames.values():
            frames.sort(key=lambda frame: frame.at)

    @property
    def videos(self) -> list[list[Frame]]:
        """The frames of each video."""
        return list(self.frames.values())

    def first(self, height: int, since: float = 0.0) -> float:
        """How long after `since` until a frame of this height was shown; infinite if none was."""
        times = [frame.at for frames in self.videos for frame in frames if frame.height >= height and frame.at >= since]
        return min(times) - since if times else math.inf

    def gaps(self, frames: Sequence[Frame]) -> Iterator[tuple[float, float]]:
        """Freezes: begin and length. Frames that the page missed are no gap; the end counts as a frame."""
        for before, after in pairwise(frames):
            gap = (after.at - before.at) / max(1, after.presented - before.presented)
            if gap > FREEZE:
                yield before.at, after.at - before.at
        if frames and self.seconds - frames[-1].at > FREEZE:
            yield frames[-1].at, self.seconds - frames[-1].at

    def shown(self, frames: Sequence[Frame]) -> Iterator[tuple[Frame, float]]:
        """Each frame and how long it was shown: until the next one, but one frame's time where that was a freeze."""
        for place, frame in enumerate(frames):
            length = (frames[place + 1].at if place + 1 < len(frames) else self.seconds) - frame.at
            yield frame, length if length <= FREEZE else INTERVAL

    def decoded_rate(self, since: float, until: float = math.inf) -> float:
        """Frames decoded per second, of all videos together."""
        total = 0.0
        for values in self.counted("video", "framesDecoded").values():
            inside = [(at, value) for at, value in values if since <= at <= until]
            if len(inside) > 1:
                (begun, before), (ended, after) = inside[0], inside[-1]
                total += (after - before) / (ended - begun)
        return total

    def undecoded(self, since: float) -> float:
        """Of all frames that were due, share that was never decoded: 0 to 1."""
        return max(0.0, 1 - self.decoded_rate(since) * INTERVAL / max(1, len(self.videos)))

    def freezes(self) -> list[tuple[float, float]]:
        """Of all videos, in order."""
        return sorted(gap for frames in self.videos for gap in self.gaps(frames))

    def counted(self, kind: str, name: str) -> dict[str, list[tuple[float, float]]]:
        """A counter of getStats by mid: (s since ready, value)."""
        place = self._noted.counted.index(name)
        found: dict[str, list[tuple[float, float]]] = {}
        for of_kind, mid, at, values in self._noted.samples:
            since = at / 1e3 - self._noted.ready
            if of_kind == kind and since <= self.seconds:
                found.setdefault(mid, []).append((since, float(values[place])))
        return found

    def counter(self, kind: str, name: str, since: float = -math.inf, until: float = math.inf) -> float:
        """How much it grew, over all tracks of a kind."""
        grown = 0.0
        for values in self.counted(kind, name).values():
            inside = [value for at, value in values if since <= at <= until]
            # What was counted before the first look counts, too.
            grown += inside[-1] - (inside[0] if since > 0 else 0.0) if inside else 0.0
        return grown

    def reports(self) -> list[tuple[float, dict[str, Any]]]:
        """The link's statistics towards the receiver, by s since ready."""
        return [
            (report["at"] - self._noted.ready, report["down"])
            for report in self._noted.reports
            if "down" in report and 0 <= report["at"] - self._noted.ready <= self.seconds and not report.get("final")
        ]

    def queue_p95(self) -> float:
        """95 % of the time the queue was not longer than so many ms."""
        waits = [down["queue_delay_ms"] or 0.0 for _, down in self.reports()]
        return quantile(waits, 0.95) if waits else math.nan

    def delays(self, since: float = 0.0, until: float = math.inf) -> list[float]:
        """Of frames that were shown in that time, from their due time at the publisher, s."""
        every = (frame for frames in self.videos for frame in frames)
        return [frame.delay for frame in every if since <= frame.at < until and not math.isnan(frame.delay)]

    def series(self) -> Iterator[tuple[str, str, list[float], list[float]]]:
        """(name, unit, times, values), each over the whole run."""
        reports = self.reports()
        yield "capacity", "bit/s", [at for at, _ in reports], [float(down["capacity"] or 0) for _, down in reports]
        yield "queue", "ms", [at for at, _ in reports], [float(down["queue_delay_ms"] or 0) for _, down in reports]
        for name, key in (("sent", "offered_bytes"), ("delivered", "delivered_bytes")):
            times, rates = _rate([(at, float(down[key])) for at, down in reports])
            yield name, "bit/s", times, rates
        estimates = [(at - self._noted.ready, value) for at, value in self._noted.estimates]
        if estimates:
            yield "estimate", "bit/s", [at for at, _ in estimates], [value for _, value in estimates]
        for index, frames in enumerate(self.videos):
            suffix = f" {index + 1}" if len(self.videos) > 1 else ""
            bins = _bins(frames)
            yield (
                f"height{suffix}",
                "",
                [at for at, _ in bins],
                [float(max(f.height for f in inside)) for _, inside in bins],
            )
            known = [(at, [f.delay for f in inside if not math.isnan(f.delay)]) for at, inside in bins]
            known = [(at, delays) for at, delays in known if delays]
            yield f"delay{suffix}", "ms", [at for at, _ in known], [1e3 * median(delays) for _, delays in known]


def _rate(counter: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Bytes as bit/s over `BIN`."""
    times, rates = [], []
    before = counter[0] if counter else (0.0, 0.0)
    for at, value in counter[1:]:
        if at - before[0] >= BIN:
            times.append(at)
            rates.append(8 * (value - before[1]) / (at - before[0]))
            before = (at, value)
    return times, rates


def _bins(frames: Sequence[Frame]) -> list[tuple[float, list[Frame]]]:
    found: dict[int, list[Frame]] = {}
    for frame in frames:
        found.setdefault(math.floor(frame.at / BIN), []).append(frame)
    return [((place + 0.5) * BIN, found[place]) for place in sorted(found)]
