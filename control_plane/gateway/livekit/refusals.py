"""What joins were refused with a moment ago: browsers cannot read the answer to a WebSocket that was refused.

LiveKit's clients ask `/validate` then, with the same token. livekit-client shows people the text of a 401, a 403, and
of a 404 with the words of LiveKit's server; another 404 is to it a server without `/rtc/v1`.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

# Seconds. Clients ask at once; one that asks later is about to join again.
KEPT: Final = 10.0
MAX_KEPT: Final = 4_096
NO_ROOM: Final = "requested room does not exist"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    def for_people(self) -> "Refusal":
        """The same, so that LiveKit's clients show the text. Who may come again later is told as it is."""
        if self.status == 404:
            return Refusal(404, f"{NO_ROOM}: {self.text}")
        if 400 <= self.status < 500 and self.status != 401 and "Retry-After" not in self.headers:
            return Refusal(403, self.text)
        return self


class Refusals:
    """The last one of each token. None of a token that was let in since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Refusal]] = OrderedDict()

    def keep(self, token: str, refusal: Refusal) -> None:
        key = _key(token)
        self._kept[key] = self._clock(), refusal
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def forget(self, token: str) -> None:
        self._kept.pop(_key(token), None)

    def of(self, token: str) -> Refusal | None:
        at, refusal = self._kept.get(_key(token), (0.0, None))
        return refusal if refusal is not None and self._clock() - at < KEPT else None


def _key(token: str) -> bytes:
    return hashlib.blake2b(token.encode(), digest_size=16).digest()
