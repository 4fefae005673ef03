"""A network interface of the tests' own: Firefox pairs no candidate on the loopback interface."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

NAME, PEER = "pysfu-test0", "pysfu-test1"
ADDRESS = "10.177.0.1"


@contextmanager
def own_interface() -> Iterator[str]:
    """An address of this machine that leads nowhere else. Needs root."""
    _ip("link", "add", NAME, "type", "veth", "peer", "name", PEER)
    try:
        _ip("addr", "add", f"{ADDRESS}/30", "dev", NAME)
        _ip("link", "set", PEER, "up")
        _ip("link", "set", NAME, "up")
        yield ADDRESS
    finally:
        _ip("link", "del", NAME)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
