"""Network namespaces without names: they live as long as this process holds them, so that nothing is left behind."""

import ctypes
import fcntl
import functools
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP, IFF_RUNNING = 0x1, 0x40

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with nothing but its loopback, which is up. Raises OSError where it is not permitted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = _on_a_thread(_make)

    @property
    def path(self) -> str:
        """A file that other processes of this user can enter it by, for as long as it is open here."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def enter(self) -> None:
        """Moves the calling thread: for a child before its program starts, or a thread that ends here."""
        _check(_libc.setns(self.fd, CLONE_NEWNET))

    def run(self, body: Callable[[], T]) -> T:
        """Runs `body` on a thread inside. Sockets that it makes stay inside wherever they are used."""

        def inside() -> T:
            self.enter()
            return body()

        return _on_a_thread(inside)

    def close(self) -> None:
        """It ends with the last process in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@functools.cache
def refusal() -> str:
    """Why namespaces cannot be used here; empty where they can."""
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    try:
        Namespace("probe").close()
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            # IFF_TUN | IFF_NO_PI, any name: shows that devices may be made.
            fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"", 0x1001))
    except OSError as error:
        return f"network namespaces are not permitted: {error}"
    return ""


def _make() -> int:
    _check(_libc.unshare(CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _on_a_thread(body: Callable[[], T]) -> T:
    """Of its own, as the namespace is one of a thread's properties."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(body())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
