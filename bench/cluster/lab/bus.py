"""Debian's nats-server as the cluster's bus."""

import asyncio
import signal
import socket
import tempfile

from bench.cluster.lab.namespaces import Namespace
from bench.cluster.lab.processes import Child

PORT = 4222


class Bus:
    """One server with JetStream. What it stores survives `kill` and `start`."""

    def __init__(self, address: str, *, namespace: Namespace | None = None) -> None:
        self.url = f"nats://{address}:{PORT}"
        self._address, self._namespace = address, namespace
        self._folder = tempfile.TemporaryDirectory(prefix="pysfu-lab-nats-")
        command = ["nats-server", "--addr", address, "--port", str(PORT)]
        command += ["--jetstream", "--store_dir", self._folder.name]
        self._child = Child("nats", command, namespace=namespace)

    async def start(self) -> None:
        """Until its port is open."""
        await self._child.start()
        await self._child.until(self._is_open, "open")

    async def kill(self) -> None:
        """kill -9."""
        await self._child.end(signal.SIGKILL)

    async def close(self) -> None:
        """The end of it and of what it stored."""
        await self._child.close()
        self._folder.cleanup()

    async def _is_open(self) -> bool:
        def make() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

        with self._namespace.run(make) if self._namespace else make() as probe:
            probe.setblocking(False)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(probe, (self._address, PORT)), 2)
        return True
