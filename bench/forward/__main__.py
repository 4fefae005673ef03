"""`python -m bench.forward`: measures, then writes forward.json and forward.html."""

import argparse
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from bench.common import machine
from bench.common.progress import Progress, clock
from bench.forward import goals, report, results, servers
from bench.forward.measure import LOAD_CPU, SERVER_CPU, Session, available_peers
from bench.forward.plan import FULL, QUICK

# Every step of the last run, before it is reduced.
RAW = servers.ROOT / "build" / "bench" / "forward-raw.json"
RESULTS = servers.ROOT / "bench" / "results"


def main() -> int:
    """0 when everything was measured, 1 when something failed, 2 when the machine cannot be used."""
    options = _options()
    if options.render:
        _write(json.loads((options.out / "forward.json").read_text()), options.out)
        return 0
    plan = QUICK if options.quick else FULL
    # Ended from outside, the servers must end as well.
    signal.signal(signal.SIGTERM, _terminate)
    progress = Progress()
    try:
        programs = servers.build()
    except (OSError, subprocess.CalledProcessError) as error:
        progress.line(f"cannot build: {error}")
        return 2
    cpus = [SERVER_CPU, LOAD_CPU]
    try:
        forced = False
        if options.wait:
            machine.wait_until_quiet(cpus, progress.line)
        else:
            machine.require_quiet(cpus)
    except machine.BusyError as error:
        if not (options.force or options.quick):
            progress.line(f"{error}\nNothing was measured. --wait waits until it is quiet, --force measures anyway.")
            return 2
        forced = True
        progress.line(f"measuring anyway: {error}")
    session = Session(plan, programs, progress, peers=available_peers(progress.line))
    progress.expect(session.expected_seconds())
    about: dict[str, Any] = {
        "machine": machine.describe(),
        **machine.commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "forced": forced,
    }
    begun = time.monotonic()
    try:
        session.run()
    except KeyboardInterrupt:
        progress.line("interrupted: nothing is written")
        return 130
    about["minutes"] = (time.monotonic() - begun) / 60
    RAW.parent.mkdir(parents=True, exist_ok=True)
    RAW.write_text(json.dumps({"raw": session.raw, "about": about}))
    result = results.summarise(session.raw, about)
    _write(result, options.out)
    progress.line(
        f"done in {clock(about['minutes'] * 60)}: {options.out / 'forward.json'}, {options.out / 'forward.html'}"
    )
    for goal in result["goals"]:
        word = {True: "met", False: "MISSED", None: "?"}[goal["met"]]
        sys.stdout.write(f"{word:>6}  {goal['what']}: {goal['measured']} (goal {goal['goal']}) {goal['note']}\n")
    return 1 if result["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.forward", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes that prove that everything works together")
    parser.add_argument("--force", action="store_true", help="measure although something else uses the CPUs")
    parser.add_argument("--wait", action="store_true", help="wait until nothing else uses the CPUs")
    parser.add_argument("--render", action="store_true", help="make the page anew from forward.json, measuring nothing")
    parser.add_argument(
        "--out", type=Path, help="folder of forward.json and forward.html [bench/results; quick: build]"
    )
    options = parser.parse_args()
    if options.out is None:
        options.out = servers.ROOT / "build" / "bench" if options.quick else RESULTS
    return options


def _write(result: dict[str, Any], folder: Path) -> None:
    result["goals"] = goals.evaluate(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forward.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (folder / "forward.html").write_text(report.render(result))


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
