"""The numbers that each scenario is about. Names and units are those of the goals (`bench/quality/goals.py`)."""

import math
from collections.abc import Callable, Iterator, Sequence

from bench.quality.browser.measure import INTERVAL, Seen
from bench.quality.browser.scenarios import Path, Scenario
from bench.quality.rows import quantile

Metric = tuple[str, str, float]
"""Name, unit, value."""

TOP = 720
# Bits per second of the recorded layers by height, with what the network adds to them, and of the sound beside them.
LAYERS = {180: 135_000, 360: 570_000, 720: 1_630_000}
SOUND = 60_000
# Left out of what is said of a steady state: how it begins is another matter.
SETTLED = 4.0


def metrics(scenario: Scenario, seen: Sequence[Seen]) -> Iterator[Metric]:
    """Of one run. `seen`: one per path, the first is that of the receiver that is measured."""
    first, path = seen[0], scenario.paths[0]
    freezes = [length for _, length in first.freezes()]
    yield "freeze", "s", sum(freezes)
    yield "longest_freeze", "s", max(freezes, default=0.0)
    yield "freeze_share", "%", 100 * sum(freezes) / (scenario.seconds * max(1, len(first.videos)))
    yield "freezes_counted", "s", first.counter("video", "totalFreezesDuration")
    yield "queue_p95", "ms", first.queue_p95()
    delays = first.delays(since=SETTLED if scenario.seconds > 2 * SETTLED else 0.0)
    yield "frame_delay_p95", "ms", 1e3 * quantile(delays, 0.95) if delays else math.inf
    sound = first.counter("audio", "totalSamplesReceived")
    yield "concealment", "%", 100 * first.counter("audio", "concealedSamples") / sound if sound else math.inf
    yield "plis", "", first.counter("video", "pliCount")
    for prefix, more in OF_SCENARIO.items():
        if scenario.name.startswith(prefix):
            yield from more(scenario, path, seen)


def share_of_best(path: Path, seen: Seen, since: float = 0.0, until: float = math.inf) -> float:
    """What stood on the screen against the best layer that fits the path, in bits: 0 to 1. A freeze is nothing."""
    until = min(until, seen.seconds)
    (frames, *_) = seen.videos or [[]]
    best = sum(_best(path, since + (step + 0.5) * INTERVAL) for step in range(int((until - since) / INTERVAL)))
    shown = 0.0
    for frame, length in seen.shown(frames):
        if since <= frame.at < until:
            shown += min(LAYERS.get(frame.height, 0), _best(path, frame.at)) * min(length, until - frame.at) / INTERVAL
    return shown / best if best else math.nan


def _best(path: Path, at: float) -> int:
    capacity = next(bits for since, bits in reversed(path.capacities) if since <= max(at, 0))
    return max((rate for rate in LAYERS.values() if rate + SOUND <= capacity), default=min(LAYERS.values()))


def _q1(_: Scenario, path: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    (one, *_rest) = seen
    yield "use", "%", 100 * share_of_best(path, one)
    times = [at for at, _ in path.capacities]
    yield "rise", "s", one.first(TOP, times[1])
    yield "fall", "s", _fall(one, times[2], path.capacities[2][1])


def _fall(seen: Seen, since: float, capacity: int) -> float:
    """How long until no more was sent than is carried."""
    sent = next(
        (list(zip(times, values, strict=True)) for name, _, times, values in seen.series() if name == "sent"), []
    )
    below = [at for at, value in sent if at >= since + 0.1 and value <= capacity]
    return min(below) - since if below else math.inf


def _start(_: Scenario, __: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    yield "top_layer", "s", seen[0].first(TOP)


def _return(scenario: Scenario, path: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    (one, *_rest) = seen
    (_, (fell, thin), (rose, _wide)) = path.capacities
    yield "top_layer", "s", one.first(TOP)
    yield "fall", "s", _fall(one, fell, thin)
    lower = [frame.at for frames in one.videos for frame in frames if frame.at >= fell and frame.height < TOP]
    yield "lower_layer", "s", min(lower) - fell if lower else math.inf
    again = one.first(TOP, rose)
    yield "top_layer_again", "s", again
    # Whether it stays there.
    kept = [frame.height for frames in one.videos for frame in frames if frame.at >= rose + again]
    yield "top_layer_kept", "%", 100 * sum(height >= TOP for height in kept) / len(kept) if kept else 0.0
    yield "use", "%", 100 * share_of_best(path, one)


def _loss(scenario: Scenario, path: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    (one, *_rest) = seen
    yield "use", "%", 100 * share_of_best(path, one, since=SETTLED)
    yield "frame_loss", "%", 100 * one.undecoded(SETTLED)
    received = one.counter("video", "packetsReceived")
    repair = one.counter("video", "retransmittedPacketsReceived") + one.counter("video", "fecPacketsReceived")
    yield "redundancy", "%", 100 * repair / received if received else math.inf


def _step(scenario: Scenario, path: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    (one, *_rest) = seen
    ((at, _change), *_more) = path.changes
    before = share_of_best(path, one, SETTLED, at)
    yield "dip", "%", 100 * (1 - share_of_best(path, one, at, scenario.seconds) / before) if before else math.inf


def _room(scenario: Scenario, path: Path, seen: Sequence[Seen]) -> Iterator[Metric]:
    bad, healthy = seen
    fell = path.capacities[1][0]
    before, after = healthy.decoded_rate(SETTLED, fell), healthy.decoded_rate(fell, scenario.seconds)
    yield "healthy_change", "%", 100 * abs(1 - after / before) if before else math.inf
    below = [frame.height for frames in healthy.videos for frame in frames if frame.at >= fell and frame.height < TOP]
    yield "healthy_lower_frames", "", float(len(below))
    yield "healthy_freeze", "s", max((length for _, length in healthy.freezes()), default=0.0)
    yield "switch_down", "ms", 1e3 * _fall(bad, fell, path.capacities[1][1])


OF_SCENARIO: dict[str, Callable[[Scenario, Path, Sequence[Seen]], Iterator[Metric]]] = {
    "q1-": _q1,
    "q2-start-": _start,
    "q2-10-1-10": _return,
    "q2-starve": _return,
    "q3-5pct": _loss,
    "q3-10pct": _loss,
    "q3-step": _step,
    "q4-": _loss,
    "q6-": _room,
}
