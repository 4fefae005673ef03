"""What a hop adds, and what losses leave: one publisher, a subscriber at its node and one behind a link.

Both are clients over loopback, and the kernel tells when packets came. The difference is what the link took.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from bench.cluster.relay.joined import core, join
from bench.common.wire_peer import WirePeer

OPUS = [(111, None, "opus", 48_000, False, False)]
SSRC: Final = 7_000
# What is within it is on time, ms.
PROMPT: Final = 5.0
WAY: Final = {"delay_ms": 50, "loss": {"independent": 0.03}}
RTT_MS: Final = 100.0


async def clean(seconds: float) -> dict[str, Any]:
    """`hop.latency_ms` without loss: 200 packets of 160 octets a second."""
    took, sent, _ = await _run(seconds, every=0.005, packets=1, size=160)
    values = sorted(took)
    return {
        "hop.latency_ms.p50": values[len(values) // 2],
        "hop.latency_ms.p99": values[len(values) * 99 // 100],
        "hop.packets": sent,
        "hop.lost": sent - len(values),
    }


async def lossy(netem: Path, seconds: float) -> dict[str, Any]:
    """A link that loses 3 % with a round trip of 100 ms: 1,000 packets of 1,150 octets a second, in frames of ten."""
    async with _emulator(netem) as emulator:
        took, sent, row = await _run(seconds, every=0.01, packets=10, size=1_150, emulator=emulator)
    prompt = min(took)
    late = sorted(each - prompt for each in took if each - prompt > PROMPT)
    plain = row["bytes_sent"] - row["redundant_bytes_sent"]
    return {
        "lossy_link.residual_loss": (sent - len(took)) / sent,
        "lossy_link.redundancy": float(row["redundant_bytes_sent"] / plain),
        "lossy_link.late_p95_rtt": late[len(late) * 95 // 100] / RTT_MS if late else 0.0,
        "lossy_link.late": len(late) / sent,
        "lossy_link.packets": sent,
    }


@contextlib.asynccontextmanager
async def _emulator(netem: Path) -> AsyncIterator["_Between"]:
    between = _Between(netem)
    try:
        yield between
    finally:
        await between.stop()


class _Between:
    """The emulator, between a node and another one that is known only when it is there."""

    def __init__(self, netem: Path) -> None:
        self._netem = netem
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, to: tuple[str, int]) -> tuple[str, int]:
        """Where to send what is for `to`."""
        way = json.dumps(WAY)
        command = [str(self._netem), "relay", "--forward", f"127.0.0.1:0={to[0]}:{to[1]}", "--down", way, "--up", way]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        first = json.loads(await self._process.stdout.readline())
        host, _, port = first["forwards"][0]["listen"].rpartition(":")
        self._drain = asyncio.create_task(self._process.stdout.read())
        return host, int(port)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
            await self._drain


async def _run(
    seconds: float, *, every: float, packets: int, size: int, emulator: _Between | None = None
) -> tuple[list[float], int, Any]:
    """Milliseconds that each packet was later behind the link, packets sent, and the link's row at the home."""
    (home, _), (away, _) = core(1), core(1)
    peers = []
    try:
        by_way_of = await emulator.start(away.worker_addresses(0)[0]) if emulator else None
        _, theirs = join(home, away, by_way_of=by_way_of)
        publisher = await WirePeer.connect(home)
        near, far = await WirePeer.connect(home), await WirePeer.connect(away)
        peers = [publisher, near, far]
        track = home.publish(publisher.handle, kind="audio", mid="0", codecs=OPUS, ssrcs=[(SSRC, None)])
        mirror = away.mirror(theirs, track, kind="audio")
        for node, peer, source in ((home, near, track), (away, far, mirror)):
            node.subscribe(peer.handle, source, mid="1", ssrc=9_000, rtx_ssrc=None, payloads=[(111, 111, None)])
        payload = bytes(size)
        number = 0

        async def send(count: int) -> None:
            nonlocal number
            for _ in range(count):
                await publisher.send(111, number, 960 * number, SSRC, payload)
                number += 1

        # What comes before a subscription is there is not counted.
        for _ in range(100):
            await send(1)
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        here, there = near.watch(), far.watch()
        # Their numbers differ by what each saw first: one packet tells.
        await send(1)
        await asyncio.sleep(0.5)
        offset = (there[-1][0] - here[-1][0]) & 0xFFFF
        here.clear()
        there.clear()
        loop = asyncio.get_running_loop()
        due, end, first = loop.time(), loop.time() + seconds, number
        while due < end:
            await send(packets)
            due += every
            await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.sleep(2.0)
        rows = home.snapshot().links
        return _differences(here, there, offset), number - first, rows[0]
    finally:
        for peer in peers:
            await peer.close()
        home.shutdown()
        away.shutdown()


def _differences(here: list[tuple[int, int]], there: list[tuple[int, int]], offset: int) -> list[float]:
    """In ms, of packets that came to both. Numbers wrap: the same one comes again much later."""
    waiting: dict[int, list[int]] = {}
    for number, at in there:
        waiting.setdefault((number - offset) & 0xFFFF, []).append(at)
    took = []
    for number, at in here:
        arrivals = waiting.get(number)
        if arrivals and abs(arrivals[0] - at) < 5 * 10**9:
            took.append((arrivals.pop(0) - at) / 1e6)
    return took
