"""Reduces the core's snapshots with numpy: the path of each transport, counters of workers, rows of one room."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from control_plane.quality import Delivery, Path
from pysfu.stats import FEEDBACK, PAUSE_REASONS

Rows = NDArray[Any]

# Layers per track are few; this leaves room for any.
_LAYERS: Final = 256
_FOR_BANDWIDTH: Final = PAUSE_REASONS.index("bandwidth")
_BY_PACKET: Final = (FEEDBACK.index("transport-wide"), FEEDBACK.index("rfc8888"))
_ASKED: Final = PAUSE_REASONS.index("asked")
# Not counters: what a worker holds now, and which it is.
_GAUGES: Final = frozenset({"worker", "peers", "tracks", "subscriptions"})


class Snapshot(Protocol):
    """Structured arrays with the fields of the engine's statistics rows."""

    @property
    def workers(self) -> Rows: ...
    @property
    def peers(self) -> Rows: ...
    @property
    def downlinks(self) -> Rows: ...
    @property
    def layers(self) -> Rows: ...
    @property
    def subscriptions(self) -> Rows: ...
    @property
    def links(self) -> Rows: ...


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """Counters of every layer at one time, sorted by `key`."""

    key: Rows
    packets: Rows
    lost: Rows


def layer_counts(layers: Rows) -> LayerCounts:
    key = _keys(layers)
    order = np.argsort(key)
    return LayerCounts(key[order], layers["packets"][order].astype(np.int64), layers["packets_lost"][order])


def paths(snapshot: Snapshot, before: LayerCounts) -> dict[int, Path]:
    """Peer → the worse of its two directions. Loss upwards is that since `before`."""
    peers = snapshot.peers
    handles, rtt = peers["peer"].astype(np.int64), peers["rtt_ms"].copy()
    order = np.argsort(handles)
    handles, rtt = handles[order], rtt[order]
    loss, jitter = np.zeros(len(handles)), np.zeros(len(handles))
    if not len(handles):
        return {}
    up, down = snapshot.layers, snapshot.subscriptions
    if len(up):
        now = layer_counts(up)
        owner = up["peer"].astype(np.int64)[np.argsort(_keys(up))]
        old_packets, old_lost = _looked_up(before, now.key)
        received = np.maximum(now.packets - old_packets, 0)
        lost = np.maximum(now.lost - old_lost, 0)
        index, known = _positions(handles, owner)
        total, missing = np.zeros(len(handles)), np.zeros(len(handles))
        np.add.at(total, index[known], (received + lost)[known])
        np.add.at(missing, index[known], lost[known])
        loss = np.divide(missing, total, out=np.zeros(len(handles)), where=total > 0)
        index, known = _positions(handles, up["peer"].astype(np.int64))
        np.maximum.at(jitter, index[known], up["jitter_ms"][known])
    if len(down):
        index, known = _positions(handles, down["peer"].astype(np.int64))
        known &= (down["paused"] == 0) & (down["layer"] >= 0)
        weight, lost_share = np.zeros(len(handles)), np.zeros(len(handles))
        np.add.at(weight, index[known], down["bitrate_bps"][known])
        np.add.at(lost_share, index[known], (down["fraction_lost"] * down["bitrate_bps"])[known])
        share = np.divide(lost_share, weight, out=np.zeros(len(handles)), where=weight > 0)
        share = _told_by_packet(snapshot.downlinks, handles, share)
        loss = np.maximum(loss, share)
        np.maximum.at(rtt, index[known], down["rtt_ms"][known])
        np.maximum.at(jitter, index[known], down["jitter_ms"][known])
    return {
        int(handle): Path(float(a), float(b), float(c))
        for handle, a, b, c in zip(handles, loss, rtt, jitter, strict=True)
    }


def _told_by_packet(downlinks: Rows, handles: Rows, share: Rows) -> Rows:
    """Loss downwards where the subscriber tells of single packets: what a publisher lost is not in it."""
    precise = downlinks[np.isin(downlinks["feedback"], _BY_PACKET)]
    index, known = _positions(handles, precise["peer"].astype(np.int64))
    share[index[known]] = precise["loss"][known]
    return share


@dataclass(frozen=True, slots=True)
class FreezeCounts:
    """How long the picture of every subscription had stood still at one time, sorted by `key`."""

    key: Rows
    freeze_ms: Rows


def freeze_counts(subscriptions: Rows) -> FreezeCounts:
    key = subscriptions["subscription"].astype(np.int64)
    order = np.argsort(key)
    return FreezeCounts(key[order], subscriptions["freeze_ms"][order])


def deliveries(snapshot: Snapshot, before: FreezeCounts, interval: float) -> dict[int, Delivery]:
    """Peer → what it gets of the video that it wants. Freezes are those since `before`, `interval` seconds ago."""
    videos = snapshot.subscriptions
    videos = videos[(videos["is_video"] == 1) & (videos["pause_reason"] != _ASKED)]
    peers, owner = np.unique(videos["peer"].astype(np.int64), return_inverse=True)
    count = np.bincount(owner, minlength=len(peers))
    paused = np.bincount(owner, weights=videos["pause_reason"] == _FOR_BANDWIDTH, minlength=len(peers))
    stood = np.zeros(len(videos))
    if len(before.key) and len(videos):
        index, known = _positions(before.key, videos["subscription"].astype(np.int64))
        stood = np.where(known, np.maximum(videos["freeze_ms"] - before.freeze_ms[index], 0.0), 0.0)
    frozen = np.bincount(owner, weights=np.minimum(stood / (interval * 1_000), 1.0), minlength=len(peers))
    paths_known = snapshot.downlinks[snapshot.downlinks["feedback"] != 0]
    carried = {int(row["peer"]): row for row in paths_known}
    found = {}
    for peer, videos_of_peer, still, held in zip(peers.tolist(), count, frozen, paused, strict=True):
        row = carried.get(peer)
        found[peer] = Delivery(
            wanted_bps=float(row["desired_bps"]) if row is not None else 0.0,
            estimate_bps=float(row["estimate_bps"]) if row is not None else None,
            frozen=float(still / videos_of_peer),
            paused=float(held / videos_of_peer),
        )
    return found


def worker_counters(row: Any) -> dict[str, int]:
    """Counters of one row of `workers`, by name."""
    return {name: int(row[name]) for name in row.dtype.names if name not in _GAUGES}


def rows_of(rows: Rows, field: str, handles: list[int]) -> Rows:
    """The rows whose `field` is one of `handles`."""
    return rows[np.isin(rows[field].astype(np.int64), np.asarray(handles, dtype=np.int64))]


def _keys(layers: Rows) -> Rows:
    return layers["track"].astype(np.int64) * _LAYERS + layers["layer"].astype(np.int64)


def _positions(sorted_handles: Rows, wanted: Rows) -> tuple[Rows, Rows]:
    """Where each of `wanted` is, and whether it is there at all."""
    index = np.minimum(np.searchsorted(sorted_handles, wanted), len(sorted_handles) - 1)
    return index, sorted_handles[index] == wanted


def _looked_up(before: LayerCounts, key: Rows) -> tuple[Rows, Rows]:
    if not len(before.key):
        return np.zeros(len(key), np.int64), np.zeros(len(key), np.int64)
    index, known = _positions(before.key, key)
    return np.where(known, before.packets[index], 0), np.where(known, before.lost[index], 0)
