"""Where a data message goes. Pure functions."""

from collections.abc import Collection, Iterable
from typing import Final, Protocol, TypeVar

from control_plane.errors import InvalidArgumentError

MAX_LABEL: Final = 128
MAX_PAYLOAD: Final = 256 * 1024


class Addressable(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def identity(self) -> str: ...


Receiver = TypeVar("Receiver", bound=Addressable)


def receivers(
    everyone: Iterable[Receiver], sender_id: str, ids: Collection[str] = (), identities: Collection[str] = ()
) -> list[Receiver]:
    """Those named, or all when none is; never the sender."""
    others = (item for item in everyone if item.id != sender_id)
    if not ids and not identities:
        return list(others)
    wanted_ids, wanted_identities = frozenset(ids), frozenset(identities)
    return [item for item in others if item.id in wanted_ids or item.identity in wanted_identities]


def check_message(label: str, payload: bytes) -> None:
    if not 0 < len(label) <= MAX_LABEL:
        raise InvalidArgumentError(f"a data channel's label must have 1 to {MAX_LABEL} characters")
    if len(payload) > MAX_PAYLOAD:
        raise InvalidArgumentError(f"a data message is larger than {MAX_PAYLOAD} bytes")


def channel_options(label: str) -> tuple[bool, int | None]:
    """(ordered, most retransmissions) of a channel that the server opens; "lossy" in its name tells."""
    return (False, 0) if "lossy" in label else (True, None)
