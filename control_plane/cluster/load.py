"""How much of a node is in use, measured between two heartbeats."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.measure import Snapshot


@dataclass(frozen=True, slots=True)
class Load:
    """`cpu`: share of the cores' time that this process took."""

    cpu: float = 0.0
    packets_per_second: float = 0.0
    egress_bps: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the node can do. 0: not known, and so not counted."""

    participants: int
    packets_per_second: int = 0
    egress_bps: int = 0

    def shares(self, load: Load, participants: int) -> dict[str, float]:
        """Used shares by name. The largest says how full the node is: placement and autoscaling go by it."""
        found = {"cpu": load.cpu, "participants": participants / max(1, self.participants)}
        if self.packets_per_second:
            found["packets"] = load.packets_per_second / self.packets_per_second
        if self.egress_bps:
            found["egress"] = load.egress_bps / self.egress_bps
        return {name: round(share, 4) for name, share in found.items()}


class LoadMeter:
    """Ask it about once a second; sooner it says again what it said."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._cpu = cpu
        self._cores = max(1, len(os.sched_getaffinity(0)))
        self._at = clock()
        self._before = self._counts()
        self._load = Load()

    def measure(self) -> Load:
        now = self._clock()
        elapsed = now - self._at
        if elapsed < 0.5:
            return self._load
        counts = self._counts()
        cpu, packets, octets = (max(0.0, new - old) for new, old in zip(counts, self._before, strict=True))
        self._at, self._before = now, counts
        share = min(1.0, cpu / (elapsed * self._cores))
        self._load = Load(share, packets / elapsed, octets * 8 / elapsed)
        return self._load

    def _counts(self) -> tuple[float, float, float]:
        """CPU seconds, datagrams in and out, octets out; since the start."""
        workers = self._snapshot().workers
        packets = float(workers["datagrams_in"].sum()) + float(workers["datagrams_out"].sum())
        return self._cpu(), packets, float(workers["bytes_out"].sum())
