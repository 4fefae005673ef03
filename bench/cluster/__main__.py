"""`make bench-cluster`: real nodes in network namespaces, and what their participants notice when things go wrong."""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from bench.cluster import goals, report
from bench.cluster.lab import namespaces, programs
from bench.cluster.lab.processes import ROOT, Child, LabError
from bench.cluster.lab.programs import Programs
from bench.cluster.scenarios import audience, beyond, bus, drain, failover, mixed, partition, paths, restart, spanning
from bench.common import machine
from bench.common.progress import Progress, clock

RESULTS = ROOT / "bench" / "results"
BUILD = ROOT / "build" / "bench"
Run = Callable[[Programs, Callable[[str], None]], Awaitable[dict[str, Any]]]


def main() -> int:
    """0 when everything was measured, 1 when something failed, 2 when nothing can be."""
    options = _options()
    if options.render:
        _write(json.loads((options.out / "cluster.json").read_text()), options.out)
        return 0
    # Ended from outside, everything in the lab must end as well.
    signal.signal(signal.SIGTERM, _terminate)
    progress = Progress()
    if namespaces.refusal():
        progress.line(f"{namespaces.refusal()}: paths cannot be emulated, and nothing is measured")
        return 2
    try:
        built = programs.build()
    except (OSError, LabError) as error:
        progress.line(str(error))
        return 2
    begun = time.monotonic()
    try:
        results, failures = asyncio.run(_measure(built, options, progress))
    except KeyboardInterrupt:
        progress.line("interrupted: nothing is written")
        return 130
    result = _kept(options)
    result |= {
        "machine": machine.describe(),
        **machine.commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round(result.get("minutes", 0.0) + (time.monotonic() - begun) / 60, 1),
        "quick": options.quick,
        "failures": result.get("failures", {}) | failures,
    }
    result["scenarios"] = result.get("scenarios", {}) | results
    _write(result, options.out)
    for goal in result["goals"]:
        word = {True: "met", False: "MISSED", None: "?"}[goal["met"]]
        sys.stdout.write(f"{word:>6}  {goal['what']}: {goal['measured']} (goal {goal['goal']})\n")
    progress.line(f"wrote {options.out / 'cluster.json'} and {options.out / 'cluster.html'}")
    return 1 if failures else 0


def scenarios(options: argparse.Namespace) -> dict[str, tuple[float, Run]]:
    """Name, expected seconds and what is run."""
    quick: bool = options.quick
    bus_seconds: float = options.bus_seconds
    runs: int = options.partitions
    steps = (5, 10) if quick else (10, 20, 40, 80, 120, 160, 240)
    found: dict[str, tuple[float, Run]] = {
        "links": (20 if quick else 270, lambda _, __: relay_figures(quick=quick)),
        "spanning": (15, lambda built, _: spanning.run(built, nodes=3 if quick else 5, seconds=3 if quick else 10)),
        "paths": (90, lambda built, tell: paths.run(built, tell=tell, rounds=1 if quick else 3)),
        "beyond": (30, lambda built, tell: beyond.run(built, tell=tell)),
        "failover": (25, lambda built, tell: failover.run(built, tell=tell, victims=40 if quick else 200)),
        "drain": (25, lambda built, tell: drain.run(built, tell=tell, rooms=10 if quick else 40)),
        "drain_far": (25, lambda built, tell: drain.run(built, tell=tell, rooms=10 if quick else 40, far=True)),
        "bus": (bus_seconds + 20, lambda built, tell: bus.run(built, tell=tell, seconds=bus_seconds)),
        "partition": (12.0 * runs + 15, lambda built, tell: partition.run(built, tell=tell, runs=runs)),
        "restart": (25, lambda built, tell: restart.run(built, tell=tell)),
        "clock": (20, lambda built, tell: restart.clock(built, tell=tell)),
        "mixed": (25, lambda built, tell: mixed.spanning(built, tell=tell)),
        "mixed_moving": (30, lambda built, tell: mixed.moving(built, tell=tell)),
        "audience": (15.0 * len(steps), lambda built, tell: audience.run(built, tell=tell, steps=steps)),
    }
    return found


async def relay_figures(*, quick: bool) -> dict[str, Any]:
    """Of links alone (`python -m bench.cluster.relay`)."""
    command = [sys.executable, "-m", "bench.cluster.relay", *(["--quick"] if quick else [])]
    child = Child("relay", command, pipes=True)
    try:
        await child.start()
        assert child.process is not None
        written, _ = await child.process.communicate()
        if child.process.returncode:
            raise LabError(f"bench.cluster.relay failed:\n{child.log[-2000:]}")
        found: dict[str, Any] = json.loads(written)
        return found
    finally:
        await child.close()


async def _measure(
    built: Programs, options: argparse.Namespace, progress: Progress
) -> tuple[dict[str, Any], dict[str, str]]:
    chosen = {name: row for name, row in scenarios(options).items() if name in options.only}
    progress.expect(sum(seconds for seconds, _ in chosen.values()))
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for name, (seconds, run) in chosen.items():
        progress.begin(name)
        begun = time.monotonic()

        def tell(text: str, name: str = name) -> None:
            progress.begin(f"{name}: {text}")

        try:
            results[name] = await run(built, tell)
            progress.line(f"{name}: done in {clock(time.monotonic() - begun)}")
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"
            progress.line(f"{name} FAILED: {failures[name]}")
        progress.done(seconds)
    return results, failures


def figures(results: dict[str, Any]) -> dict[str, float | None]:
    """The keys of the goals, and what stands beside them."""

    def of(name: str, *keys: str) -> float | None:
        value: Any = results.get(name)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return None if value is None else float(value)

    links = results.get("links") or {}
    return {
        **{
            goal.key: links.get(goal.key)
            for goal in goals.GOALS
            if goal.key.split(".")[0] in ("relay", "hop", "lossy_link")
        },
        **{f"failover.gap_ms.{name}": of("failover", "gap_ms", name) for name in ("p50", "p95", "p99")},
        "failover.returned": of("failover", "returned"),
        "drain.audio_gap_ms.p95": of("drain", "audio_gap_ms", "p95"),
        "drain.far_audio_gap_ms.p95": of("drain_far", "audio_gap_ms", "p95"),
        "drain.dropped": _sum(of("drain", "dropped"), of("drain_far", "dropped")),
        "bus_outage.packets_lost": of("bus", "packets_lost"),
        "bus_outage.joins_failed": of("bus", "joins_failed"),
        "bus_outage.normal_s": of("bus", "normal_s"),
        "partition.reroute_ms.p95": of("paths", "reroute_ms", "p95"),
        "partition.ghost_or_deleted_rooms": of("partition", "ghost_or_deleted_rooms"),
    }


def _sum(*values: float | None) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def nested(flat: dict[str, float | None]) -> dict[str, Any]:
    """`a.b.c` as members of members."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = tree
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return tree


def _kept(options: argparse.Namespace) -> dict[str, Any]:
    """What was measured before, when only some is measured now."""
    file: Path = options.out / "cluster.json"
    every = set(scenarios(options))
    if set(options.only) == every or not file.exists():
        return {}
    before: dict[str, Any] = json.loads(file.read_text())
    failures = {name: text for name, text in before.get("failures", {}).items() if name not in options.only}
    return {"scenarios": before.get("scenarios", {}), "failures": failures, "minutes": before.get("minutes", 0.0)}


def _write(result: dict[str, Any], folder: Path) -> None:
    flat = figures(result["scenarios"])
    result |= nested(flat)
    result["goals"] = goals.evaluate(flat)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (folder / "cluster.html").write_text(report.render(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes that prove that everything works together")
    parser.add_argument("--bus-seconds", type=float, help="how long the bus is away [600; quick: 10]")
    parser.add_argument("--partitions", type=int, help="seeded runs of split brain [100; quick: 3]")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="the others stay as they were measured before")
    parser.add_argument("--render", action="store_true", help="make the page anew from cluster.json, measuring nothing")
    parser.add_argument(
        "--out", type=Path, help="folder of cluster.json and cluster.html [bench/results; quick: build/bench]"
    )
    options = parser.parse_args()
    options.bus_seconds = options.bus_seconds or (10.0 if options.quick else 600.0)
    options.partitions = options.partitions or (3 if options.quick else 100)
    options.out = options.out or (BUILD if options.quick else RESULTS)
    every = list(scenarios(options))
    options.only = options.only or every
    if unknown := sorted(set(options.only) - set(every)):
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(every)}")
    return options


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
