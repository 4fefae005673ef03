"""Free ports for the servers that the tests start, and numbers for what else a machine has once.

Several runs of tests may go on at a time: what one has been given, no other is until its process ends. They agree by
locks on a file, one byte for each number (POSIX record locks, which end with the process that has them).
"""

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

# Below those that systems give to connections of their own (Linux: from 32768, RFC 6335: from 49152).
PORTS = range(10_240, 32_768)
TRIES = 2_000


class Numbers:
    """Of one kind. Nobody else has those that were taken, in this process or another."""

    def __init__(self, kind: str) -> None:
        path = Path(tempfile.gettempdir()) / f"pysfu-tests-{os.getuid()}-{kind}"
        # Closing it anywhere in the process would end its locks.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._taken: set[int] = set()

    def take(self, *numbers: int) -> bool:
        """All or none of them."""
        taken: list[int] = []
        for number in numbers:
            if number in self._taken or not self._lock(number):
                self.give_back(*taken)
                return False
            self._taken.add(number)
            taken.append(number)
        return True

    def give_back(self, *numbers: int) -> None:
        for number in numbers:
            self._taken.discard(number)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True


_ports = Numbers("ports")


def free_port() -> int:
    """One that nothing listens on, TCP or UDP, on the IPv4 loopback."""
    return free_ports([0])


def free_udp_range(length: int) -> int:
    """The first of `length` consecutive ones."""
    return free_ports(range(length))


def free_ports(offsets: Sequence[int], below: int = PORTS.stop) -> int:
    """A port to which each of these may be added. All of them are below `below`. Raises OSError."""
    lowest, highest = PORTS.start - min(offsets), below - 1 - max(offsets)
    for _ in range(TRIES):
        base = random.randint(lowest, highest)
        ports = {base + offset for offset in offsets}
        if not _ports.take(*ports):
            continue
        if _are_free(ports):
            return base
        _ports.give_back(*ports)
    raise OSError("no free ports")


def _are_free(ports: Iterable[int]) -> bool:
    with contextlib.ExitStack() as stack:
        for port in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                try:
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
                except OSError:
                    return False
    return True
