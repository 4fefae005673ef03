"""Child processes that never outlive this one: the kernel ends them when it is killed."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from bench.cluster.lab.namespaces import Namespace

ROOT = Path(__file__).parents[3]
PR_SET_PDEATHSIG = 1
END_SECONDS = 15.0
READY_SECONDS = 30.0
POLL_SECONDS = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """A part of the lab did not start or ended too early; the text ends with what it wrote."""


def pysfu(*arguments: str) -> list[str]:
    """The command line of the product, from this tree."""
    return [sys.executable, "-c", "from pysfu.cli import main; main()", *arguments]


class Child:
    """A program in a namespace, or beside us without one. What it writes is in `log` unless its output is a pipe."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        namespace: Namespace | None = None,
        environment: Mapping[str, str] | None = None,
        pipes: bool = False,
    ) -> None:
        self.name = name
        self._command = [str(part) for part in command]
        self._namespace = namespace
        self._environment = dict(environment or {})
        self._pipes = pipes
        self._log = Path(tempfile.mkstemp(prefix=f"pysfu-lab-{name}-", suffix=".log")[1])
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Raises LabError when it does not run."""
        if self.process is None:
            raise LabError(f"{self.name} has not been started")
        return self.process.pid

    @property
    def log(self) -> str:
        """What all its runs wrote."""
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Starts it, or starts it again."""
        parent, namespace = os.getpid(), self._namespace

        def prepare() -> None:
            if namespace is not None:
                namespace.enter()
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # killed before the line above

        pipe = asyncio.subprocess.PIPE
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
                stdin=pipe if self._pipes else asyncio.subprocess.DEVNULL,
                stdout=pipe if self._pipes else log,
                stderr=log,
                limit=2**24,
                # Ctrl-C is ours to handle.
                start_new_session=True,
                preexec_fn=prepare,
            )

    async def until(self, ready: Callable[[], Awaitable[bool]], what: str = "ready") -> None:
        """Waits until `ready`, whose OSErrors mean that it is not. Raises LabError when the program ends before."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if not self.is_running:
                raise LabError(f"{self.name} ended before it was {what}:\n{self.log[-4000:]}")
            with contextlib.suppress(OSError):
                if await ready():
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise LabError(f"{self.name} was not {what} after {READY_SECONDS:.0f} s:\n{self.log[-4000:]}")

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """Asks it to end, then makes it. The exit code; None when it did not run."""
        if self.process is None:
            return None
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(how)
            try:
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        return self.process.returncode

    def signal(self, which: signal.Signals) -> None:
        """SIGSTOP and SIGCONT make a process that is there but does nothing."""
        assert self.process is not None
        self.process.send_signal(which)

    async def close(self) -> None:
        """The end of it and of its log."""
        await self.end()
        self._log.unlink(missing_ok=True)
