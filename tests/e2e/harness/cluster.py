"""A cluster as its users run it for development: one `pysfu cluster dev` process with its children."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from control_plane.cluster.dev import CLUSTER, GRPC, HTTP, NATS, STEP, UDP
from tests.e2e.harness.ports import free_ports


class DevCluster:
    """An async context manager. Nodes count from 0."""

    def __init__(self, nodes: int = 2, *arguments: str) -> None:
        self.nodes = nodes
        self.http_port = free_base(nodes)
        self._folder = tempfile.TemporaryDirectory(prefix="pysfu-dev-")
        self.folder = Path(self._folder.name)
        self._arguments = ["--nodes", str(nodes), "--http-port", str(self.http_port), "--dir", str(self.folder)]
        self._arguments += arguments
        self.process: asyncio.subprocess.Process | None = None
        self.said: list[str] = []

    def url(self, node: int) -> str:
        return f"http://localhost:{self.http_port + STEP * node}"

    def ws_url(self, node: int) -> str:
        return self.url(node).replace("http", "ws")

    def grpc_address(self, node: int) -> str:
        return f"127.0.0.1:{self.http_port + GRPC - HTTP + STEP * node}"

    def log(self, node: int) -> str:
        return (self.folder / f"node-{node + 1}.log").read_text(errors="replace")

    def pid(self, node: int) -> int:
        """Of the node's process."""
        wanted = f"node-{node + 1}.pem".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes()
                    if wanted in line and str(self.folder).encode() in line:
                        return int(entry.name)
        raise AssertionError(f"node {node} does not run")

    async def pysfu(self, node: int, *arguments: str) -> str:
        """What the command prints, asked of a node."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pysfu", *arguments, "--dev", "--url", self.grpc_address(node)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def __aenter__(self) -> Self:
        assert sys.executable
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pysfu", "cluster", "dev", *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while not self.said or "Ctrl-C" not in self.said[-1]:
                line = (await self.process.stdout.readline()).decode()
                assert line, f"it ended: {self.said}"
                self.said.append(line.rstrip())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = await self.stop()
        logs = [self.log(node) for node in range(self.nodes)]
        self.cleanup()
        if error is not None:
            for node, log in enumerate(logs):
                sys.stderr.write(f"--- log of node {node} (end)\n{log[-8000:]}\n---\n")
            return
        assert code == 0, f"it ended with {code}"
        for log in logs:
            assert "Traceback" not in log, log
            assert "panicked" not in log, log

    def cleanup(self) -> None:
        self._folder.cleanup()

    async def stop(self) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), 30)


def _environment() -> dict[str, str]:
    """Children import what this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def free_base(nodes: int) -> int:
    """An HTTP port from which on all ports of so many nodes are free."""
    offsets = [NATS - HTTP]
    for index in range(nodes):
        offsets += [port - HTTP + STEP * index for port in (HTTP, GRPC, CLUSTER, UDP)]
    return free_ports(offsets)
