"""Links measured: `python -m bench.cluster.relay` writes JSON to standard output, and what it does to standard error.

`--quick` is short and only shows that everything works together. The core must be a release build (`make build`).
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bench.cluster.lab import programs
from bench.cluster.relay import cost, hops
from control_plane import logs

GOALS = {
    "relay.ratio_to_client_packet": 0.5,
    "hop.latency_ms.p99": 1.0,
    "lossy_link.residual_loss": 0.0005,
    "lossy_link.redundancy": 0.12,
    "lossy_link.late_p95_rtt": 1.2,
}
"""At most."""


def _plan(*, quick: bool) -> cost.Plan:
    return cost.Plan(destinations=8, frames=60, rounds=2) if quick else cost.Plan()


async def measure(*, quick: bool = False) -> dict[str, Any]:
    """All of it; keys as in `GOALS`, and what they are made of. Five minutes, or half of one."""
    built = programs.build()
    plan = _plan(quick=quick)
    print("what a packet costs", file=sys.stderr)
    result = await cost.measure(built.load, plan)
    print("what a hop adds", file=sys.stderr)
    result |= await hops.clean(2.0 if quick else 12.0)
    print("what losses leave", file=sys.stderr)
    result |= await hops.lossy(built.netem, 3.0 if quick else 18.0)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes")
    parser.add_argument(
        "--cost", type=Path, metavar="PYSFU-LOAD", help="only what a packet costs, with this load engine"
    )
    options = parser.parse_args()
    logs.configure(level="error")
    if options.cost:
        print(json.dumps(asyncio.run(cost.measure(options.cost, _plan(quick=options.quick))), indent=2))
        return
    result = asyncio.run(measure(quick=options.quick))
    print(json.dumps(result, indent=2))
    low, high = result["relay.ratio_interval"]
    print(f"relay.ratio_to_client_packet is {low:.2f} to {high:.2f} (95 %)", file=sys.stderr)
    for name, most in GOALS.items():
        print(f"{name} {result[name]:.4f} {'<=' if result[name] <= most else 'ABOVE'} {most}", file=sys.stderr)


if __name__ == "__main__":
    main()
