"""What is known of one track of another node, and of those that it may come from."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from control_plane.cluster.cascade.relays import Relays
from control_plane.cluster.cascade.wire import Source
from pysfu.v1.cascade_pb2 import CascadeMessage

Told = Callable[[int | None], None]
"""Called with the core's handle, at once or later; with another one that replaces it; with None when there is none any
more."""


class Neighbour(Protocol):
    """Another node, as far as mirrors are concerned."""

    @property
    def relays(self) -> Relays: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def round_trip(self) -> float | None:
        """In seconds."""

    def invited(self) -> None:
        """It is to be connected."""

    def say(self, message: CascadeMessage) -> None: ...


class Ways(Protocol):
    """Who knows which nodes there are, and which can be reached."""

    def hops(self, source: Source, room: str | None) -> Sequence[str]:
        """Nodes to get a track from, best first, without those that cannot be reached."""

    def passes(self, node: str) -> bool:
        """Media comes from there and goes there."""

    def neighbour(self, node: str) -> Neighbour: ...
    def lives(self, node: str) -> bool: ...


@dataclass(eq=False, slots=True)
class Spare:
    node: str
    number: int
    """Of the request to it."""
    handle: int = 0
    """Its own of the track; 0 until it has answered."""
    worker: int = 0
    route: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        return self.node, self.number

    def answered(self, handle: int, worker: int, route: tuple[str, ...]) -> None:
        self.handle, self.worker, self.route = handle, worker, route


@dataclass(eq=False, slots=True)
class Asker:
    """A node that wants a track passed on."""

    beforehand: bool
    """It does not need it yet."""
    told: tuple[int, tuple[str, ...]] | None = None
    """The handle and the route; None while it waits."""


@dataclass(eq=False, slots=True)
class Mirror:
    source: Source
    kind: str
    room: str | None = None
    """None: it is only passed on."""
    group: int | None = None
    told: Told | None = None
    handle: int | None = None
    link: int | None = None
    """The core's, over which it comes."""
    route: tuple[str, ...] = ()
    """Nodes through which it comes, the home first; empty while it does not."""
    theirs: int = 0
    worker: int = 0
    """Its handle at the last of them, and the worker that has it there."""
    held: tuple[str, int] | None = None
    """That node and the number of the request to it, unless it is the home."""
    pending: tuple[str, int] | None = None
    """The node whose answer is awaited, and the number of the request; 0: its links are awaited."""
    spare: Spare | None = None
    """Where it would come from instead."""
    unfit: set[str] = field(default_factory=set)
    unfit_until: float = 0.0
    """Nodes that have refused to be that, and until when they are not asked again."""
    tried: set[str] = field(default_factory=set)
    """Nodes that could not give it since it was last looked for."""
    path: tuple[str, ...] = ()
    """Who waits for it here of other nodes."""
    askers: dict[tuple[str, int], Asker] = field(default_factory=dict)
    """By node and its number."""
    timer: asyncio.TimerHandle | None = None
    better: tuple[str, float] = ("", 0.0)
    """The node that it would be taken from now, and since when."""

    @property
    def ready(self) -> str | None:
        """The node that would pass it on, and has said so."""
        return self.spare.node if self.spare is not None and self.spare.handle else None

    @property
    def asked(self) -> str | None:
        return self.pending[0] if self.pending is not None else None

    @property
    def via(self) -> str | None:
        return self.route[-1] if self.route else None
