"""The servers under measurement: context managers around processes that are pinned before they run."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.forward import janus as peer

ROOT = Path(__file__).parents[2]
READY_SECONDS = 30.0
END_SECONDS = 15.0
# Bits per second: more than any receiver of a measurement takes.
START_BITRATE = 200_000_000
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """A server did not start; the text ends with what it wrote."""


@dataclass(frozen=True)
class Running:
    """A server that is ready: the URL that pysfu-load takes and the process whose CPU counts."""

    url: str
    pid: int
    # Where it tells its metrics, if it does.
    metrics: str = ""
    # What puts the load engine into the server's network namespace, and its address there.
    prefix: tuple[str, ...] = ()
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Programs:
    """Release builds of the load engine and of the bare relay."""

    load: Path
    ceiling: Path


def build() -> Programs:
    """Builds what is out of date, with cargo's own progress on stderr."""
    command = ["cargo", "build", "--release", "--locked", "--package", "pysfu-load", "--package", "pysfu-ceiling"]
    command += ["--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    messages = (json.loads(line) for line in done.stdout.splitlines())
    built = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message.get("reason") == "compiler-artifact" and message.get("executable")
    }
    return Programs(load=built["pysfu-load"], ceiling=built["pysfu-ceiling"])


@contextlib.contextmanager
def process(command: Sequence[str | Path], cpus: Sequence[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` on `cpus`, its output in `log`; on the way out it is ended, whatever happened.

    It has a session of its own, so that Ctrl-C is ours to handle, and the kernel ends it when we are killed.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        os.sched_setaffinity(0, cpus)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # killed before the line above

    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=prepare,
        )  # fmt: skip
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """Asks it to end, then makes it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


@contextlib.contextmanager
def ceiling(programs: Programs, cpu: int, *, crypto: str, gso: str) -> Iterator[Running]:
    """The bare relay. `crypto`: gcm or none; `gso`: on or off."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command: list[str | Path] = [
        programs.ceiling,
        "--listen",
        address,
        "--crypto",
        crypto,
        "--gso",
        gso,
        "--cpu",
        str(cpu),
    ]
    with _log() as log, process(command, [cpu], log) as child:
        _until(lambda: b"listening on" in log.read_bytes(), child, log)
        yield Running(f"relay://{address}", child.pid)


@contextlib.contextmanager
def pysfu(cpus: Sequence[int], *, workers: int = 1) -> Iterator[Running]:
    """The product as its users run it, with one media thread unless told otherwise. Thread i is pinned to the i-th of
    `cpus` (the last one for those beyond), all else to the first."""
    http, grpc, udp = free_port(), free_port(), free_udp_ports(workers)
    command = [sys.executable, "-c", "from pysfu.cli import main; main()", "serve", "--dev", "--log-level", "warning"]
    command += ["--http-port", str(http), "--grpc-port", str(grpc), "--udp-port", str(udp), "--workers", str(workers)]
    # Loopback carries what is asked for: nothing waits until that is found out.
    command += ["--start-bitrate", str(START_BITRATE)]
    with _log() as log, process(command, list(cpus), log) as child:
        _until(lambda: _answers(f"http://127.0.0.1:{http}/readyz"), child, log)
        if len(cpus) > 1:
            _spread(child.pid, cpus)
        yield Running(f"pysfu://127.0.0.1:{grpc}", child.pid, f"http://127.0.0.1:{http}/metrics")


@contextlib.contextmanager
def janus(cpu: int) -> Iterator[Running]:
    """Debian's Janus with the videoroom plugin."""
    with _log() as log, peer.namespace() as prefix:
        peer.configure(log.parent, peer.installation())
        command = [*prefix, "janus", "--configs-folder", str(log.parent)]
        with process(command, [cpu], log) as child:
            listens = [*prefix, "ss", "-Hltn", f"sport = :{peer.PORT}"]
            _until(lambda: bool(subprocess.check_output(listens)), child, log)  # noqa: S603
            url = f"janus+ws://{peer.ADDRESS}:{peer.PORT}"
            yield Running(url, child.pid, prefix=prefix, address=peer.ADDRESS)


def packets_by_worker(server: Running) -> dict[str, int]:
    """RTP packets that each of pysfu's workers has sent, by its number."""
    with urllib.request.urlopen(server.metrics, timeout=5) as response:  # noqa: S310
        text = response.read().decode()
    found = re.findall(r'^pysfu_rtp_packets_out_total\{worker="(\d+)"\} (\S+)$', text, re.MULTILINE)
    return {worker: int(float(count)) for worker, count in found}


def _spread(pid: int, cpus: Sequence[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            name = (task / "comm").read_text().strip()
            index = int(name.rpartition("-")[2]) if name.startswith("sfu-worker-") else 0
            os.sched_setaffinity(int(task.name), [cpus[min(index, len(cpus) - 1)]])


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def free_udp_ports(count: int) -> int:
    """The first of `count` UDP ports of the loopback in a row that nobody uses now."""
    for first in range(42_000, 60_000, 64):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return first
    raise ServerError(f"no {count} free UDP ports in a row")


@contextlib.contextmanager
def _log() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-forward-") as folder:
        yield Path(folder) / "log"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _until(ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server is ready: there is no event to wait on across processes."""
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if child.poll() is not None:
            raise ServerError(f"the server ended with {child.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"the server is not ready after {READY_SECONDS:.0f} s:\n{tail(log)}")
        time.sleep(0.02)


def tail(log: Path, size: int = 4_000) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-size:] if log.exists() else ""
