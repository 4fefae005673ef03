"""Nodes: `pysfu serve` processes, each at an address of its own."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from bench.cluster.lab.namespaces import Namespace
from bench.cluster.lab.processes import Child, pysfu
from control_plane.auth import Grants, Token, create_token

KEY, SECRET = "labkey", "the-secret-of-every-lab-is-no-secret"
HTTP_PORT, GRPC_PORT, MEDIA_PORT, CLUSTER_PORT = 7880, 7890, 7882, 7891
DAY = 24 * 3_600.0


def admission(room: str, identity: str) -> str:
    """A token for a participant."""
    grants = Grants(room=room, room_join=True, can_update_own_metadata=True)
    return create_token(KEY, SECRET, Token(identity=identity, name=identity, grants=grants), ttl=DAY)


class Node:
    """One node. `settings` are those of `control_plane.config`, by name; what the lab decides comes first."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        region: str = "",
        namespace: Namespace | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.address, self.region, self.namespace = name, address, region, namespace
        self.http = f"http://{address}:{HTTP_PORT}"
        self.ws = f"ws://{address}:{HTTP_PORT}"
        self.grpc = f"{address}:{GRPC_PORT}"
        """Without TLS, for RoomService and the like."""
        given = {
            "http_host": address,
            "http_port": str(HTTP_PORT),
            "grpc_host": address,
            "grpc_port": str(GRPC_PORT),
            "media_ips": address,
            "udp_port": str(MEDIA_PORT),
            "workers": "1",
            "keys": f"{KEY}: {SECRET}",
            "log_format": "console",
            "drain_timeout": "10",
            **(settings or {}),
        }
        variables = {f"PYSFU_{name.upper()}": value for name, value in given.items()}
        self._child = Child(name, pysfu("serve"), namespace=namespace, environment={**variables, **(environment or {})})

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def log(self) -> str:
        """Of all its runs."""
        return self._child.log

    @property
    def is_running(self) -> bool:
        return self._child.is_running

    async def start(self) -> None:
        """Until it is ready for clients."""
        await self.launch()
        await self.ready()

    async def launch(self) -> None:
        """Starts it and returns at once."""
        await self._child.start()

    async def ready(self) -> None:
        """Until `/readyz` says so. Raises LabError when it ends before."""
        await self._child.until(self._is_ready)

    async def _is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of its HTTP, asked from inside its namespace, so that no emulated path is in the way."""
        target = urlsplit(self.http)
        return await asyncio.wait_for(get(self.namespace, target.hostname or "", target.port or 80, path), 10)

    async def kill(self) -> None:
        """kill -9: nobody is told."""
        await self._child.end(signal.SIGKILL)

    async def stop(self) -> int | None:
        """SIGTERM: it drains. The exit code."""
        return await self._child.end()

    def freeze(self) -> None:
        """It is there but does nothing."""
        self._child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on, with what has come meanwhile."""
        self._child.signal(signal.SIGCONT)

    async def close(self) -> None:
        """The end of it."""
        if self.is_running:
            self.thaw()
        await self._child.end(signal.SIGKILL)
        await self._child.close()

    def cpu_seconds(self) -> float:
        """That it has used so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def get(namespace: Namespace | None, host: str, port: int, path: str) -> tuple[int, str]:
    """One GET over HTTP/1.0 (RFC 1945), from a socket inside the namespace. Raises OSError."""

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    made = namespace.run(make) if namespace else make()
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    reader, writer = await asyncio.open_connection(sock=made)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    words = head.split(" ", 2)
    if len(words) < 2:
        raise ConnectionResetError("no answer")
    return int(words[1]), body
