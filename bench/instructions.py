"""Instructions per forwarded packet, counted by callgrind: a cost that a noisy machine does not change.

`python -m bench.instructions` compares with the record in `bench/instructions.json`, `--record` replaces it, and
`--by-function` tells where they go. Each case is run twice with different numbers of packets; the difference is the
steady state, without set-up.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
RECORD: Final = Path(__file__).with_name("instructions.json")
# Growth beyond this fails, and so does a record that is not tightened after as much was won.
TOLERANCE: Final = 0.03
CASES: Final = {
    "vp8 1 to 10": ["--codec", "vp8", "--subscriptions", "10"],
    "vp8 1 to 100": ["--codec", "vp8", "--subscriptions", "100"],
    "h264 1 to 10": ["--codec", "h264", "--subscriptions", "10"],
    "opus 1 to 10": ["--codec", "opus", "--subscriptions", "10"],
    "vp8 1 to 10 with feedback": ["--codec", "vp8", "--subscriptions", "10", "--feedback"],
    "vp8 1 over 10 links": ["--codec", "vp8", "--subscriptions", "0", "--links", "10"],
    "opus 1 over 10 links": ["--codec", "opus", "--subscriptions", "0", "--links", "10"],
}
# Only what the engine does: packets are made and protected outside.
COUNTED: Final = "*Fanout*run*"
# Of it, what the node at the other end of links does: another machine.
ELSEWHERE: Final = "*Fanout*cross_links*"
FEW: Final = 4_000
MANY: Final = 12_000


def build() -> Path:
    """The release program, as it is shipped."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--package", "pysfu-lab"], check=True, cwd=ROOT)  # noqa: S607
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"],  # noqa: S607
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "release" / "pysfu-lab"


def count(program: Path, arguments: list[str], packets: int) -> tuple[int, int, dict[str, int]]:
    """Packets out, instructions, and instructions by function."""
    out, counted, functions = callgrind(program, arguments, packets, COUNTED)
    if "--links" in arguments:
        _, elsewhere, by_function = callgrind(program, arguments, packets, ELSEWHERE)
        counted -= elsewhere
        functions = {name: number - by_function.get(name, 0) for name, number in functions.items()}
    return out, counted, functions


def callgrind(program: Path, arguments: list[str], packets: int, counted: str) -> tuple[int, int, dict[str, int]]:
    """The same of one run, within the functions `counted`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            f"--toggle-collect={counted}",
            str(program),
        ]
        command += ["forward", *arguments, "--packets", str(packets)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found = re.search(r"Collected : (\d+)", run.stderr)
        if found is None:
            raise SystemExit(f"valgrind told no count:\n{run.stderr[-2000:]}")
        annotate = ["callgrind_annotate", "--threshold=100", str(out)]
        listing = subprocess.run(annotate, check=True, capture_output=True, text=True).stdout  # noqa: S603
    functions: dict[str, int] = {}
    for line in listing.splitlines():
        entry = re.match(r"\s*([\d,]+) \([^)]*\)\s+\S*?:(.+?)(?: \[|$)", line)
        if entry:
            name = re.sub(r"'\d+$", "", entry[2])
            functions[name] = functions.get(name, 0) + int(entry[1].replace(",", ""))
    told = json.loads(run.stdout)
    return int(told["packets_linked"] or told["packets_out"]), int(found[1]), functions


def measure(program: Path, arguments: list[str]) -> tuple[float, dict[str, float]]:
    """Instructions per packet, in all and by function."""
    packets_few, count_few, functions_few = count(program, arguments, FEW)
    packets_many, count_many, functions_many = count(program, arguments, MANY)
    packets = packets_many - packets_few
    by_function = {name: (count - functions_few.get(name, 0)) / packets for name, count in functions_many.items()}
    return (count_many - count_few) / packets, by_function


def judge(recorded: dict[str, float], measured: dict[str, float]) -> list[str]:
    """What is wrong, a line each; nothing when every count is that of the record."""
    wrong = [f"{case}: not recorded" for case in measured.keys() - recorded.keys()]
    for case, before in recorded.items():
        now = measured.get(case)
        if now is None:
            wrong.append(f"{case}: recorded, but no case any more")
        elif abs(now / before - 1) > TOLERANCE:
            verdict = "too many" if now > before else "fewer, tighten the record"
            wrong.append(f"{case}: {now:.0f} instructions per packet, recorded are {before:.0f} ({verdict})")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="replace the record by what is measured")
    parser.add_argument("--by-function", action="store_true", help="where the instructions of the first case go")
    options = parser.parse_args()
    program = build()
    if options.by_function:
        case = next(iter(CASES))
        total, functions = measure(program, CASES[case])
        print(f"{case}: {total:.0f} instructions per packet")
        for name, count in sorted(functions.items(), key=lambda item: -item[1])[:40]:
            print(f"{count:8.0f}  {name}")
        return
    measured = {}
    for case, arguments in CASES.items():
        measured[case], _ = measure(program, arguments)
        print(f"{measured[case]:8.0f}  {case}", flush=True)
    if options.record:
        RECORD.write_text(json.dumps({case: round(count, 1) for case, count in measured.items()}, indent=2) + "\n")
        return
    wrong = judge(json.loads(RECORD.read_text()), measured)
    if wrong:
        sys.exit("\n".join([*wrong, "on purpose? python -m bench.instructions --record"]))


if __name__ == "__main__":
    main()
