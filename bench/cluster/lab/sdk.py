"""LiveKit's Python SDK in a place of the lab: a process of its own, `sdk_participant`, that tells what it noticed."""

import sys
from types import TracebackType
from typing import Any, Self

from bench.cluster.lab.answering import Answering
from bench.cluster.lab.nodes import admission
from bench.cluster.lab.witness import Witness
from bench.cluster.lab.world import Lab, clients_of

COME_SECONDS = 30.0
ANSWER_SECONDS = 10.0


class Sdk(Witness):
    """One participant with camera and microphone, in the call when the context manager has begun."""

    def __init__(self, lab: Lab, place: str, room: str, identity: str, url: str) -> None:
        """`place`: a region that has clients. `url`: the one that it knows, "ws://…"."""
        self.name = identity
        command = [sys.executable, "-m", "bench.cluster.lab.sdk_participant", url, admission(room, identity)]
        self._child = Answering(f"sdk-{identity}", command, lab.places[clients_of(place)][1])

    async def __aenter__(self) -> Self:
        await self._child.come(COME_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._child.leave()

    @property
    def log(self) -> str:
        return self._child.log

    async def _ask(self, order: str) -> dict[str, Any]:
        return await self._child.ask(order, ANSWER_SECONDS)
