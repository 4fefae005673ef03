"""Prometheus metrics of a node, read from the core's statistics when asked for. The only label is the worker."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from control_plane.node import Node
from pysfu import Snapshot, __version__

# What a worker holds now; every other column of its rows is a counter.
GAUGES: Final = ("peers", "tracks", "subscriptions", "mirrors", "pooled_packets", "gso", "longest_turn_us")


class NodeCollector:
    """Collects from `snapshot` and from `node` at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot], node: Callable[[], Node]) -> None:
        self._snapshot = snapshot
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node = self._node()
        info = GaugeMetricFamily("pysfu_build_info", "Always 1.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield GaugeMetricFamily("pysfu_rooms", "Rooms that are live.", value=node.num_rooms)
        yield GaugeMetricFamily("pysfu_participants", "Participants in them.", value=node.num_sessions)
        yield GaugeMetricFamily("pysfu_draining", "1 while no joins are taken.", value=float(node.draining))
        snapshot = self._snapshot()
        yield from _columns(snapshot.workers)
        yield from _columns(snapshot.io)


def render(snapshot: Callable[[], Snapshot], node: Callable[[], Node]) -> bytes:
    """The text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(snapshot, node))
    return generate_latest(registry)


def _columns(rows: Any) -> Iterator[Metric]:
    """A metric per column, a sample per worker."""
    for name in rows.dtype.names:
        if name == "worker":
            continue
        family = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
        text = name.replace("_", " ").capitalize() + "."
        metric = family(f"pysfu_{name}", text, labels=["worker"])
        for row in rows:
            metric.add_metric([str(int(row["worker"]))], float(row[name]))
        yield metric
