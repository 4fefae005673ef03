"""The product as its users run it: one `pysfu serve --dev` process on free ports."""

import asyncio
import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import grpc
from livekit import api

from pysfu.v1 import rooms_pb2, rooms_pb2_grpc
from tests.e2e.harness.ports import free_port, free_udp_range

KEY, SECRET = "devkey", "secret"  # what --dev allows on the loopback


class Server:
    """An async context manager around the process. `log` holds what it wrote."""

    def __init__(self, *arguments: str, workers: int = 2) -> None:
        self.http_port = free_port()
        self.grpc_port = free_port()
        self.udp_port = free_udp_range(workers)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.ws_url = f"ws://127.0.0.1:{self.http_port}"
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self._log = Path(tempfile.mkstemp(prefix="pysfu-server-", suffix=".log")[1])
        self._arguments = [
            *("serve", "--dev", "--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
            *("--udp-port", str(self.udp_port), "--workers", str(workers), *arguments),
        ]
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            program = Path(sys.executable).with_name("pysfu")
            self.process = await asyncio.create_subprocess_exec(program, *self._arguments, stdout=log, stderr=log)
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = await self.stop()
        log = self.log
        self._log.unlink(missing_ok=True)
        if error is None:
            assert code == 0, f"the server ended with {code}:\n{log}"
            assert "Traceback" not in log, log
            assert "panicked" not in log, log
            assert "[asyncio]" not in log, log  # a task that nobody awaited or ended
        else:
            sys.stderr.write(f"--- server log (end)\n{log[-8000:]}\n---\n")

    async def stop(self) -> int:
        """Asks for a drain, returns the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), 30)
        except TimeoutError:
            self.process.kill()
            raise

    def resident_kb(self) -> int:
        """Resident memory of the process."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    async def metrics(self) -> dict[str, float]:
        """Samples of /metrics by name and labels, as written."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as response:
            response.raise_for_status()
            lines = (await response.text()).splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    async def make_room(self, room: str, max_participants: int = 0) -> None:
        """By an operator. 0: for any number."""
        async with grpc.aio.insecure_channel(self.grpc_address) as channel:
            stub: Any = rooms_pb2_grpc.RoomServiceStub(channel)
            request = rooms_pb2.CreateRoomRequest(name=room, max_participants=max_participants)
            await stub.CreateRoom(request, metadata=[("authorization", f"Bearer {admin_token(room)}")])

    async def _ready(self) -> None:
        assert self.process is not None
        async with asyncio.timeout(30), aiohttp.ClientSession() as http:
            while True:
                if self.process.returncode is not None:
                    raise RuntimeError(f"the server ended at once with {self.process.returncode}:\n{self.log}")
                try:
                    async with http.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)  # until the port is open there is nothing to wait on


def token(room: str, identity: str, *, name: str = "", ttl: timedelta = timedelta(hours=1), **grants: object) -> str:
    """A join token made by the LiveKit server SDK, as an application's backend would."""
    video = api.VideoGrants(room_join=True, room=room, **grants)  # type: ignore[arg-type]
    made = api.AccessToken(KEY, SECRET).with_identity(identity).with_name(name or identity)
    return made.with_grants(video).with_ttl(ttl).to_jwt()


def admin_token(room: str = "") -> str:
    """A token for RoomService and StatsService."""
    video = api.VideoGrants(room_create=True, room_list=True, room_admin=True, room=room)
    return api.AccessToken(KEY, SECRET).with_identity("operator").with_grants(video).to_jwt()
