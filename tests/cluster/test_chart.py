"""Pods of the chart as processes on this machine: what Kubernetes would start, asks and ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.cluster import certs
from tests.chart import BIN, KEYS, LEAST, mounted, node_set, pod_environment, render
from tests.cluster.nats_server import NatsServer
from tests.e2e.harness.ports import free_port, free_udp_range

# Pods have addresses of their own: here of the loopback.
ADDRESSES = ("127.0.0.2", "127.0.0.3")
NAMES = ("sfu-pysfu-0", "sfu-pysfu-1")


def values(nats: str) -> dict[str, str]:
    """One worker, ports that are free, everything bound to the pod's own address."""
    bound = {f"settings.{name}": "$(POD_IP)" for name in ("http_host", "grpc_host", "cluster_host", "media_ips")}
    ports = {f"ports.{name}": str(free_port()) for name in ("http", "grpc", "cluster")}
    media = {"media.workers": "1", "media.udpPort": str(free_udp_range(1))}
    return (
        LEAST | bound | ports | media | {"nats.urls[0]": nats, "replicas": "2", "drainTimeout": "5", "region": "here"}
    )


class Pod:
    """A container's process with its variables and mounts. An async context manager."""

    def __init__(self, stateful: Mapping[str, Any], index: int, folder: Path) -> None:
        self.address = ADDRESSES[index]
        self._pod = stateful["spec"]["template"]["spec"]
        (self.container,) = self._pod["containers"]
        known = {"POD_NAME": NAMES[index], "POD_IP": self.address, "HOST_IP": self.address, "PYSFU_KEYS": KEYS}
        variables = pod_environment(self.container, known)
        paths = dict(mounted(self._pod, self.container, variables, folder))
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYSFU_")}
        self.environment = outside | {name: str(paths.get(value, value)) for name, value in variables.items()}
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self._log = folder / f"{NAMES[index]}.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def __aenter__(self) -> "Pod":
        with self._log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                BIN / "pysfu", *self.container["args"], env=self.environment, stdout=log, stderr=log
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def probe(self, name: str) -> int:
        """The status that a probe gets; 0 while nobody listens."""
        found = self.container[name]["httpGet"]
        url = f"http://{self.address}:{self.ports[found['port']]}{found['path']}"
        try:
            async with aiohttp.ClientSession() as http, http.get(url) as response:
                return response.status
        except aiohttp.ClientError:
            return 0

    async def run(self, command: str) -> str:
        """What a command prints, as by `kubectl exec`."""
        process = await asyncio.create_subprocess_exec(
            BIN / "pysfu",
            *(*command.split(), "--url", f"{self.address}:{self.ports['grpc']}"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        return out.decode()

    async def run_until(self, command: str, fits: Callable[[str], bool]) -> str:
        """What it prints once that fits."""
        async with asyncio.timeout(20):
            while not fits(told := await self.run(command)):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.1)
        return told

    async def end(self) -> int:
        """SIGTERM, and the grace period. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), self._pod["terminationGracePeriodSeconds"])


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is the loopback on Linux alone")
async def test_pods_are_a_cluster_that_probes_see_and_sigterm_ends(tmp_path: Path) -> None:
    certs.make(NAMES, tmp_path / "made")
    async with NatsServer() as nats:
        stateful = node_set(render(values(nats.url)))
        async with Pod(stateful, 0, tmp_path) as one, Pod(stateful, 1, tmp_path) as other:
            for pod in (one, other):
                async with asyncio.timeout(30):
                    while await pod.probe("startupProbe") != 200:
                        assert pod.process.returncode is None, pod.log
                        await asyncio.sleep(0.1)  # as the kubelet does
                assert await pod.probe("readinessProbe") == await pod.probe("livenessProbe") == 200
            listed = await one.run_until("node list", lambda told: all(name in told for name in NAMES))
            assert listed.count("ready") == 2
            assert listed.count("here") == 2
            assert "town" in await one.run("room create town")
            assert NAMES[0] in await other.run("room where town")
            assert await one.end() == 0, one.log
            assert "Traceback" not in one.log
            await other.run_until("node list", lambda told: NAMES[0] not in told and NAMES[1] in told)
            assert await other.end() == 0, other.log
