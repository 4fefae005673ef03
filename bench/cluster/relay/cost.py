"""CPU of a packet over a link beside that of a packet to a client: both by what more of them cost a worker.

Three workers on one CPU at the same time, each with a publisher of video: one has one client, one so many more, and one
so many links instead, each to a worker of another core. Rates, frames and destinations are the same, so batches of the
kernel are as well; and what disturbs one of them disturbs the others.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from bench.cluster.relay.joined import TASKS, core, join, unconnected
from control_plane.server import ControlPlane, ServerOptions
from pysfu import Sfu

KEY, SECRET = "bench", "secret-of-the-bench-of-links-0123"
WORKER_CPU, LOAD_CPU = 0, 1
FRAME_PACKETS = 5
VIDEO = f"1150x{FRAME_PACKETS}"
# The load is even by then.
SETTLE = 1.4
PATIENCE = 60.0  # Seconds.
TOLERANCE = 0.03
# Counts of the core are as fresh.
STATS_INTERVAL: Final = 0.5
RESAMPLED: Final = 2_000
# Rounds in a row: then all begins anew.
MOST_UNSOUND: Final = 8


@dataclass(frozen=True)
class Plan:
    """Destinations, frames per second, seconds of each round, rounds: on shared cores the median of many short rounds
    moves less than that of few long ones."""

    destinations: int = 30
    frames: int = 200
    seconds: float = 1.0
    rounds: int = 90

    @property
    def most_seconds(self) -> float:
        """Of all rounds, those that do not count among them."""
        return 3 * (self.rounds * (self.seconds + STATS_INTERVAL) + PATIENCE)


@dataclass(frozen=True)
class Sample:
    """What one worker did in a while: CPU seconds, packets from publishers, to clients, over links."""

    cpu: float
    packets: int
    clients: int
    links: int

    def __sub__(self, before: "Sample") -> "Sample":
        values = (self.cpu - before.cpu, self.packets - before.packets)
        return Sample(*values, self.clients - before.clients, self.links - before.links)

    def beyond(self, base: "Sample") -> float:
        """CPU seconds of what is more than `base`, for as many packets in."""
        return self.cpu - base.cpu * self.packets / base.packets

    def is_whole(self, clients: int, links: int) -> bool:
        """Each packet went to each."""
        wanted = (self.packets * clients, self.packets * links)
        pairs = zip((self.clients, self.links), wanted, strict=True)
        return self.packets > 0 and all(abs(found - want) <= TOLERANCE * want for found, want in pairs)


@dataclass(frozen=True)
class Round:
    """CPU seconds of a packet to a client, and of one over a link."""

    client: float
    link: float


@dataclass(frozen=True)
class Busy:
    """A core of one worker under load, and how many each packet goes to."""

    media: Sfu
    thread: int
    clients: int
    links: int


async def measure(load: Path, plan: Plan) -> dict[str, Any]:
    """`relay.ratio_to_client_packet` with its interval of 95 %, and CPU µs of both packets: the medians of the rounds.
    Raises TimeoutError when too few rounds are sound."""
    rounds: list[Round] = []
    async with asyncio.timeout(plan.most_seconds):
        while len(rounds) < plan.rounds:
            await _sitting(load, plan, rounds)
    low, high = interval(rounds)
    return {
        "relay.ratio_to_client_packet": ratio(rounds),
        "relay.ratio_interval": [low, high],
        "relay.client_packet_us": median(each.client for each in rounds) * 1e6,
        "relay.link_packet_us": median(each.link for each in rounds) * 1e6,
        "relay.rounds": [
            {"client_us": each.client * 1e6, "link_us": each.link * 1e6, "ratio": each.link / each.client}
            for each in rounds
        ],
    }


async def _sitting(load: Path, plan: Plan, rounds: list[Round]) -> None:
    """Adds rounds until there are enough, or until the load does not recover from what has disturbed it."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(clients: int, links: int) -> Busy:
            return await stack.enter_async_context(_busy(load, plan, clients=clients, links=links))

        more = plan.destinations
        workers = [await begin(1, 0), await begin(1 + more, 0), await begin(1, more)]
        before = await _samples(workers)
        unsound = 0
        while len(rounds) < plan.rounds and unsound < MOST_UNSOUND:
            await asyncio.sleep(plan.seconds - STATS_INTERVAL)
            after = await _samples(workers)
            did = [late - early for late, early in zip(after, before, strict=True)]
            # Where the load could not keep up, or a link was silent, something else was measured.
            if all(each.is_whole(worker.clients, worker.links) for each, worker in zip(did, workers, strict=True)):
                rounds.append(_round(*did))
                unsound = 0
            else:
                unsound += 1
            before = after


def ratio(rounds: Sequence[Round]) -> float:
    """Of the medians: a round that was disturbed counts as one, however much it was."""
    return median(each.link for each in rounds) / median(each.client for each in rounds)


def interval(rounds: Sequence[Round]) -> tuple[float, float]:
    """Of 95 %: what other rounds of the same kind would have told (bootstrap)."""
    chance = random.Random(0)
    ratios = quantiles((ratio(chance.choices(rounds, k=len(rounds))) for _ in range(RESAMPLED)), n=40)
    return ratios[0], ratios[-1]


def _round(base: Sample, clients: Sample, links: Sample) -> Round:
    return Round(
        clients.beyond(base) / (clients.clients - clients.packets),
        links.beyond(base) / links.links,
    )


@contextlib.asynccontextmanager
async def _busy(load: Path, plan: Plan, *, clients: int, links: int) -> AsyncIterator[Busy]:
    """A worker under steady load. Raises TimeoutError when that is not reached."""
    media, (thread,) = core(1, WORKER_CPU)
    far, _ = core(1, LOAD_CPU)
    plane = ControlPlane(media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", version="bench"))
    await plane.start()
    command = [str(load), "fanout", "--server", f"pysfu://{KEY}:{SECRET}@127.0.0.1:{plane.port}"]
    command += ["--publishers", "1", "--subscribers", str(clients), "--video", VIDEO, "--receive-gro"]
    command += ["--steps", str(plan.frames), "--warmup", "1", "--cpu", str(LOAD_CPU)]
    command += ["--seconds", str(plan.most_seconds)]
    quiet = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    try:
        await _until_steady(media, thread, clients, 0)
        if links:
            _link(media, far, links)
            await _until_steady(media, thread, clients, links)
        yield Busy(media, thread, clients, links)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await plane.stop()
        far.shutdown()


async def _until_steady(media: Sfu, thread: int, clients: int, links: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            did = await _watch(media, thread, SETTLE)
            if did.is_whole(clients, links):
                return


async def _watch(media: Sfu, thread: int, seconds: float) -> Sample:
    first = await _sample(media, thread)
    await asyncio.sleep(seconds)
    return await _sample(media, thread) - first


def _link(media: Sfu, far: Sfu, links: int) -> None:
    (track,) = set(media.snapshot().layers["track"].tolist())
    for _ in range(links):
        _, theirs = join(media, far)
        mirror = far.mirror(theirs, int(track), kind="video")
        peer = unconnected(far)
        far.subscribe(peer, mirror, mid="0", ssrc=1, rtx_ssrc=2, payloads=[(96, 96, 97)])


async def _samples(workers: Sequence[Busy]) -> list[Sample]:
    return await asyncio.gather(*(_sample(each.media, each.thread) for each in workers))


async def _sample(media: Sfu, thread: int) -> Sample:
    """As soon as there are new counts."""
    before = _counts(media)
    while (counts := _counts(media)) == before:  # noqa: ASYNC110 - statistics tell nobody
        await asyncio.sleep(0.002)
    nanoseconds = int((TASKS / str(thread) / "schedstat").read_text().split()[0])
    return Sample(nanoseconds / 1e9, *counts)


def _counts(media: Sfu) -> tuple[int, int, int]:
    snapshot = media.snapshot()
    workers = snapshot.workers
    return (
        int(workers["rtp_packets_in"].sum()),
        int(workers["rtp_packets_out"].sum()),
        int(snapshot.links["media_sent"].sum()),
    )
