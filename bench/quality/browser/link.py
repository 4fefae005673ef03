"""The emulated link between a server and one receiver: `pysfu-netem relay`, whose address the receiver is given."""

import asyncio
import contextlib
import ipaddress
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# UDP candidates of component 1 (RFC 8839 section 5.1); the rest of the line is kept.
CANDIDATE = re.compile(r"^(a=candidate:\S+ 1 udp \d+ )(\S+) (\d+)( typ host.*)$", re.MULTILINE | re.IGNORECASE)
REPORT_MS = 50


@dataclass
class Link:
    """A running relay. `reports`: its lines of statistics, each with `at`, s since 1970."""

    address: str
    port: int
    reports: list[dict[str, Any]] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None

    def script(self, steps: Sequence[tuple[float, Mapping[str, object]]]) -> None:
        """Changes of the direction towards the receiver, in order: (s from now, change)."""
        self._send({"down_script": [list(step) for step in steps]})

    def rewrite(self, sdp: str) -> str:
        """The server's description with this link in place of its own address, and no other candidates."""
        kept = False

        def replaced(match: re.Match[str]) -> str:
            nonlocal kept
            if kept:
                return ""
            kept = True
            return f"{match[1]}{self.address} {self.port}{match[4]}"

        return re.sub(r"(\r?\n)+", "\r\n", CANDIDATE.sub(replaced, sdp))

    def _send(self, command: Mapping[str, object]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")


def candidate(sdp: str) -> tuple[str, int]:
    """Address and port of a description's first IPv4 candidate. Raises ValueError when it has none."""
    for match in CANDIDATE.finditer(sdp):
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv4Address(match[2])), int(match[3])
    raise ValueError("no IPv4 candidate")


@contextlib.asynccontextmanager
async def relay(
    program: Path,
    to: tuple[str, int],
    *,
    address: str,
    down: Mapping[str, object],
    up: Mapping[str, object],
    seed: int,
) -> AsyncIterator[Link]:
    """A link to a server's media port. `down` leads to the receiver; both as the emulator's README has them."""
    command: list[str | Path] = [program, "relay", "--forward", f"{address}:0={to[0]}:{to[1]}", "--seed", str(seed)]
    command += ["--report-ms", str(REPORT_MS), "--down", json.dumps(down), "--up", json.dumps(up)]
    # Ahead of everything else where that is allowed: the link must not wait for who uses it.
    command += ["--realtime"] if os.geteuid() == 0 else []
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    first = await process.stdout.readline()
    if not first:
        raise OSError(f"{program.name} did not start")
    port = int(json.loads(first)["forwards"][0]["listen"].rpartition(":")[2])
    link = Link(address, port, _process=process)
    reader = asyncio.create_task(_read(process.stdout, link))
    try:
        yield link
    finally:
        process.terminate()
        await process.wait()
        await reader


async def _read(lines: asyncio.StreamReader, link: Link) -> None:
    # A line comes at its time or later, so the earliest tells when the link's clock began.
    zero = float("inf")
    async for line in lines:
        report = json.loads(line)
        if "down" in report:
            zero = min(zero, time.time() - report["t_s"])
            link.reports.append(report)
    for report in link.reports:
        report["at"] = zero + report["t_s"]
