"""LiveKit's Python SDK in a place of the lab: a process of its own, `sdk_participant`, that tells what it noticed."""

import asyncio
import contextlib
import json
import sys
from types import TracebackType
from typing import Any, Self

from bench.cluster.lab.nodes import admission
from bench.cluster.lab.processes import Child, LabError
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
        self._child = Child(f"sdk-{identity}", command, namespace=lab.places[clients_of(place)][1], pipes=True)
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._child.start()
        try:
            await self._line(COME_SECONDS)
        except BaseException:
            await self._child.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._child.process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
        await self._child.close()

    @property
    def log(self) -> str:
        return self._child.log

    async def _ask(self, order: str) -> dict[str, Any]:
        async with self._asking:
            process = self._child.process
            assert process is not None
            assert process.stdin is not None
            process.stdin.write(f"{order}\n".encode())
            return await self._line(ANSWER_SECONDS)

    async def _line(self, seconds: float) -> dict[str, Any]:
        process = self._child.process
        assert process is not None
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), seconds)
        if not line:
            raise LabError(f"{self._child.name} ended:\n{self._child.log[-4000:]}")
        told: dict[str, Any] = json.loads(line)
        return told
