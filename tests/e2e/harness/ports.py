"""Free ports for the servers that the tests start."""

import socket


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that was free on the IPv4 loopback just now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_udp_range(length: int) -> int:
    """The first of `length` consecutive UDP ports that were free just now."""
    for first in range(42000, 60000, length):
        sockets = []
        try:
            for port in range(first, first + length):
                probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise OSError("no free range of UDP ports")
