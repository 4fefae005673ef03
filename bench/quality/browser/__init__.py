"""Quality between real browsers: Chromium receives, behind an emulated link, what pysfu and what Janus forward.

`run` is what `python -m bench.quality` calls. The publisher is the load engine with a stamped recording
(`recording.py`), so that the page can tell each frame's delay; the link is `pysfu-netem relay`. All of it runs in a
network namespace of its own, which ends with its processes. Needs root, Chromium, Janus, and two CPUs that nobody else
uses.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.common.progress import Progress
from bench.forward import servers
from bench.quality.browser import recording
from bench.quality.browser.scenarios import QUICK, SCENARIOS
from bench.quality.rows import Sample, Series

ROOT = Path(__file__).parents[3]
RECORDING = ROOT / "target" / "load" / "stamped"
PEERS = ("pysfu", "janus")
MOST_SEEDS = 3
"""More would not end within 25 minutes."""
OVERHEAD = 3.0
"""Seconds to start and end a server, a publisher and a page."""


def run(
    *, seeds: int, quick: bool, progress: Progress, scenarios: Sequence[str] = (), peers: Sequence[str] = PEERS
) -> Iterator[Sample | Series]:
    """Everything that is measured, as soon as it is. `scenarios`: names; all if empty, or the few of `quick`.

    Raises OSError when a run failed twice or the namespace cannot be made.
    """
    names = scenarios or (QUICK if quick else [scenario.name for scenario in SCENARIOS])
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    count = 1 if quick else min(seeds, MOST_SEEDS)
    jobs = [[peer, scenario.name, seed] for seed in range(1, count + 1) for scenario in chosen for peer in peers]
    if not recording.is_complete(RECORDING):
        for path, _ in recording.record(RECORDING):
            progress.tell(f"recorded {path.name}")
    programs = build()
    plan = {name: str(path) for name, path in programs.items()} | {"recording": str(RECORDING), "jobs": jobs}
    progress.expect(count * len(peers) * sum(scenario.seconds + OVERHEAD for scenario in chosen))
    # The namespaces of network and processes end with the worker, and the worker with us.
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, "-m", "bench.quality.browser.worker", json.dumps(plan)]
    worker = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        preexec_fn=_end_with_parent,
    )  # fmt: skip
    failures: list[str] = []
    try:
        assert worker.stdout is not None
        for line in worker.stdout:
            yield from _take(json.loads(line), progress, failures)
        if worker.wait() != 0:
            raise OSError(f"the browser part ended with {worker.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    if failures:
        raise OSError("; ".join(failures))


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(servers.PR_SET_PDEATHSIG, signal.SIGKILL)


def _take(told: dict[str, Any], progress: Progress, failures: list[str]) -> Iterator[Sample | Series]:
    if "begin" in told:
        progress.begin(told["begin"])
    elif "done" in told:
        progress.done(told["expected"] + OVERHEAD)
    elif "sample" in told:
        yield Sample(**told["sample"])
    elif "series" in told:
        yield Series(**told["series"])
    elif "failed" in told:
        progress.line(told["failed"])
        if told["last"]:
            failures.append(told["failed"])


def build(*, release: bool = True) -> dict[str, Path]:
    """The load engine (`load`) and the emulator (`netem`)."""
    command = ["cargo", "build", "--locked", "--package", "pysfu-load", "--package", "pysfu-netem"]
    command += ["--message-format", "json-render-diagnostics", *(["--release"] if release else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    messages = (json.loads(line) for line in done.stdout.splitlines())
    built = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message.get("reason") == "compiler-artifact" and message.get("executable")
    }
    return {"load": built["pysfu-load"], "netem": built["pysfu-netem"]}
