"""Prometheus metrics of a node, read from the core's statistics when asked for.

Labels are the worker or one of a few words: never a room or a participant. `docs/metrics.md` explains each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric

from control_plane.cluster.metrics import cascade, cluster, links
from control_plane.server import ControlPlane
from pysfu import Snapshot, __version__
from pysfu.stats import FEEDBACK, LIMITED_BY, PAUSE_REASONS

# What a worker holds now; every other column of its rows is a counter.
GAUGES: Final = ("peers", "tracks", "subscriptions", "mirrors", "pooled_packets", "gso", "longest_turn_us")
# Spatial layers with a label of their own; those above share the last one.
LAYERS: Final = ("0", "1", "2", "3+")

_BITRATES: Final = (50e3, 150e3, 300e3, 600e3, 1e6, 1.5e6, 2.5e6, 5e6, 10e6, 25e6)
_SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_LOSSES: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_DELAYS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

# Name, what it is, bounds, and how it is read from the paths to subscribers.
_DISTRIBUTIONS: Final[Sequence[tuple[str, str, Sequence[float], Callable[[Any], NDArray[Any]]]]] = (
    (
        "downlink_estimate_bps",
        "What the paths to subscribers are taken to carry.",
        _BITRATES,
        lambda rows: rows["estimate_bps"],
    ),
    (
        "downlink_allocated_ratio",
        "Share of what subscribers want at its best that is allocated to them.",
        _SHARES,
        lambda rows: np.minimum(rows["allocated_bps"] / np.maximum(rows["desired_bps"], 1.0), 1.0),
    ),
    (
        "downlink_loss_ratio",
        "Share of packets that is lost on the way to subscribers.",
        _LOSSES,
        lambda rows: rows["loss"],
    ),
    (
        "downlink_rtt_seconds",
        "Round-trip times to subscribers.",
        _DELAYS,
        lambda rows: rows["rtt_ms"][rows["rtt_ms"] > 0] / 1_000,
    ),
    (
        "downlink_queue_seconds",
        "Time that packets to subscribers wait in the network.",
        _DELAYS,
        lambda rows: rows["queue_ms"] / 1_000,
    ),
    (
        "downlink_pacer_seconds",
        "Time that packets to subscribers wait in the node.",
        _DELAYS,
        lambda rows: rows["pacer_ms"] / 1_000,
    ),
)


class NodeCollector:
    """Collects from `snapshot` and from `plane` at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot], plane: Callable[[], ControlPlane]) -> None:
        self._snapshot = snapshot
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        plane = self._plane()
        node = plane.node
        info = GaugeMetricFamily("pysfu_build_info", "Always 1.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield GaugeMetricFamily("pysfu_rooms", "Rooms that are live.", value=node.num_rooms)
        yield GaugeMetricFamily("pysfu_participants", "Participants in them.", value=node.num_sessions)
        yield GaugeMetricFamily("pysfu_draining", "1 while no joins are taken.", value=float(node.draining))
        yield from shares(plane.description.shares())
        snapshot = self._snapshot()
        if plane.cluster is not None:
            yield from cluster(plane.cluster)
            yield from cascade(plane.cluster.cascade)
            yield from links(snapshot.links, plane.cluster.link_nodes())
        yield from downlinks(snapshot.downlinks)
        yield from videos(snapshot.subscriptions)
        yield from _columns(snapshot.workers)
        yield from _columns(snapshot.io)


def render(snapshot: Callable[[], Snapshot], plane: Callable[[], ControlPlane]) -> bytes:
    """The text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(snapshot, plane))
    return generate_latest(registry)


def shares(used: Mapping[str, float]) -> Iterator[Metric]:
    """How full the node is. `used`: shares of what it can do, by name."""
    load = GaugeMetricFamily("pysfu_node_load_ratio", "Used share of what the node can do.", labels=["resource"])
    for resource, share in sorted(used.items()):
        load.add_metric([resource], share)
    yield load
    text = "The largest of these shares: what placement and autoscaling go by."
    yield GaugeMetricFamily("pysfu_node_used_ratio", text, value=max(used.values(), default=0.0))


def downlinks(rows: NDArray[Any]) -> Iterator[Metric]:
    """How the paths to subscribers are at this moment. `rows`: the table `downlinks`."""
    known = rows[rows["feedback"] != 0]
    count = GaugeMetricFamily("pysfu_downlinks", "Estimated paths to subscribers.", labels=["feedback", "limited_by"])
    for feedback in FEEDBACK[1:]:
        for limit in LIMITED_BY[1:]:
            is_so = (known["feedback"] == FEEDBACK.index(feedback)) & (known["limited_by"] == LIMITED_BY.index(limit))
            count.add_metric([feedback, limit], int(np.count_nonzero(is_so)))
    yield count
    for name, text, bounds, read in _DISTRIBUTIONS:
        yield _distribution(f"pysfu_{name}", text, bounds, read(known))


def videos(rows: NDArray[Any]) -> Iterator[Metric]:
    """What becomes of video subscriptions at this moment. `rows`: the table `subscriptions`."""
    rows = rows[rows["is_video"] == 1]
    paused = GaugeMetricFamily("pysfu_videos_paused", "Videos that are not forwarded, by reason.", labels=["reason"])
    for reason in PAUSE_REASONS[1:]:
        paused.add_metric([reason], int(np.count_nonzero(rows["pause_reason"] == PAUSE_REASONS.index(reason))))
    yield paused
    layers = GaugeMetricFamily("pysfu_videos", "Videos that are forwarded, by spatial layer.", labels=["spatial"])
    flowing = np.minimum(rows["spatial"][rows["spatial"] >= 0], len(LAYERS) - 1)
    for index, label in enumerate(LAYERS):
        layers.add_metric([label], int(np.count_nonzero(flowing == index)))
    yield layers
    behind = (rows["target_spatial"] >= 0) & (rows["spatial"] != rows["target_spatial"])
    text = "Videos that wait for a keyframe of the layer decided on."
    yield GaugeMetricFamily("pysfu_videos_switching", text, value=int(np.count_nonzero(behind)))
    text = "Videos that stand still."
    yield GaugeMetricFamily("pysfu_videos_frozen", text, value=int(np.count_nonzero(rows["frozen_ms"] > 0)))


def _distribution(name: str, text: str, bounds: Sequence[float], values: NDArray[Any]) -> Metric:
    """Cumulative counts of the values of this moment."""
    buckets = [(f"{bound:g}", float(np.count_nonzero(values <= bound))) for bound in bounds]
    buckets.append(("+Inf", float(len(values))))
    return GaugeHistogramMetricFamily(name, text, buckets=buckets, gsum_value=float(values.sum()))


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
