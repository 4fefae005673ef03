"""What a participant with a real media stack (Chromium, the Python SDK) noticed."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.cluster.lab.processes import LabError

POLL_SECONDS = 0.1
FLOWS_MS = 1_000.0


@dataclass(frozen=True)
class Flow:
    """One kind of media of one other. `count`: packets of audio, decoded frames of video, since it was watched.

    `gap_ms`: the longest time without any since the last report; `silent_ms`: since the last one.
    """

    count: int
    gap_ms: float
    silent_ms: float

    @property
    def flows(self) -> bool:
        return self.count > 0 and self.silent_ms < FLOWS_MS


@dataclass(frozen=True)
class Witnessed:
    """`others`: who is in the room. `left`: who was seen to leave since the last report, once for each time.

    `events`: of the connection, since then, too: `signalReconnecting` (of the browser), `reconnecting`, `reconnected`,
    `disconnected`.
    """

    connected: bool
    others: list[str]
    left: list[str]
    events: list[str]
    audio: dict[str, Flow]
    video: dict[str, Flow]

    @property
    def gap_ms(self) -> float:
        """The longest that any voice was not heard."""
        return max((flow.gap_ms for flow in self.audio.values()), default=0.0)

    def missing(self, others: set[str], watched: set[str]) -> list[str]:
        """What lacks of others who are all to be heard, and some watched."""
        return [
            *([] if self.connected else ["the connection"]),
            *(f"{who}" for who in sorted(others - set(self.others))),
            *(f"the voice of {who}" for who in sorted(others) if who not in self.audio or not self.audio[who].flows),
            *(f"the picture of {who}" for who in sorted(watched) if who not in self.video or not self.video[who].flows),
        ]


class Witness(ABC):
    """What `Browser` and `Sdk` have in common."""

    name: str

    async def look(self) -> Witnessed:
        """Since the last report, or since it came."""
        return parse(await self._ask("look"))

    async def report(self) -> Witnessed:
        """The same; gaps and who left begin anew."""
        return parse(await self._ask("report"))

    async def until(
        self, holds: Callable[[Witnessed], bool], seconds: float = 20.0, what: Callable[[Witnessed], Any] = repr
    ) -> Witnessed:
        """The first look of which it holds. Raises LabError with `what` was so at last."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            seen = await self.look()
            if holds(seen):
                return seen
            if asyncio.get_running_loop().time() > end:
                raise LabError(f"{self.name}, after {seconds:.0f} s: {what(seen)}")
            await asyncio.sleep(POLL_SECONDS)

    @abstractmethod
    async def _ask(self, order: str) -> dict[str, Any]:
        """The answer to `look` or `report`: a `Witnessed`, as JSON has it."""


def parse(told: dict[str, Any]) -> Witnessed:
    """From JSON."""
    flows = {kind: {who: Flow(**flow) for who, flow in told[kind].items()} for kind in ("audio", "video")}
    return Witnessed(**{**told, **flows})
