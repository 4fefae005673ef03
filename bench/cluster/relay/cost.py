"""CPU of a packet over a link beside that of a packet to a client: both by what more of them cost the same worker.

One publisher of video. At first one client takes it, then so many more, then so many links instead, each to a worker of
another core. Rates, frames and destinations are the same, so batches of the kernel are as well.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.cluster.relay.joined import TASKS, core, join, unconnected
from control_plane.server import ControlPlane, ServerOptions
from pysfu import Sfu

KEY, SECRET = "bench", "secret-of-the-bench-of-links-0123"
WORKER_CPU, LOAD_CPU = 0, 1
FRAME_PACKETS = 5
VIDEO = f"1150x{FRAME_PACKETS}"
# The load is even by then.
SETTLE = 1.4
PATIENCE = 30.0  # Seconds.


@dataclass(frozen=True)
class Plan:
    """Destinations, frames per second, seconds of each measurement, rounds of the three: on shared cores the median of
    many short rounds moves less than that of few long ones."""

    destinations: int = 30
    frames: int = 200
    seconds: float = 3.0
    rounds: int = 11


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


async def measure(load: Path, plan: Plan) -> dict[str, Any]:
    """`relay.ratio_to_client_packet`, and CPU µs of both packets, the medians of the rounds."""
    rounds = []
    for _ in range(plan.rounds):
        base = await _phase(load, plan, clients=1, links=0)
        more = await _phase(load, plan, clients=1 + plan.destinations, links=0)
        linked = await _phase(load, plan, clients=1, links=plan.destinations)
        client = more.beyond(base) / (more.clients - more.packets)
        link = linked.beyond(base) / linked.links
        rounds.append({"client_us": client * 1e6, "link_us": link * 1e6, "ratio": link / client})
    return {
        "relay.ratio_to_client_packet": median(each["ratio"] for each in rounds),
        "relay.client_packet_us": median(each["client_us"] for each in rounds),
        "relay.link_packet_us": median(each["link_us"] for each in rounds),
        "relay.rounds": rounds,
    }


async def _phase(load: Path, plan: Plan, *, clients: int, links: int) -> Sample:
    """A while of steady load. Raises TimeoutError when that is not reached."""
    media, (thread,) = core(1, WORKER_CPU)
    far, _ = core(1, LOAD_CPU)
    plane = ControlPlane(media, ServerOptions({KEY: SECRET}, "127.0.0.1:0", version="bench"))
    await plane.start()
    command = [str(load), "fanout", "--server", f"pysfu://{KEY}:{SECRET}@127.0.0.1:{plane.port}"]
    command += ["--publishers", "1", "--subscribers", str(clients), "--video", VIDEO, "--receive-gro"]
    command += ["--steps", str(plan.frames), "--warmup", "1", "--seconds", str(plan.seconds + PATIENCE)]
    command += ["--cpu", str(LOAD_CPU)]
    quiet = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    try:
        await _until_steady(media, thread, clients, 0)
        if links:
            _link(media, far, links)
            await _until_steady(media, thread, clients, links)
        return await _watch(media, thread, plan.seconds)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await plane.stop()
        far.shutdown()


async def _until_steady(media: Sfu, thread: int, clients: int, links: int) -> None:
    """Each packet goes to each."""
    async with asyncio.timeout(PATIENCE):
        while True:
            did = await _watch(media, thread, SETTLE)
            wanted = (did.packets * clients, did.packets * links)
            near = (
                abs(found - want) <= 0.03 * want for found, want in zip((did.clients, did.links), wanted, strict=True)
            )
            if did.packets and all(near):
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
