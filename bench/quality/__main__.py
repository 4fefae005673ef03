"""`python -m bench.quality`: measures media quality, then writes quality.json and quality.html."""

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import machine
from bench.common.progress import Progress, clock
from bench.quality import engine, report
from bench.quality.rows import Row, Sample, Series, reduce

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
BUILD = ROOT / "build" / "bench"
SEEDS = 10
QUICK_SEEDS = 1


def main() -> int:
    """0 when everything was measured, 1 when a part failed."""
    options = _options()
    progress = Progress()
    failed = []
    for part in options.parts:
        begun = time.monotonic()
        measured: list[Sample | Series] = []
        try:
            measured.extend(_measure(part, options, progress))
        except (engine.EngineError, OSError) as error:
            progress.line(f"{part}: {error}")
            failed.append(part)
        except KeyboardInterrupt:
            progress.line(f"interrupted: nothing of the {part} part is kept")
            return 130
        if not measured:
            continue
        _keep(part, measured, (time.monotonic() - begun) / 60, options)
        progress.line(f"{part}: done in {clock(time.monotonic() - begun)}")
    about, values = _kept(options)
    rows = reduce(value for value in values if isinstance(value, Sample))
    page = report.render(rows, [value for value in values if isinstance(value, Series)], about)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.html").write_text(page)
    (options.out / "quality.json").write_text(
        json.dumps([row.as_json() for row in rows], indent=1, ensure_ascii=False) + "\n"
    )
    _tell(rows)
    progress.line(f"wrote {options.out / 'quality.json'} and {options.out / 'quality.html'}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--engine-only", action="store_true", help="the engine in simulated time alone")
    only.add_argument("--browser-only", action="store_true", help="real browsers alone")
    only.add_argument("--render", action="store_true", help="make the page anew from what was measured last")
    parser.add_argument("--seeds", type=int, help=f"runs of each scenario [{SEEDS}; quick: {QUICK_SEEDS}]")
    parser.add_argument("--quick", action="store_true", help="shortened: proves that everything works together")
    parser.add_argument(
        "--debug", action="store_true", help="a build of the simulator without optimization of the whole"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of quality.json and quality.html [bench/results; quick: build/bench]"
    )
    options = parser.parse_args()
    options.seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    options.out = options.out or (BUILD if options.quick else RESULTS)
    options.parts = [] if options.render else ["engine", "browser"]
    if options.engine_only:
        options.parts = ["engine"]
    if options.browser_only:
        options.parts = ["browser"]
    return options


def _measure(part: str, options: argparse.Namespace, progress: Progress) -> Iterator[Sample | Series]:
    if part == "engine":
        program = engine.build(release=not options.debug)
        return engine.run(program, seeds=options.seeds, quick=options.quick, progress=progress)
    browser = importlib.import_module("bench.quality.browser")
    values: Iterable[Sample | Series] = browser.run(seeds=options.seeds, quick=options.quick, progress=progress)
    return iter(values)


def _path(part: str, options: argparse.Namespace) -> Path:
    """What a part measured last, before it is reduced. Quick runs are kept apart: their figures mean nothing."""
    return BUILD / f"quality-{part}{'-quick' if options.quick else ''}.json"


def _keep(part: str, measured: list[Sample | Series], minutes: float, options: argparse.Namespace) -> None:
    about = {
        "machine": machine.describe(),
        **machine.commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": minutes,
        "seeds": options.seeds,
        "quick": options.quick,
    }
    path = _path(part, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "samples": [asdict(value) for value in measured if isinstance(value, Sample)],
        "series": [asdict(value) for value in measured if isinstance(value, Series)],
    }
    path.write_text(json.dumps({"about": about, **values}))


def _kept(options: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], list[Sample | Series]]:
    """What is told of the run of each part, and what all parts measured last."""
    about: dict[str, dict[str, Any]] = {}
    values: list[Sample | Series] = []
    for part in ("engine", "browser"):
        path = _path(part, options)
        if path.exists():
            kept = json.loads(path.read_text())
            about[part] = kept["about"]
            values += [Sample(**sample) for sample in kept["samples"]]
            values += [Series(**series) for series in kept["series"]]
    return about, values


def _tell(rows: list[Row]) -> None:
    for row in rows:
        if row.met is None:
            continue
        name = f"{row.scenario} {row.variant}".strip()
        judged = f"{row.judged:.2f} {row.unit}".strip() if math.isfinite(row.judged) else "never"
        word = "met" if row.met else "MISSED"
        sys.stdout.write(f"{word:>6}  {row.peer:6} {name}: {row.metric} {judged} (goal {row.goal})\n")


if __name__ == "__main__":
    sys.exit(main())
