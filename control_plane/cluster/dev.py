"""A cluster on this machine, for development: a NATS server, certificates, and nodes as children of this process."""

import asyncio
import contextlib
import ctypes
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from control_plane.cluster import certs

# Between the ports of one node and those of the next.
STEP: Final = 100
HTTP, GRPC, CLUSTER, UDP, NATS = 7880, 7890, 7891, 7882, 4222
MAX_NODES: Final = 16
# A child that does not end within so many seconds of being asked is killed.
PATIENCE: Final = 6.0
# How long nodes may take to begin.
START: Final = 60.0


class DevError(Exception):
    """The cluster cannot start, or has ended; the text says why and what to change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`regions`: of the nodes in turn; none: each has its own, so that people stay on the node whose page they opened.
    `folder`: for certificates, logs and what NATS stores.
    """

    nodes: int
    folder: Path
    regions: Sequence[str] = ()
    http_port: int = HTTP
    workers: int = 1
    host: str = "127.0.0.1"
    keep_going: bool = False
    """The others go on when a node ends."""

    def node(self, index: int) -> str:
        return f"node-{index + 1}"

    def region(self, index: int) -> str:
        return self.regions[index % len(self.regions)] if self.regions else f"region-{index + 1}"

    def port(self, usual: int, index: int) -> int:
        """Of a service of a node: its usual one, as far from it as `http_port` is, and a step for each node."""
        return usual + self.http_port - HTTP + STEP * index

    @property
    def nats_port(self) -> int:
        return NATS + self.http_port - HTTP

    def command(self, index: int) -> list[str]:
        """What starts a node."""
        node, certificates = self.node(index), self.folder / "certs"
        found = [sys.executable, "-m", "pysfu", "serve", "--dev", "--nats", f"nats://{self.host}:{self.nats_port}"]
        found += ["--cluster-ca", str(certificates / "ca.pem")]
        found += ["--cluster-cert", str(certificates / f"{node}.pem")]
        found += ["--cluster-key", str(certificates / f"{node}.key")]
        found += ["--http-port", str(self.port(HTTP, index)), "--grpc-port", str(self.port(GRPC, index))]
        found += ["--cluster-port", str(self.port(CLUSTER, index)), "--udp-port", str(self.port(UDP, index))]
        found += ["--workers", str(self.workers), "--log-format", "console"]
        found += ["--public-url", self.url(index)]
        return [*found, "--region", self.region(index)]

    def url(self, index: int) -> str:
        return f"http://localhost:{self.port(HTTP, index)}"


async def run(plan: Plan, say: Callable[[str], None], stop: asyncio.Event) -> None:
    """Until `stop` is set, or a child ends. Raises DevError. `say`: gets lines for whoever started it."""
    _check(plan)
    children: dict[str, asyncio.subprocess.Process] = {}
    try:
        certs.make([plan.node(index) for index in range(plan.nodes)], plan.folder / "certs")
        children["nats-server"] = await _start(plan, "nats-server", _nats(plan))
        await _until_open(plan.host, plan.nats_port, children["nats-server"], _log(plan, "nats-server"))
        for index in range(plan.nodes):
            children[plan.node(index)] = await _start(plan, plan.node(index), plan.command(index))
        ready = (_until_ready(plan, index, children[plan.node(index)]) for index in range(plan.nodes))
        await _first_failure([asyncio.ensure_future(one) for one in ready], stop)
        if not stop.is_set():
            for index in range(plan.nodes):
                say(f"{plan.node(index)} ({plan.region(index)}): {plan.url(index)}")
            say(f"logs and certificates: {plan.folder}; Ctrl-C ends all")
            await _watch(plan, children, say, stop)
    except certs.CertificateError as error:
        raise DevError(str(error)) from error
    finally:
        await asyncio.shield(_end(children))


def _check(plan: Plan) -> None:
    """What can be known before anything runs."""
    if not 1 <= plan.nodes <= MAX_NODES:
        raise DevError(f"--nodes must be from 1 to {MAX_NODES}")
    if shutil.which("nats-server") is None:
        raise DevError("nats-server is not installed: apt-get install nats-server")
    if plan.port(CLUSTER, plan.nodes - 1) > 65_535 or plan.nats_port < 1:
        raise DevError(f"--http-port {plan.http_port} leaves no room for {plan.nodes} nodes, {STEP} apart")
    ports = [(plan.nats_port, "NATS")]
    for index in range(plan.nodes):
        ports += [(plan.port(HTTP, index), f"HTTP of {plan.node(index)}")]
        ports += [(plan.port(GRPC, index), f"gRPC of {plan.node(index)}")]
        ports += [(plan.port(CLUSTER, index), f"nodes that call {plan.node(index)}")]
    for port, purpose in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((plan.host, port))
            except OSError as error:
                text = f"port {port}, for {purpose}, is taken: choose others with --http-port"
                raise DevError(text) from error


def _nats(plan: Plan) -> list[str]:
    store = ("--jetstream", "--store_dir", str(plan.folder / "nats"))
    return ["nats-server", "--addr", plan.host, "--port", str(plan.nats_port), *store]


def _log(plan: Plan, name: str) -> Path:
    return plan.folder / f"{name}.log"


async def _start(plan: Plan, name: str, command: Sequence[str]) -> asyncio.subprocess.Process:
    # A group of its own: Ctrl-C reaches this process alone, which then ends them in order.
    with _log(plan, name).open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """A child is told to end also when this process is killed (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


async def _until_open(host: str, port: int, child: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START):
        while True:
            if child.returncode is not None:
                raise DevError(f"it ended at once with {child.returncode}:\n{_tail(log)}")
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _until_ready(plan: Plan, index: int, child: asyncio.subprocess.Process) -> None:
    log = _log(plan, plan.node(index))
    try:
        await _until_open(plan.host, plan.port(HTTP, index), child, log)
    except TimeoutError:
        raise DevError(f"{plan.node(index)} does not begin to serve:\n{_tail(log)}") from None


async def _first_failure(tasks: list["asyncio.Future[None]"], stop: asyncio.Event) -> None:
    """Until all are done, one has failed, or `stop` is set."""
    stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    try:
        pending: set[asyncio.Future[Any]] = {stopped, *tasks}
        while pending - {stopped} and not stop.is_set():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)


async def _watch(
    plan: Plan, children: dict[str, asyncio.subprocess.Process], say: Callable[[str], None], stop: asyncio.Event
) -> None:
    async def ended(name: str, child: asyncio.subprocess.Process) -> None:
        code = await child.wait()
        if not plan.keep_going or name == "nats-server":
            raise DevError(f"{name} has ended with {code}:\n{_tail(_log(plan, name))}")
        say(f"{name} has ended with {code}")
        await stop.wait()

    await _first_failure([asyncio.ensure_future(ended(*item)) for item in children.items()], stop)


async def _end(children: dict[str, asyncio.subprocess.Process]) -> None:
    """Nodes first, so that they can leave the cluster."""
    nodes = [child for name, child in children.items() if name != "nats-server"]
    others = [child for name, child in children.items() if name == "nats-server"]
    for group in (nodes, others):
        running = [child for child in group if child.returncode is None]
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                # A second signal ends a drain.
                child.send_signal(signal.SIGTERM)
        waiting = [asyncio.ensure_future(child.wait()) for child in running]
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        for child in running:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
    return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
