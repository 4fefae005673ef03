"""What links between nodes go through in tests, to be cut there."""

import asyncio
import socket
from typing import Any

Address = tuple[str, int]


class _Cable:
    """Between whoever sends to it and one address."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.there_is_cut = False
        """What goes to the target is lost, and what comes from there."""
        self.back_is_cut = False
        self._source: Address | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address: Address = self._socket.getsockname()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._pass_on)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _pass_on(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(2_048)
            except BlockingIOError:
                return
            if sender != self.target:
                self._source = sender
            to, is_cut = (self._source, self.back_is_cut) if sender == self.target else (self.target, self.there_is_cut)
            if not is_cut and to is not None:
                self._socket.sendto(data, to)


class Cables:
    """Of all links of some nodes. Lay them before the nodes start."""

    def __init__(self) -> None:
        self._cables: list[tuple[str, str, _Cable]] = []
        self._owners: dict[Address, str] = {}

    def lay(self, name: str, media: Any) -> None:
        """From now on links of this core go through cables."""
        for worker in range(media.worker_count):
            for address in media.worker_addresses(worker):
                self._owners[address] = name
        add_link = media.add_link

        def add(link: int, *, remote: Address, **options: Any) -> None:
            cable = _Cable(remote)
            self._cables.append((name, self._owners[remote], cable))
            add_link(link, remote=cable.address, **options)

        media.add_link = add

    def cut(self, one: str, other: str, *, is_cut: bool = True) -> None:
        """Both ways between two nodes."""
        for here, there, cable in self._cables:
            if {here, there} == {one, other}:
                cable.there_is_cut = cable.back_is_cut = is_cut

    def cut_one_way(self, one: str, other: str) -> None:
        """What the first sends to the other."""
        for here, there, cable in self._cables:
            if (here, there) == (one, other):
                cable.there_is_cut = True
            elif (here, there) == (other, one):
                cable.back_is_cut = True

    def mend(self, one: str, other: str) -> None:
        self.cut(one, other, is_cut=False)

    def close(self) -> None:
        for _, _, cable in self._cables:
            cable.close()
