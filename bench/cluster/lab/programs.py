"""The Rust programs that the lab runs, built when they are out of date."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.lab.processes import ROOT, LabError


@dataclass(frozen=True)
class Programs:
    """The load engine and the network emulator."""

    load: Path
    netem: Path


def build(*, release: bool = True) -> Programs:
    """With cargo's own progress on stderr. Raises LabError when it fails."""
    command = ["cargo", "build", "--locked", "--package", "pysfu-load", "--package", "pysfu-netem"]
    command += [*(["--release"] if release else []), "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode != 0:
        raise LabError("the load engine and the emulator cannot be built")
    messages = (json.loads(line) for line in done.stdout.splitlines())
    built = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message.get("reason") == "compiler-artifact" and message.get("executable")
    }
    return Programs(load=built["pysfu-load"], netem=built["pysfu-netem"])
