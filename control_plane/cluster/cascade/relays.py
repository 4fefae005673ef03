"""Media links to the workers of one other node: keys are agreed over the stream, and changed under traffic."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import structlog

from control_plane.errors import InvalidArgumentError
from control_plane.media import MediaCore
from pysfu.v1 import cascade_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

log = structlog.get_logger(__name__)

# Seconds. A key that leaks tells no more than so much; shorter costs nothing but messages.
ROTATION: Final = 600.0
KEY_OCTETS: Final = 28
MAX_WORKERS: Final = 1_024
MAX_ADDRESSES: Final = 16


@dataclass(slots=True)
class Link:
    """Both ends know it. `ours` and `theirs` are the names of the two ends."""

    index: int
    ours: int
    theirs: int
    worker: int
    """Ours."""
    alive: bool = True
    heard_there: bool = True
    """The other end hears us."""
    sent_key: int = 0
    """Generation of the key with which this end sends, and of the last that the other end has told."""
    taken_key: int = 0
    offered_key: bytes | None = None
    """The next one, which the other end has not taken yet."""

    @property
    def is_well(self) -> bool:
        return self.alive and self.heard_there


class Relays:
    """Of one other node. `lesser`: this node's id is the lesser one. `ready`: called when a link is there."""

    def __init__(
        self, core: MediaCore, *, lesser: bool, say: Callable[[CascadeMessage], None], ready: Callable[[], None]
    ) -> None:
        self.links: dict[int, Link] = {}
        """By index."""
        self._core = core
        self._lesser = lesser
        self._say = say
        self._ready = ready
        self._workers: list[list[tuple[str, int]]] = []
        self._incarnation: int | None = None
        self._told: dict[int, tuple[int, int]] = {}
        self._offered: dict[int, tuple[int, bytes]] = {}

    def describe(self, hello: cascade_pb2.CascadeHello) -> None:
        """Puts into it what is left of former streams."""
        self._offered.clear()
        self._told = {link.index: (link.ours, link.theirs) for link in self.links.values()}
        for index, (ours, theirs) in self._told.items():
            hello.links.add(index=index, link=ours, theirs=theirs)

    def opened(self, hello: cascade_pb2.CascadeHello, *, straight: bool = True) -> None:
        """Links that one end alone remembers are made anew; keys are told on a stream that goes `straight` alone.
        Raises InvalidArgumentError."""
        if not 0 < len(hello.workers) <= MAX_WORKERS or len(hello.links) > MAX_WORKERS:
            raise InvalidArgumentError(f"a node with {len(hello.workers)} workers")
        self._workers = [_addresses(worker) for worker in hello.workers]
        theirs = {link.index: (link.theirs, link.link) for link in hello.links}
        same = self._incarnation in (None, hello.incarnation)
        self._incarnation = hello.incarnation
        for index in list(self.links):
            if not same or theirs.get(index) != self._told.get(index):
                self._remove(index)
        for index in range(max(len(self._workers), self._core.worker_count)):
            if straight and index not in self.links:
                self._offer(index)
        for link in self.links.values():
            link.heard_there = True
            if not link.alive:
                self.set_alive(link.ours, False)
            if straight and link.offered_key is not None:
                self._say_key(link, link.offered_key)

    def received_offer(self, offer: cascade_pb2.LinkOffer) -> None:
        """Raises InvalidArgumentError."""
        made = self._offered.pop(offer.index, None)
        if made is None or len(offer.key) != KEY_OCTETS:
            raise InvalidArgumentError(f"link {offer.index} was not to be offered, or without a key of its own")
        ours, key = made
        worker, theirs = self._ends(offer.index)
        addresses = self._workers[theirs]
        self._core.add_link(
            ours,
            worker=worker,
            theirs=offer.link,
            send=key,
            receive=offer.key,
            remote=_reachable(addresses, self._core.worker_addresses(worker)),
        )
        self.links[offer.index] = Link(offer.index, ours, offer.link, worker)
        self._ready()

    def rotate(self) -> None:
        """Offers every link's next key. One that is still on its way goes first."""
        for link in self.links.values():
            if link.offered_key is None:
                link.offered_key = secrets.token_bytes(KEY_OCTETS)
                self._say_key(link, link.offered_key)

    def received_key(self, message: cascade_pb2.LinkKey) -> None:
        """Raises InvalidArgumentError."""
        link = next((link for link in self.links.values() if link.theirs == message.link), None)
        if link is None or len(message.key) != KEY_OCTETS:
            raise InvalidArgumentError("a key for no link, or none")
        if message.generation == link.taken_key + 1:
            self._core.rotate_link(link.ours, receive=message.key)
            link.taken_key += 1
        if message.generation == link.taken_key:
            taken = cascade_pb2.LinkKeyTaken(link=message.link, generation=message.generation)
            self._say(CascadeMessage(link_key_taken=taken))

    def received_key_taken(self, message: cascade_pb2.LinkKeyTaken) -> None:
        link = next((link for link in self.links.values() if link.ours == message.link), None)
        if link is None or link.offered_key is None or message.generation != link.sent_key + 1:
            return
        self._core.rotate_link(link.ours, send=link.offered_key)
        link.sent_key, link.offered_key = link.sent_key + 1, None

    def set_alive(self, ours: int, alive: bool) -> bool:
        """Whether the link is one of these."""
        found = next((link for link in self.links.values() if link.ours == ours), None)
        if found is None:
            return False
        found.alive = alive
        self._say(CascadeMessage(link_heard=cascade_pb2.LinkHeard(link=ours, alive=alive)))
        return True

    def received_heard(self, message: cascade_pb2.LinkHeard) -> int | None:
        """What passes one way alone cannot be repaired. Returns our name of the link, None when it is not known."""
        link = next((link for link in self.links.values() if link.theirs == message.link), None)
        if link is None:
            return None
        link.heard_there = message.alive
        return link.ours

    def is_well(self, ours: int) -> bool:
        return any(link.is_well for link in self.links.values() if link.ours == ours)

    @property
    def is_there(self) -> bool:
        return bool(self.links)

    @property
    def are_silent(self) -> bool:
        """None of them passes anything both ways. False while there are none."""
        return self.is_there and not any(link.is_well for link in self.links.values())

    def link_to(self, their_worker: int, handle: int, our_worker: int | None = None) -> Link | None:
        """The one over which a track of that worker there comes here; spread by handle where there are several."""
        fits = [
            link
            for link in self.links.values()
            if self._ends(link.index)[1] == their_worker and our_worker in (None, link.worker)
        ]
        fits = [link for link in fits if link.is_well] or fits
        return sorted(fits, key=lambda link: link.index)[handle % len(fits)] if fits else None

    def close(self) -> None:
        """Removes every link; mirrors end with them."""
        for index in list(self.links):
            self._remove(index)
        self._offered.clear()

    def _ends(self, index: int) -> tuple[int, int]:
        """(our worker, theirs) that a link joins."""
        return index % self._core.worker_count, index % max(1, len(self._workers))

    def _offer(self, index: int) -> None:
        ours, key = self._core.new_link(), secrets.token_bytes(KEY_OCTETS)
        self._offered[index] = (ours, key)
        self._say(CascadeMessage(link_offer=cascade_pb2.LinkOffer(index=index, link=ours, key=key)))

    def _say_key(self, link: Link, key: bytes) -> None:
        message = cascade_pb2.LinkKey(link=link.ours, generation=link.sent_key + 1, key=key)
        self._say(CascadeMessage(link_key=message))

    def _remove(self, index: int) -> None:
        link = self.links.pop(index)
        self._core.remove_link(link.ours)


def relay_addresses(core: MediaCore, relay_ip: str = "") -> list[list[tuple[str, int]]]:
    """Where each worker is told to be reached by links; `relay_ip` replaces every address of its family."""
    found: list[list[tuple[str, int]]] = []
    for worker in range(core.worker_count):
        addresses = core.worker_addresses(worker)
        if relay_ip:
            version = ip_address(relay_ip).version
            fits = [port for ip, port in addresses if ip_address(ip).version == version]
            addresses = [(relay_ip, port) for port in fits[:1]]
        found.append(addresses[:MAX_ADDRESSES])
    return found


def _addresses(worker: cascade_pb2.RelayAddresses) -> list[tuple[str, int]]:
    found = [(item.ip, item.port) for item in worker.addresses[:MAX_ADDRESSES]]
    try:
        if all(ip_address(ip) and 0 < port < 65_536 for ip, port in found):
            return found
    except ValueError as error:
        raise InvalidArgumentError("a worker with an address that is none") from error
    raise InvalidArgumentError("a worker with a port that is none")


def _reachable(theirs: list[tuple[str, int]], ours: list[tuple[str, int]]) -> tuple[str, int] | None:
    """The first of a family that we have. None: they call first."""
    families = {ip_address(ip).version for ip, _ in ours}
    return next((item for item in theirs if ip_address(item[0]).version in families), None)
