"""Statistics as numpy structured arrays, one row per worker, peer, layer and subscription."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pysfu import _core

DTYPES: Final[dict[str, np.dtype[Any]]] = {table: np.dtype(fields) for table, fields in _core.STATS_FIELDS.items()}
"""Layout of each table. Counters run since the start of their object; times are in ms, rates in bit/s."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the core last measured, at most half a second old. Each is a read-only structured array of shape (rows,)."""

    workers: npt.NDArray[Any]
    peers: npt.NDArray[Any]
    layers: npt.NDArray[Any]
    subscriptions: npt.NDArray[Any]
    io: npt.NDArray[Any]
    """Of the sockets and queues, a row per worker."""


def snapshot(core: _core.Core) -> Snapshot:
    """Views of the core's rows; nothing is copied."""
    tables = core.stats()
    return Snapshot(**{table: np.frombuffer(rows, DTYPES[table]) for table, rows in tables.items()})
