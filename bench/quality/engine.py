"""The engine in simulated time: runs `pysfu-sim` and reads what it tells."""

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.common.progress import Progress
from bench.quality.rows import Sample, Series

ROOT = Path(__file__).parents[2]
PEER = "engine"


class EngineError(Exception):
    """The simulator could not be built or failed; what it wrote is on stderr."""


def build(*, release: bool) -> Path:
    """Builds the simulator where it is out of date, with cargo's progress on stderr. Raises EngineError."""
    command = ["cargo", "build", "--locked", "--package", "pysfu-sim", "--message-format", "json-render-diagnostics"]
    if release:
        command.append("--release")
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(f"cannot build pysfu-sim: {error}") from error
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "pysfu-sim":
            return Path(message["executable"])
    raise EngineError("cargo built no pysfu-sim")


def run(program: Path, *, seeds: int, quick: bool, progress: Progress) -> Iterator[Sample | Series]:
    """Runs all scenarios with seeds 1 to `seeds`. Series are told of the first seed alone. Raises EngineError."""
    command = [str(program), "--json", "--series", "--seeds", str(seeds)]
    if quick:
        command.append("--quick")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        if process.stdout is None:
            raise EngineError("pysfu-sim has no output")
        for line in process.stdout:
            message = json.loads(line)
            if plan := message.get("plan"):
                progress.expect(plan["seconds"])
            elif done := message.get("done"):
                progress.done(done["seconds"])
                progress.begin(f"{done['scenario']}, seed {done['seed']} is done")
            else:
                yield _value(message)
    if process.returncode:
        raise EngineError(f"pysfu-sim ended with {process.returncode}")


def _value(message: dict[str, Any]) -> Sample | Series:
    """null stands for what never came, and in series for what is not limited."""
    if sample := message.get("sample"):
        value = sample.pop("value")
        return Sample(peer=PEER, value=math.inf if value is None else value, **sample)
    series = message["series"]
    values = [math.nan if value is None else value for value in series.pop("values")]
    return Series(peer=PEER, values=values, **series)
