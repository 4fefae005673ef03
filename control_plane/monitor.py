"""Tells participants how good connections are, from the core's statistics."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import structlog

from control_plane.measure import (
    FreezeCounts,
    LayerCounts,
    Snapshot,
    deliveries,
    freeze_counts,
    layer_counts,
    paths,
)
from control_plane.node import Node
from control_plane.quality import Delivery, Path, Quality, Steady, delivered, score, steady
from pysfu.v1 import signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

log = structlog.get_logger(__name__)

# Longer averages more, shorter tells sooner.
INTERVAL: Final = 2.0
_GOOD_PATH: Final = Path(0.0, 0.0, 0.0)
_NOTHING_WANTED: Final = Delivery(0.0)
# Smaller changes of the score are not told while the quality stays the same.
_STEP: Final = 0.3


class Monitor:
    """Runs beside a node until it is stopped."""

    def __init__(self, node: Node, snapshot: Callable[[], Snapshot]) -> None:
        self._node = node
        self._snapshot = snapshot
        empty = np.zeros(0, np.int64)
        self._before = LayerCounts(empty, empty, empty)
        self._frozen = FreezeCounts(empty, empty)
        self._told: dict[str, tuple[Quality, float]] = {}
        self._steady: dict[str, Steady] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                self.update(self._snapshot())
            except Exception:
                log.exception("connection quality could not be measured")

    def update(self, snapshot: Snapshot) -> None:
        """One round: what changed is told to the room."""
        found = paths(snapshot, self._before)
        gets = deliveries(snapshot, self._frozen, INTERVAL)
        self._before = layer_counts(snapshot.layers)
        self._frozen = freeze_counts(snapshot.subscriptions)
        calm: dict[str, Steady] = {}
        told: dict[str, tuple[Quality, float]] = {}
        for live in self._node.rooms():
            updates, newcomers = [], []
            for session in live.room.sessions():
                participant = session.participant
                if participant.info.state != participant.info.STATE_ACTIVE:
                    continue
                handles = [offers.peer.handle for offers in session.transports() if offers.peer is not None]
                points = min(
                    (
                        delivered(score(found.get(handle, _GOOD_PATH)), gets.get(handle, _NOTHING_WANTED))
                        for handle in handles
                    ),
                    default=1.0,
                )
                level = steady(self._steady.get(participant.id), session.media_connected, points)
                calm[participant.id] = level
                now = level.quality
                before = self._told.get(participant.id)
                if before is None:
                    newcomers.append(session)
                if before is None or before[0] != now or abs(before[1] - points) >= _STEP:
                    before = (now, points)
                    if not participant.hidden:
                        updates.append(participant.id)
                told[participant.id] = before
            fresh = set(updates)
            if updates:
                news = _updates({key: told[key] for key in updates})
                live.broadcast(_message(news))
                self._node.neighbours.qualities(live, news)
            if newcomers:
                told_before = {
                    item.id: told[item.id]
                    for item in live.room.participants.values()
                    if item.id in told and not item.hidden and item.id not in fresh
                }
                known = [*_updates(told_before), *live.qualities_elsewhere.values()]
                if known:
                    message = _message(known).SerializeToString()
                    for session in newcomers:
                        session.emit(message)
        self._told = told
        self._steady = calm


def _updates(
    qualities: Mapping[str, tuple[Quality, float]],
) -> list[signaling_pb2.ConnectionQualities.Update]:
    return [
        signaling_pb2.ConnectionQualities.Update(
            participant_id=participant,
            quality=signaling_pb2.ConnectionQualities.Quality.ValueType(value),
            score=points,
        )
        for participant, (value, points) in qualities.items()
    ]


def _message(updates: Iterable[signaling_pb2.ConnectionQualities.Update]) -> SessionResponse:
    return SessionResponse(connection_qualities=signaling_pb2.ConnectionQualities(updates=updates))
