"""One session of measurements: rounds over all servers, forth and back, then workers, joins and memory.

What it yields is a plain dictionary (`raw`), which results.py reduces.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import machine
from bench.common.progress import Progress
from bench.common.stats import median
from bench.forward import servers
from bench.forward.plan import (
    AUDIO_RATE,
    COMPARE_AT,
    LADDER,
    PEER_AT,
    PEER_LADDER,
    WORKERS_AT,
    Media,
    Plan,
    Shape,
    ladder,
    shape,
)
from bench.forward.servers import Programs, Running

SERVER_CPU, LOAD_CPU = 0, 1
# Who is measured on each medium; the first two are the comparison of the headline.
CONTESTANTS: dict[Media, tuple[str, ...]] = {
    "video": ("pysfu", "gso+crypto", "crypto", "gso", "plain", "janus"),
    "audio": ("pysfu", "crypto", "gso+crypto"),
}
# The bare relay that each medium is held against.
YARDSTICK: dict[Media, str] = {"video": "gso+crypto", "audio": "crypto"}
RELAY = {"gso+crypto": ("gcm", "on"), "crypto": ("gcm", "off"), "gso": ("none", "on"), "plain": ("none", "off")}
# Seconds that a server and its participants take to be ready, as expected beforehand.
START = {"pysfu": 3.5, "janus": 4.0}
SEARCH_STEPS = 20
# As expected beforehand, with all its rounds.
RELAY_SECONDS = 150.0
# Where the ladders begin when nothing was searched for (--quick).
FIRST_GUESS = 40_000.0
# One received packet of so many is authenticated and its latency taken.
SAMPLE = 101


class LoadError(Exception):
    """pysfu-load failed; the text ends with what it wrote."""


class Session:
    """Runs a plan. `raw` fills while it runs."""

    def __init__(self, plan: Plan, programs: Programs, progress: Progress, *, peers: Sequence[str]) -> None:
        self._plan = plan
        self._programs = programs
        self._progress = progress
        self._peers = peers
        self._saturations: dict[tuple[Media, str], list[float]] = {}
        self.raw: dict[str, Any] = {
            "plan": plan.name,
            "rounds": plan.rounds,
            "runs": [],
            "background": [],
            "workers": [],
            "joins": [],
            "storms": [],
            "memory": {},
            "relay": {},
            "failures": [],
        }

    def run(self) -> None:
        """Everything. A measurement that fails is told in `raw["failures"]` and leaves a hole."""
        for turn in range(self._plan.rounds + 1):
            shares = machine.background([SERVER_CPU, LOAD_CPU], 1.0 if self._plan.search else 0.2)
            self.raw["background"].append({"round": turn, "busy": [shares[SERVER_CPU], shares[LOAD_CPU]]})
            order = [(media, name) for media in CONTESTANTS for name in self._present(media)]
            for media, name in order if turn % 2 else reversed(order):
                if turn or self._has_ladder(media, name):
                    with self._job(f"round {turn} of {self._plan.rounds}: {media}, {name}", self._seconds(media, turn)):
                        self._round(turn, media, name)
        for turn in range(self._plan.worker_rounds):
            self._workers(turn)
        self._joins()
        with self._job("a packet over a link", RELAY_SECONDS):
            self._relay()
        for kind, media in (("vp8", "video"), ("opus", "audio")):
            with self._job(f"memory of {media} subscriptions", 35):
                self._memory(kind, media)

    def _present(self, media: Media) -> list[str]:
        return [name for name in CONTESTANTS[media] if name in {"pysfu", *RELAY} or name in self._peers]

    def _has_ladder(self, media: Media, name: str) -> bool:
        return name in {"pysfu", YARDSTICK[media]} or name not in RELAY

    def _seconds(self, media: Media, turn: int) -> float:
        """Expected of one job of a round, on average."""
        plan = self._plan
        if turn == 0:
            return START["pysfu"] + SEARCH_STEPS * (plan.search_warmup + plan.search_seconds) * plan.search
        return START["pysfu"] + (6 if media == "audio" else 5) * (plan.warmup + plan.seconds)

    @contextlib.contextmanager
    def _job(self, what: str, expected: float) -> Iterator[None]:
        self._progress.begin(what)
        try:
            yield
        except (LoadError, servers.ServerError, subprocess.SubprocessError, OSError) as error:
            self.raw["failures"].append(f"{what}: {error}")
            self._progress.line(f"{what} failed: {error}")
        self._progress.done(expected)

    def expected_seconds(self) -> float:
        """Of the whole run, roughly."""
        total = 0.0
        for turn in range(self._plan.rounds + 1):
            for media in CONTESTANTS:
                jobs = [name for name in self._present(media) if turn or self._has_ladder(media, name)]
                total += len(jobs) * self._seconds(media, turn)
        plan = self._plan
        total += plan.worker_rounds * 3 * (START["pysfu"] + plan.warmup + plan.seconds)
        total += 8 + plan.joins / plan.joins_per_second
        total += plan.storm_rounds * (8 + plan.storm_joins / plan.storm_per_second)
        return total + 2 * 35 + RELAY_SECONDS

    @contextlib.contextmanager
    def _server(self, name: str) -> Iterator[Running]:
        if name == "pysfu":
            context = servers.pysfu([SERVER_CPU])
        elif name == "janus":
            context = servers.janus(SERVER_CPU)
        else:
            crypto, gso = RELAY[name]
            context = servers.ceiling(self._programs, SERVER_CPU, crypto=crypto, gso=gso)
        with context as running:
            yield running

    def _round(self, turn: int, media: Media, name: str) -> None:
        plan = self._plan
        traffic = shape(media, small=plan.small)
        search = turn == 0 and plan.search
        if turn == 0 and not plan.search:
            self._saturations[media, name] = [FIRST_GUESS]
            return
        steps = [("first", 20_000.0)] if search else self._steps(turn, media, name, traffic)
        with self._server(name) as server:
            report = self._fanout(server, traffic, [pps for _, pps in steps], search=search)
        roles = [role for role, _ in steps] + ["search"] * (len(report["steps"]) - len(steps))
        for role, step in zip(roles, report["steps"], strict=True):
            step["role"] = role
        self.raw["runs"].append({"round": turn, "media": media, "server": name, "steps": report["steps"]})
        whole = [sustained(step) for step in report["steps"] if is_whole(step)]
        if whole and self._has_ladder(media, name):
            best = max(whole)
            if not search and is_whole(report["steps"][-1]):
                best *= 1.1  # it was not found: look higher the next time
            known = self._saturations.setdefault((media, name), [])
            # What the search found is coarse: the first round replaces it.
            self._saturations[media, name] = [best] if turn <= 1 else [*known, best]

    def _saturation(self, media: Media, name: str) -> float:
        return median(self._saturations.get((media, name), [])) or FIRST_GUESS

    def _steps(self, turn: int, media: Media, name: str, traffic: Shape) -> list[tuple[str, float]]:
        """Role and packets per second of each step of a round."""
        compare = COMPARE_AT * self._first_saturation(media)
        steps = []
        peers = [peer for peer in self._peers if peer in CONTESTANTS[media]]
        if media == "audio":
            steps.append(("natural", AUDIO_RATE * traffic.per_rate))
        steps += [
            (f"beside {peer}", PEER_AT * self._first_saturation(media, peer))
            for peer in peers
            if name in {peer, "pysfu", YARDSTICK[media]}
        ]
        if name not in peers:
            steps.append(("compare", compare))
        if self._has_ladder(media, name):
            shares = PEER_LADDER if name in peers else LADDER
            rates = ladder(shares, self._saturation(media, name), turn)
            steps += [("half" if index == 0 else "ladder", pps) for index, pps in enumerate(rates)]
        return steps

    def _first_saturation(self, media: Media, name: str | None = None) -> float:
        """As the search found it: the load of a comparison must be the same in all rounds."""
        name = name or YARDSTICK[media]
        found = [
            sustained(step)
            for run in self.raw["runs"]
            if run["round"] == 0 and run["media"] == media and run["server"] == name
            for step in run["steps"]
            if is_whole(step)
        ]
        return max(found, default=FIRST_GUESS)

    def _workers(self, turn: int) -> None:
        """One media thread; two on the same CPU; two with a CPU each, of which the second is the load's as well."""
        traffic = shape("video", small=self._plan.small)
        pps = WORKERS_AT * self._first_saturation("video")
        variants: list[tuple[str, list[int], int]] = [
            ("one", [SERVER_CPU], 1),
            ("two on one CPU", [SERVER_CPU], 2),
            ("two on two CPUs", [SERVER_CPU, LOAD_CPU], 2),
        ]
        for name, cpus, workers in variants if turn % 2 else reversed(variants):
            seconds = START["pysfu"] + self._plan.warmup + self._plan.seconds
            with self._job(f"workers, round {turn + 1} of {self._plan.worker_rounds}: {name}", seconds):
                with servers.pysfu(cpus, workers=workers) as server:
                    step = self._fanout(server, traffic, [pps])["steps"][0]
                    split = servers.packets_by_worker(server)
                self.raw["workers"].append({"round": turn, "variant": name, "step": step, "packets_by_worker": split})

    def _joins(self) -> None:
        plan = self._plan
        runs = [("joins", plan.joins_per_second, plan.joins, 8 + plan.joins / plan.joins_per_second)]
        runs += [("storms", plan.storm_per_second, plan.storm_joins, 8 + plan.storm_joins / plan.storm_per_second)] * (
            plan.storm_rounds
        )
        for kind, rate, count, seconds in runs:
            with self._job(f"{count} joins at {rate:g} per second", seconds), self._server("pysfu") as server:
                arguments = ["joins", "--rate", str(rate), "--count", str(count)]
                self.raw[kind].append(self._load(server, arguments, 60 + seconds))

    def _memory(self, kind: str, media: str) -> None:
        publishers = ",".join(map(str, self._plan.memory_publishers))
        with self._server("pysfu") as server:
            arguments = ["memory", "--kind", kind, "--viewers", str(self._plan.memory_viewers)]
            self.raw["memory"][media] = self._load(server, [*arguments, "--publishers", publishers], 180)

    def _relay(self) -> None:
        """In a process of its own: it pins threads."""
        command = [sys.executable, "-m", "bench.cluster.relay", "--cost", str(self._programs.load)]
        command += ["--quick"] if self._plan.small else []
        told = subprocess.run(  # noqa: S603
            command, cwd=servers.ROOT, check=True, capture_output=True, text=True, timeout=10 * RELAY_SECONDS
        ).stdout  # fmt: skip
        self.raw["relay"] = json.loads(told)

    def _fanout(
        self, server: Running, traffic: Shape, loads: Sequence[float], *, search: bool = False
    ) -> dict[str, Any]:
        """`loads`: packets per second out."""
        plan = self._plan
        warmup, seconds = (plan.search_warmup, plan.search_seconds) if search else (plan.warmup, plan.seconds)
        rates = ",".join(f"{traffic.rate(pps):.4f}" for pps in loads)
        arguments = ["fanout", *traffic.arguments, "--steps", rates, "--warmup", str(warmup), "--seconds", str(seconds)]
        count = len(loads) + (3 * SEARCH_STEPS if search else 0)
        return self._load(server, arguments + ["--search-saturation"] * search, 60 + 2 * count * (warmup + seconds))

    def _load(self, server: Running, arguments: Sequence[str], limit: float) -> dict[str, Any]:
        """Runs pysfu-load on its own CPU, for `limit` seconds at most, and returns its report."""
        with tempfile.TemporaryDirectory(prefix="bench-forward-") as folder:
            report, log = Path(folder) / "report.json", Path(folder) / "log"
            command = [*server.prefix, str(self._programs.load), arguments[0], "--server", server.url, *arguments[1:]]
            command += ["--address", server.address]
            command += ["--cipher", "gcm", "--sample", str(SAMPLE), "--kernel-timestamps", "--cpu", str(LOAD_CPU)]
            command += ["--server-pid", str(server.pid), "--server-cpu", str(SERVER_CPU), "--json", str(report)]
            with servers.process(command, [LOAD_CPU], log) as child:
                try:
                    code = child.wait(limit)
                except subprocess.TimeoutExpired:
                    raise LoadError(f"pysfu-load takes longer than {limit:.0f} s:\n{servers.tail(log)}") from None
            if code != 0 or not report.exists():
                raise LoadError(f"pysfu-load ended with {code}:\n{servers.tail(log)}")
            content: dict[str, Any] = json.loads(report.read_text())
            return content


def is_whole(step: Mapping[str, Any]) -> bool:
    """Delivered in full, as `pysfu-load` means it: at most 0.1 % lost, and what was offered arrived."""
    return bool(step["loss"] <= 0.001 and step["shortfall"] <= most_missing(step) and step["delivered_pps"] > 0)


def most_missing(step: Mapping[str, Any]) -> float:
    """Share of what was offered that may be missing: a little, and two frames that are still on their way."""
    return 0.005 + 2.0 / max(1.0, float(step["rate"]) * float(step["seconds"]))


def sustained(step: Mapping[str, Any]) -> float:
    """Packets per second that a step shows to be carried. What is delivered of a queue left by the step before does not
    count."""
    return min(float(step["delivered_pps"]), float(step["offered_pps"]))


def available_peers(tell: Callable[[str], None]) -> list[str]:
    """Servers besides ours that are installed here."""
    if shutil.which("janus") is None:
        tell("janus is not installed (make bench-programs installs it): measuring without it")
        return []
    if os.geteuid() != 0:
        tell("Janus needs a network namespace, which only root can make: measuring without it")
        return []
    return ["janus"]
