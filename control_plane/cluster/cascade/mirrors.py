"""Mirrors: encodings of other nodes as the core here has them, for rooms here and for nodes that ask for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from control_plane.cluster.cascade.wire import Source
from control_plane.media import MediaCore

if TYPE_CHECKING:
    from control_plane.cluster.cascade.peer import Peer

log = structlog.get_logger(__name__)

Told = Callable[[int | None], None]
"""Called with the core's handle, at once or later; with another one that replaces it, when what received the former has
ended in the core; with None when there is none any more."""


@dataclass(eq=False, slots=True)
class Mirror:
    source: Source
    kind: str
    group: int | None
    told: Told
    handle: int | None = None
    link: int | None = None
    """The core's, over which it comes."""
    via: str = ""
    """The node at its other end."""


class Mirrors:
    """Of one node. `peer`: the other node of that id, if anything is known of it."""

    def __init__(self, core: MediaCore, peer: "Callable[[str], Peer | None]") -> None:
        self._core = core
        self._peer = peer
        self._mirrors: Final[dict[tuple[str, int], Mirror]] = {}
        """By home and its handle."""
        self._by_handle: Final[dict[int, Mirror]] = {}

    def want(self, source: Source, kind: str, group: int | None, told: Told) -> None:
        """From now on, until `release` or `forget`."""
        mirror = Mirror(source, kind, group, told)
        self._mirrors[source.node, source.handle] = mirror
        self._fetch(mirror)

    def forget(self, source: Source) -> None:
        """It is not wanted any more."""
        mirror = self._mirrors.pop((source.node, source.handle), None)
        if mirror is not None and mirror.handle is not None:
            self._by_handle.pop(mirror.handle, None)
            self._core.unmirror(mirror.handle)

    def release(self, handle: int) -> None:
        mirror = self._by_handle.get(handle)
        if mirror is not None:
            self.forget(mirror.source)

    def ended(self, handle: int) -> None:
        """The core has it no more: it is asked for again if it still exists."""
        mirror = self._by_handle.pop(handle, None)
        if mirror is None:
            return
        mirror.handle = mirror.link = None
        self._fetch(mirror)
        if mirror.handle is None:
            mirror.told(None)

    def links_ready(self, node: str) -> None:
        """There are new links to that node."""
        for mirror in list(self._mirrors.values()):
            if mirror.handle is None and mirror.source.node == node:
                self._fetch(mirror)

    def _fetch(self, mirror: Mirror) -> None:
        """Over the direct way; later, when there is none yet."""
        source = mirror.source
        peer = self._peer(source.node)
        link = peer.relays.link_to(source.worker, source.handle) if peer is not None else None
        if link is None:
            return
        try:
            handle = self._core.mirror(link.ours, source.handle, kind=mirror.kind, group=mirror.group)
        except Exception as error:
            log.warning("a track of another node cannot be mirrored", node=source.node, error=str(error))
            return
        mirror.handle, mirror.link, mirror.via = handle, link.ours, source.node
        self._by_handle[handle] = mirror
        mirror.told(handle)
