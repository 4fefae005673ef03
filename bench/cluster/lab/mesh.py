"""Emulated paths between namespaces: one `pysfu-netem mesh` for all of them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.cluster.lab.namespaces import Namespace
from bench.cluster.lab.processes import Child, LabError

HERE = "-"
"""The namespace of this process, as the emulator calls it."""
GATHER_US = 250
"""Packets are up to so much later than their paths say: at once, each of them would wake the emulator, which then takes
the CPU that it shares with who is measured (most of one, with 200 who speak)."""


@dataclass(frozen=True)
class Route:
    """Each way of a path: one-way delay in ms, share of packets lost at random (0 to 1)."""

    delay_ms: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True)
class Member:
    """Who is joined: a name, an address, and where it is (None: in the namespace of this process)."""

    name: str
    address: str
    namespace: Namespace | None


class Mesh:
    """All members reach each other; `routes` may change while packets are under way.

    An async context manager. Its devices go away with the emulator's process.
    """

    def __init__(self, program: Path, members: Sequence[Member], *, prefix: int, device: str, seed: int) -> None:
        self._members = [member.name for member in members]
        self._links: dict[tuple[str, str], int] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self._cut: set[tuple[str, str]] = set()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        command: list[str | Path] = [program, "mesh", "--device", device, "--seed", str(seed), "--report-ms", "0"]
        # Ahead of everything else: paths must not wait for who uses them.
        command += ["--realtime", "--gather-us", str(GATHER_US)]
        for member in members:
            where = member.namespace.path if member.namespace else HERE
            command.append(f"--at={where}={member.address}/{prefix}")
        self._child = Child("mesh", command, pipes=True)
        self._reader: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self.totals: dict[tuple[str, str], dict[str, Any]] = {}
        """Counters of each link at the end, by members: what `up` leads to is the second."""

    async def __aenter__(self) -> Self:
        await self._child.start()
        assert self._child.process is not None
        assert self._child.process.stdout is not None
        first = await self._child.process.stdout.readline()
        if not first:
            log = self._child.log
            await self._child.close()
            raise LabError(f"the emulator did not start:\n{log}")
        # In the emulator's order: by the second of a pair, then by the first.
        pairs = sorted(combinations(range(len(self._members)), 2), key=lambda pair: (pair[1], pair[0]))
        for (a, b), link in zip(pairs, json.loads(first)["links"], strict=True):
            self._links[self._members[a], self._members[b]] = link["link"]
        self._reader = asyncio.create_task(self._read(self._child.process.stdout))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._child.end()
        if self._reader is not None:
            await self._reader
        await self._child.close()

    async def route(self, a: str, b: str, route: Route) -> None:
        """Both ways between two members."""
        for pair in ((a, b), (b, a)):
            self._routes[pair] = route
        await self._apply(a, b)

    async def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Nothing passes from `a` to `b`, and, unless one way, back. What is on its way arrives."""
        self._cut |= {(a, b)} if one_way else {(a, b), (b, a)}
        await self._apply(a, b)

    async def heal(self, a: str, b: str) -> None:
        """As before it was cut."""
        self._cut -= {(a, b), (b, a)}
        await self._apply(a, b)

    async def part(self, these: Sequence[str], those: Sequence[str]) -> None:
        """Cuts every path between the two sides."""
        for a in these:
            for b in those:
                await self.cut(a, b)

    async def heal_all(self) -> None:
        """Every path that was cut."""
        for a, b in sorted(self._cut):
            await self.heal(a, b)

    async def _apply(self, a: str, b: str) -> None:
        first, second = (a, b) if (a, b) in self._links else (b, a)
        if (first, second) not in self._links:
            raise LabError(f"there is no path between {a} and {b}")
        link = self._links[first, second]
        up, down = self._routes.get((first, second), Route()), self._routes.get((second, first), Route())
        await self._ask({"link": link, "up": {"delay_ms": up.delay_ms}, "down": {"delay_ms": down.delay_ms}})
        losses = [
            {"loss": {"independent": 1.0 if pair in self._cut else route.loss}}
            for pair, route in (((first, second), up), ((second, first), down))
        ]
        await self._ask({"link": link, "up": losses[0], "down": losses[1]})

    async def _ask(self, command: Mapping[str, object]) -> None:
        async with self._asking:
            assert self._child.process is not None
            assert self._child.process.stdin is not None
            self._child.process.stdin.write(json.dumps(command).encode() + b"\n")
            answer = await asyncio.wait_for(self._answers.get(), 10)
        if answer.get("changed") != 1:
            raise LabError(f"the emulator did not take {command}: {answer}")

    async def _read(self, lines: asyncio.StreamReader) -> None:
        names = {number: pair for pair, number in self._links.items()}
        async for line in lines:
            told = json.loads(line)
            if "changed" in told or "error" in told:
                self._answers.put_nowait(told)
            elif told.get("final"):
                self.totals[names[told["link"]]] = told
