"""A program in the lab that answers lines of its stdin with lines of JSON; the first line says that it is there."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cluster.lab.namespaces import Namespace
from bench.cluster.lab.processes import Child, LabError

GOODBYE_SECONDS = 5.0


class Answering:
    """`come` begins it, `leave` ends it, whatever was in between."""

    def __init__(self, name: str, command: Sequence[str | Path], namespace: Namespace | None) -> None:
        self._child = Child(name, command, namespace=namespace, pipes=True)
        self._asking = asyncio.Lock()

    @property
    def log(self) -> str:
        """What it wrote to stderr."""
        return self._child.log

    async def come(self, seconds: float) -> dict[str, Any]:
        """Its first line."""
        await self._child.start()
        try:
            return await self._line(seconds)
        except BaseException:
            await self._child.close()
            raise

    async def ask(self, order: str, seconds: float) -> dict[str, Any]:
        """Its answer. Raises TimeoutError, and LabError when it has ended."""
        async with self._asking:
            process = self._child.process
            assert process is not None
            assert process.stdin is not None
            process.stdin.write(f"{order}\n".encode())
            return await self._line(seconds)

    async def leave(self) -> None:
        """It may say goodbye to others."""
        process = self._child.process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GOODBYE_SECONDS)
        await self._child.close()

    async def _line(self, seconds: float) -> dict[str, Any]:
        process = self._child.process
        assert process is not None
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), seconds)
        if not line:
            raise LabError(f"{self._child.name} ended:\n{self.log[-4000:]}")
        told: dict[str, Any] = json.loads(line)
        return told
