"""Cores of this process that are joined by links."""

import contextlib
import os
import time
from pathlib import Path

from pysfu import Sfu

TASKS = Path("/proc/self/task")


def worker_threads() -> set[int]:
    """Threads of this process that are workers of a core."""
    found = set()
    for task in TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if (task / "comm").read_text().startswith("sfu-worker-"):
                found.add(int(task.name))
    return found


def core(workers: int, cpu: int | None = None) -> tuple[Sfu, list[int]]:
    """A core on a CPU of its own, and its threads."""
    before = worker_threads()
    # Loopback carries what is asked for: nothing waits until that is found out. A client in a busy process is late with
    # its checks, and not gone.
    limits = {"start_bitrate": 200_000_000, "consent_timeout": 1_000_000}
    made = Sfu(workers=workers, port=0, limits=limits)
    # A thread takes its name when it runs first.
    while len(threads := sorted(worker_threads() - before)) < workers:
        time.sleep(0.001)
    for thread in threads if cpu is not None else []:
        os.sched_setaffinity(thread, [cpu])  # type: ignore[list-item]
    return made, threads


def join(one: Sfu, other: Sfu, *, worker: int = 0, by_way_of: tuple[str, int] | None = None) -> tuple[int, int]:
    """A link from worker 0 of `one` to a worker of `other`, as the two call it. With an address in between only `one`
    knows where to send; the other answers."""
    keys = os.urandom(28), os.urandom(28)
    ids = one.new_link(), other.new_link()
    there = by_way_of or other.worker_addresses(worker)[0]
    here = None if by_way_of else one.worker_addresses(0)[0]
    one.add_link(ids[0], worker=0, theirs=ids[1], send=keys[0], receive=keys[1], remote=there)
    other.add_link(ids[1], worker=worker, theirs=ids[0], send=keys[1], receive=keys[0], remote=here)
    return ids


def unconnected(core: Sfu) -> int:
    """A peer that never comes: its subscriptions want a track all the same."""
    return core.add_peer(ice_ufrag="none", ice_pwd="p" * 24)
