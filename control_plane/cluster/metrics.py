"""Prometheus metrics of a cluster's node. Labels are ids of nodes and a few words: never a room or a participant."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from control_plane.cluster.cascade.cascade import Cascade
from control_plane.cluster.cluster import Cluster
from control_plane.cluster.link_figures import figures
from control_plane.cluster.registry import NODE_STATES, state_of

# Columns of the table `links` that count.
LINK_COUNTS: Final = (
    "media_sent",
    "parity_sent",
    "repeats_sent",
    "bytes_sent",
    "redundant_bytes_sent",
    "dropped",
    "media_received",
    "bytes_received",
    "repaired",
    "mended",
    "given_up",
    "duplicates",
    "refused",
)


def cluster(seen: Cluster) -> Iterator[Metric]:
    """The others, as this node sees them."""
    nodes = GaugeMetricFamily("pysfu_cluster_nodes", "Nodes that are there, this one included.", labels=["state"])
    states = [state_of(info, suspected=seen.registry.is_suspected(info.id)) for info in seen.registry.nodes()]
    for state in NODE_STATES:
        nodes.add_metric([state], states.count(state))
    yield nodes
    text = "1 while this node reaches the shared state and hears itself through it."
    yield GaugeMetricFamily("pysfu_cluster_connected", text, value=float(seen.is_connected and seen.registry.sees))
    text = "Calls between other nodes that cannot reach each other, passed on now."
    yield GaugeMetricFamily("pysfu_cluster_passing_on", text, value=seen.through.calls)
    text = "Rooms of this node that the cluster knows of."
    yield GaugeMetricFamily("pysfu_cluster_rooms_held", text, value=len(seen.directory.records()))
    text = "Sessions of other nodes that this node can go on with should theirs die."
    yield GaugeMetricFamily("pysfu_cluster_sessions_kept", text, value=len(seen.moving.kept))
    text = "What is kept of them, in bytes."
    yield GaugeMetricFamily("pysfu_cluster_sessions_kept_bytes", text, value=seen.moving.kept.bytes)
    text = "Sessions of this node whose present state no other node has."
    yield GaugeMetricFamily("pysfu_cluster_sessions_not_kept", text, value=seen.keeping.untold)


def links(rows: Any, nodes: Mapping[int, str]) -> Iterator[Metric]:
    """Media links by the node to which they lead. `rows`: the table `links`; `nodes`: by the link's handle."""
    by_node = {node: rows[np.isin(rows["link"], _of(nodes, node))] for node in sorted(set(nodes.values()))}
    number = GaugeMetricFamily("pysfu_links", "Media links to a node.", labels=["node"])
    alive = GaugeMetricFamily("pysfu_links_alive", "Of them, those that carry both ways.", labels=["node"])
    mirrors = GaugeMetricFamily("pysfu_link_mirrors", "Tracks that come from a node.", labels=["node"])
    rtt = GaugeMetricFamily("pysfu_link_rtt_seconds", "Round trip to a node and back.", labels=["node"])
    loss = GaugeMetricFamily("pysfu_link_loss_ratio", "Share that is lost on the way to a node.", labels=["node"])
    for node, mine in by_node.items():
        found = figures(mine, 0.0)
        number.add_metric([node], len(mine))
        alive.add_metric([node], int(mine["alive"].sum()))
        mirrors.add_metric([node], int(mine["mirrors"].sum()))
        rtt.add_metric([node], found.rtt_ms / 1_000)
        loss.add_metric([node], found.loss)
    yield from (number, alive, mirrors, rtt, loss)
    for name in LINK_COUNTS:
        text = f"{name.replace('_', ' ').capitalize()}, on links to a node."
        counter = CounterMetricFamily(f"pysfu_link_{name}", text, labels=["node"])
        for node, mine in by_node.items():
            counter.add_metric([node], int(mine[name].sum()))
        yield counter


def _of(nodes: Mapping[int, str], node: str) -> list[int]:
    return [link for link, other in nodes.items() if other == node]


def cascade(seen: Cascade) -> Iterator[Metric]:
    """Streams to the nodes with which rooms are shared, and ways of tracks."""
    peers = sorted(seen.peers.values(), key=lambda peer: peer.id)
    streams = GaugeMetricFamily("pysfu_cascade_streams", "1 while there is a stream to the node.", labels=["node"])
    opened = CounterMetricFamily("pysfu_cascade_streams_opened", "Streams to the node so far.", labels=["node"])
    dropped = CounterMetricFamily("pysfu_cascade_dropped", "Messages that it did not take in time.", labels=["node"])
    rtt = GaugeMetricFamily("pysfu_cascade_rtt_seconds", "Round trip of the stream.", labels=["node"])
    text = "1 while the stream to the node goes through a third one."
    around = GaugeMetricFamily("pysfu_cascade_around", text, labels=["node", "third"])
    for peer in peers:
        if peer.is_open and peer.third is not None:
            around.add_metric([peer.id, peer.third], 1.0)
        streams.add_metric([peer.id], float(peer.is_open))
        opened.add_metric([peer.id], peer.streams)
        dropped.add_metric([peer.id], peer.dropped_events)
        if peer.round_trip is not None:
            rtt.add_metric([peer.id], peer.round_trip)
    yield from (streams, opened, dropped, rtt, around)
    mirrors = seen.mirrors.all()
    text = "Encodings of other nodes that are had, or looked for."
    yield GaugeMetricFamily("pysfu_cascade_tracks", text, value=len(mirrors))
    missing = sum(mirror.handle is None for mirror in mirrors)
    yield GaugeMetricFamily("pysfu_cascade_tracks_missing", "Of them, those that no node gives yet.", value=missing)
    relayed = sum(len(mirror.route) > 1 for mirror in mirrors)
    yield GaugeMetricFamily("pysfu_cascade_tracks_relayed", "Of them, those that pass through others.", value=relayed)
