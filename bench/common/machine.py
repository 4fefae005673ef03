"""What the measurement runs on, and whether anything else uses it. Linux: everything is read from /proc."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
# Share of a CPU that others may use.
QUIET = 0.02


class BusyError(Exception):
    """Something else uses the CPUs of the measurement; the text names it."""


def idle_ticks(stat: str) -> dict[int, int]:
    """Ticks that each CPU was idle, of the text of /proc/stat.

    The kernel counts idle time exactly and samples the rest, so what is busy is better taken as what is not idle.
    """
    fields = (line.split() for line in stat.splitlines() if line.startswith("cpu"))
    # cpuN user nice system idle iowait irq softirq steal; the first line is the sum of all
    return {int(name[3:]): int(ticks[3]) + int(ticks[4]) for name, *ticks in fields if name != "cpu"}


def busy_shares(before: dict[int, int], after: dict[int, int], seconds: float) -> dict[int, float]:
    """Share of `seconds` that each CPU was not idle, by ticks of two readings."""
    return {
        cpu: max(0.0, 1.0 - (idle - before[cpu]) / (seconds * TICKS)) for cpu, idle in after.items() if cpu in before
    }


def background(cpus: Sequence[int], seconds: float) -> dict[int, float]:
    """Busy share of each of `cpus` over the next `seconds`, in which this process sleeps."""
    before, begun = idle_ticks((PROC / "stat").read_text()), time.monotonic()
    time.sleep(seconds)
    after, elapsed = idle_ticks((PROC / "stat").read_text()), time.monotonic() - begun
    shares = busy_shares(before, after, elapsed)
    return {cpu: shares.get(cpu, 0.0) for cpu in cpus}


def process_seconds() -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of every process."""
    found = {}
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue  # it has ended meanwhile
        name, _, rest = stat.partition("(")[2].rpartition(") ")
        fields = rest.split()
        found[int(folder.name)] = (name, (int(fields[11]) + int(fields[12])) / TICKS)
    return found


def require_quiet(cpus: Sequence[int], *, seconds: float = 3.0, limit: float = QUIET) -> dict[int, float]:
    """Busy shares of `cpus` over `seconds`. Raises BusyError when one is above `limit`, naming who uses it."""
    before = process_seconds()
    shares = background(cpus, seconds)
    loud = {cpu: share for cpu, share in shares.items() if share > limit}
    if not loud:
        return shares
    used = {
        (pid, name): (now - before[pid][1]) / seconds
        for pid, (name, now) in process_seconds().items()
        if pid in before and pid != os.getpid()
    }
    busiest = sorted(used.items(), key=lambda item: -item[1])[:5]
    who = ", ".join(f"{name} ({pid}) {share:.0%}" for (pid, name), share in busiest if share > 0.005)
    text = ", ".join(f"CPU {cpu} is {share:.1%} busy" for cpu, share in loud.items())
    raise BusyError(f"{text}; at most {limit:.0%} may be. Busiest processes: {who or 'none; it is the system itself'}.")


def wait_until_quiet(cpus: Sequence[int], tell: Callable[[str], None]) -> dict[int, float]:
    """Like require_quiet, but asks again until it is so."""
    while True:
        try:
            return require_quiet(cpus)
        except BusyError as error:
            tell(f"waiting: {error}")


def describe() -> dict[str, object]:
    """The machine as results name it."""
    info = (PROC / "cpuinfo").read_text().splitlines()
    flags = next((line for line in info if line.startswith("flags")), "").split()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = next(line for line in (PROC / "meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cpu": model,
        "cpus": os.cpu_count() or 1,
        "virtual": "hypervisor" in flags,
        "vaes": "vaes" in flags,
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "rustc": _output("rustc", "--version"),
    }


def commit() -> dict[str, object]:
    """The commit measured, and whether files differed from it."""
    changes = _output("git", "status", "--porcelain", "--untracked-files=no").splitlines()
    # Results are written by this very program.
    dirty = any("bench/results/" not in line for line in changes)
    return {"commit": _output("git", "rev-parse", "HEAD") or "unknown", "dirty": dirty}


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if sys.platform != "linux":
    raise ImportError("the forwarding benchmark reads /proc: it runs on Linux only")
