"""A selective forwarding unit for WebRTC: media in a Rust core, control from Python."""

from pysfu._core import (
    BindError,
    CoreError,
    QueueFullError,
    Srtp,
    SrtpError,
    UnknownIdError,
    WorkerFailedError,
    __version__,
)
from pysfu.sfu import Sfu
from pysfu.stats import Snapshot

__all__ = [
    "BindError",
    "CoreError",
    "QueueFullError",
    "Sfu",
    "Snapshot",
    "Srtp",
    "SrtpError",
    "UnknownIdError",
    "WorkerFailedError",
    "__version__",
]
