"""What nodes of a cluster know together: small values with compare-and-swap, and subjects for events.

Two implementations: `memory` for a single node, `nats` for a cluster. Media never waits for either, and whoever calls
expects `StateUnavailableError` at any time.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


class StateUnavailableError(Exception):
    """The state cannot be reached now. Nothing is known of whether a write has happened."""


class ConflictError(Exception):
    """Somebody else has written the key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`revision` grows with every write to the bucket; it names this state of the key."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """`value` is None for a key that was deleted."""

    key: str
    value: bytes | None


class Bucket(Protocol):
    """Keys are 1 to 200 letters, digits, `-` and `_`. Each call may raise StateUnavailableError."""

    async def get(self, key: str) -> Entry | None: ...

    async def put(self, key: str, value: bytes) -> int:
        """Writes whatever was there. Returns the revision."""

    async def create(self, key: str, value: bytes) -> int:
        """Returns the revision. Raises ConflictError when the key is there."""

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Returns the new revision. Raises ConflictError unless the key is still at `revision`."""

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Without a key nothing happens. Raises ConflictError when `revision` is given and the key is at another."""

    async def entries(self) -> list[Entry]: ...

    def watch(self) -> AsyncGenerator[Change, None]:
        """Everything that is there, then what changes, until it is closed. Of an outage it tells what was missed.

        Values may be told again, and of several writes to a key the last may come alone. What expires is not told.
        """


class SharedState(Protocol):
    """Buckets and subjects."""

    @property
    def available(self) -> bool:
        """False while it is known to be away."""

    async def bucket(self, name: str, ttl: float | None = None) -> Bucket:
        """Made when it is not there. An entry is gone `ttl` seconds after its last write."""

    async def publish(self, subject: str, payload: bytes) -> None:
        """To whoever listens now; nothing is kept."""

    def listen(self, subject: str) -> AsyncGenerator[bytes, None]:
        """Payloads of a subject, until it is closed. Some are lost in an outage, and when 1,024 wait."""

    async def close(self) -> None: ...
