"""How media links to other nodes do, of the core's rows: by node, all links to it together."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from control_plane.measure import Snapshot

# Seconds. Asked sooner it says again what it said.
LEAST: Final = 0.5


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """Towards one node. `loss`: share of datagrams lost on the way, before repair. `bps`: with what repairs it."""

    rtt_ms: float = 0.0
    loss: float = 0.0
    bps: float = 0.0


class LinkMeter:
    """Rates are since it was last asked."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], float] = time.monotonic) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._at = clock()
        self._sent: dict[int, int] = {}
        self._found: dict[str, LinkFigures] = {}

    def measure(self, nodes: Mapping[int, str], round_trips: Mapping[str, float]) -> dict[str, LinkFigures]:
        """`nodes`: where each link leads, by its handle. `round_trips`: ms of streams, where no link knows one."""
        now = self._clock()
        elapsed = now - self._at
        if elapsed >= LEAST:
            rows = self._snapshot().links
            sent = {int(row["link"]): int(row["bytes_sent"]) for row in rows}
            grown = {link: max(0, count - self._sent.get(link, count)) for link, count in sent.items()}
            self._found = {
                node: figures(
                    rows[np.isin(rows["link"], links)], 8 * sum(grown.get(link, 0) for link in links) / elapsed
                )
                for node, links in _by_node(nodes).items()
            }
            self._at, self._sent = now, sent
        found = {node: self._found.get(node, LinkFigures()) for node in {*round_trips, *nodes.values()}}
        return {
            node: one if one.rtt_ms else LinkFigures(round_trips.get(node, 0.0), one.loss, one.bps)
            for node, one in found.items()
        }


def figures(rows: Any, bps: float) -> LinkFigures:
    """Of the links to one node. Loss is weighed by what each has sent; the round trip is the shortest."""
    known = rows["rtt_ms"][rows["rtt_ms"] > 0]
    weights = rows["media_sent"].astype(float)
    total = float(weights.sum())
    loss = float((rows["loss"] * weights).sum()) / total if total else 0.0
    return LinkFigures(float(known.min()) if len(known) else 0.0, loss, bps)


def _by_node(nodes: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for link, node in nodes.items():
        found.setdefault(node, []).append(link)
    return found
