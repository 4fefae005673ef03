"""Statistics as numpy structured arrays, one row per worker, peer, path to a subscriber, layer and subscription."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pysfu import _core

DTYPES: Final[dict[str, np.dtype[Any]]] = {table: np.dtype(fields) for table, fields in _core.STATS_FIELDS.items()}
"""Layout of each table. Counters run since the start of their object; times are in ms, rates in bit/s."""

FEEDBACK: Final = ("none", "transport-wide", "rfc8888", "remb")
"""What `downlinks["feedback"]` means: what the subscriber tells of arrivals."""
LIMITED_BY: Final = ("none", "application", "delay", "loss", "receiver", "maximum")
"""What `downlinks["limited_by"]` means: what holds the estimate where it is."""
PAUSE_REASONS: Final = ("none", "asked", "bandwidth")
"""What `subscriptions["pause_reason"]` means."""


def name_of(names: tuple[str, ...], value: float) -> str:
    """The name of a value of one of these fields; "unknown" for one that a newer core may have."""
    return names[int(value)] if 0 <= value < len(names) else "unknown"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the core last measured, at most half a second old. Each is a read-only structured array of shape (rows,)."""

    workers: npt.NDArray[Any]
    peers: npt.NDArray[Any]
    downlinks: npt.NDArray[Any]
    """The paths to subscribers that tell something of what arrives."""
    layers: npt.NDArray[Any]
    subscriptions: npt.NDArray[Any]
    links: npt.NDArray[Any]
    """To workers of other nodes. Their counts are of datagrams since the link began."""
    io: npt.NDArray[Any]
    """Of the sockets and queues, a row per worker."""


def snapshot(core: _core.Core) -> Snapshot:
    """Views of the core's rows; nothing is copied."""
    tables = core.stats()
    return Snapshot(**{table: np.frombuffer(rows, DTYPES[table]) for table, rows in tables.items()})
