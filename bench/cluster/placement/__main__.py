"""Simulates a day of placements in a large cluster, then writes placement.json and placement.html."""

import argparse
import json
import math
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cluster.placement.figures import Figure, figures
from bench.cluster.placement.report import render
from bench.cluster.placement.simulation import Cost, Result, Scenario, by_name, simulate
from bench.common import machine
from bench.common.progress import Progress, clock
from control_plane.cluster.placement import costs

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "bench" / "results"
BUILD = ROOT / "build" / "bench"
QUICK = 20
"""A quick run has so many times fewer nodes and rooms."""


def main() -> int:
    """0 when every goal is met, 1 when not."""
    options = _options()
    progress = Progress()
    divisor = QUICK if options.quick else 1
    scenario = Scenario(nodes=options.nodes // divisor, rooms=options.rooms // divisor, seed=options.seed)
    try:
        result, seconds = _day("as nodes are placed", scenario, costs, progress)
        beside, beside_seconds = _day("for comparison, by name alone", scenario, by_name, progress)
    except KeyboardInterrupt:
        progress.line("interrupted: nothing is kept")
        return 130
    mine, theirs = figures(scenario, result, seconds), figures(scenario, beside, beside_seconds)
    about: dict[str, Any] = machine.commit() | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "nodes": scenario.nodes,
        "rooms": scenario.rooms,
        "participants": result.participants,
        "capacity": scenario.capacity,
        "seed": scenario.seed,
        "quick": options.quick,
    }
    out: Path = options.out or (BUILD if options.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    (out / "placement.html").write_text(render(about, scenario, (result, mine), (beside, theirs)))
    (out / "placement.json").write_text(json.dumps(_json(about, mine, theirs, result), indent=1) + "\n")
    _tell(mine)
    progress.line(f"wrote {out / 'placement.json'} and {out / 'placement.html'}")
    return 0 if all(figure.met is not False for figure in mine) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster.placement", description=__doc__)
    whole = Scenario()
    parser.add_argument("--nodes", type=int, default=whole.nodes, help=f"[{whole.nodes}]")
    parser.add_argument("--rooms", type=int, default=whole.rooms, help=f"of the whole day [{whole.rooms}]")
    parser.add_argument("--seed", type=int, default=whole.seed, help=f"[{whole.seed}]")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times smaller, written to build/bench")
    parser.add_argument("--out", type=Path, help="folder of placement.json and placement.html [bench/results]")
    return parser.parse_args()


def _day(name: str, scenario: Scenario, cost: Cost, progress: Progress) -> tuple[Result, float]:
    begun = time.monotonic()
    shown = -1

    def tell(hour: float) -> None:
        nonlocal shown
        if int(hour) // 3 != shown:
            shown = int(hour) // 3
            progress.tell(f"[{clock(time.monotonic() - begun)} gone] {name}: {int(hour)} o'clock")

    result = simulate(scenario, cost=cost, tell=tell)
    seconds = time.monotonic() - begun
    progress.line(f"{name}: a day of {scenario.rooms:,} rooms on {scenario.nodes:,} nodes in {seconds:.1f} s")
    return result, seconds


def _json(about: dict[str, Any], mine: list[Figure], theirs: list[Figure], result: Result) -> dict[str, Any]:
    beside = {figure.name: figure.value for figure in theirs}
    return {
        "about": about,
        "figures": {
            figure.name: {
                "value": _number(figure.value),
                "by_name": _number(beside[figure.name]),
                "unit": figure.unit,
                "goal": figure.goal.text(figure.unit) if figure.goal else None,
                "pass": figure.met,
            }
            for figure in mine
        },
        "fled": result.fled,
        "series": {
            "hours": [round(hour, 3) for hour in result.hours],
            "imbalance": [_number(value) for value in result.imbalance],
            "away": [_number(value) for value in result.away],
            "moves": result.moves,
            "refusals": result.refusals,
            "again": result.again,
        },
    }


def _number(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def _tell(found: list[Figure]) -> None:
    for figure in found:
        state = {True: "met", False: "MISSED", None: ""}[figure.met]
        value = f"{figure.value:.2%}" if figure.percent else f"{figure.value:,.2f} {figure.unit}".strip()
        sys.stdout.write(f"{figure.name:22} {value:>12}  {state:7} {figure.what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
