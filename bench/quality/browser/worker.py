"""Inside the network namespace: runs what its command line says and tells the results, a line of JSON each."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Error

from bench.quality.browser import call
from bench.quality.browser.measure import Seen
from bench.quality.browser.metrics import metrics
from bench.quality.browser.page import chromium
from bench.quality.browser.peers import ADDRESS, PeerError
from bench.quality.browser.scenarios import SCENARIOS, Scenario
from bench.quality.rows import Sample, Series

# A run that failed for want of a server, a page or a transport is tried again so often.
TRIES = 2


def network() -> None:
    """Janus wants an interface that is no loopback; what is sent to its address takes the loopback all the same."""
    for command in (
        "link set lo up",
        "link add media type veth peer name other",
        f"address add {ADDRESS}/32 dev media",
        "link set media up",
        "link set other up",
    ):
        subprocess.run(["ip", *command.split()], check=True)  # noqa: S603, S607


def tell(**what: Any) -> None:
    """One line to who started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def one(programs: call.Programs, browser: Browser, peer: str, scenario: Scenario, seed: int) -> None:
    """One run, told whole."""
    noted = await call.run(programs, browser, peer, scenario, seed)
    seen = [Seen(part, scenario.seconds) for part in noted]
    if not seen[0].videos:
        raise PeerError(f"{peer} sent no picture")
    for metric, unit, value in metrics(scenario, seen):
        tell(sample=asdict(Sample(scenario.name, "", peer, metric, unit, seed, value)))
    for name, unit, times, values in seen[0].series():
        rounded = [round(value, 1) for value in values]
        tell(series=asdict(Series(scenario.name, "", peer, seed, name, unit, [round(at, 2) for at in times], rounded)))


async def main() -> None:
    """`python -m bench.quality.browser.worker JSON`: {load, netem, recording, jobs: [[peer, scenario, seed], …]}."""
    plan = json.loads(sys.argv[1])
    programs = call.Programs(*(Path(plan[name]) for name in ("load", "netem", "recording")))
    network()
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    async with chromium() as browser:
        for peer, name, seed in plan["jobs"]:
            tell(begin=f"{name}, {peer}, seed {seed}")
            begun = time.monotonic()
            for attempt in range(TRIES):
                try:
                    await one(programs, browser, peer, scenarios[name], seed)
                    break
                except (PeerError, OSError, TimeoutError, Error) as error:
                    tell(
                        failed=f"{name}, {peer}, seed {seed}: {error or type(error).__name__}",
                        last=attempt == TRIES - 1,
                    )
            tell(done=time.monotonic() - begun, expected=scenarios[name].seconds)


if __name__ == "__main__":
    asyncio.run(main())
