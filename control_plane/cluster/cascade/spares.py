"""Spare ways: for each mirror another node is asked beforehand, so that nobody is to be asked once nothing comes.

A spare way costs a request and its answer. No media goes there before somebody here wants it from there.
"""

from collections.abc import Callable, Sequence
from typing import Final

from control_plane.cluster.cascade import routes
from control_plane.cluster.cascade.mirror import Mirror, Spare

# Seconds until a node that has refused is asked again. Shorter finds a spare way sooner, longer asks less in vain.
REFUSED: Final = 2.0
# Requests a second. More is ready sooner after many have joined, less leaves other work room.
AT_ONCE: Final = 256


class Spares:
    """`ask`: says the request and returns its number, None when it cannot be said. `release`: takes it back."""

    def __init__(self, ask: Callable[[Mirror, str], int | None], release: Callable[[str, int], None]) -> None:
        self._ask = ask
        self._release = release
        self._now = 0.0
        self._left = 0

    def begin(self, now: float) -> None:
        """A new second."""
        self._now, self._left = now, AT_ONCE

    def settle(self, mirror: Mirror, hops: Sequence[str]) -> None:
        """Asks for a spare way where none is there, or a better one."""
        if mirror.unfit and self._now >= mirror.unfit_until:
            mirror.unfit.clear()
        node = routes.spare(hops, mirror.source.node, mirror.via, mirror.unfit)
        spare = mirror.spare
        if spare is not None and spare.node != node and (node is not None or spare.node not in hops):
            self.drop(mirror)
        if mirror.spare is not None or node is None or not self._left:
            return
        self._left -= 1
        number = self._ask(mirror, node)
        if number is not None:
            mirror.spare = Spare(node, number)

    def keep(self, mirror: Mirror) -> None:
        """The node that passed it on so far stays ready to, when nobody else is."""
        held = mirror.held
        if mirror.told is not None and mirror.spare is None and held is not None and held[0] == mirror.via:
            mirror.spare = Spare(*held, mirror.theirs, mirror.worker, mirror.route)
            mirror.held = None

    def refused(self, mirror: Mirror, *, later: bool) -> None:
        """By the node that was asked. `later`: the request stands, for when nobody else is there either."""
        if mirror.spare is not None:
            mirror.unfit.add(mirror.spare.node)
            mirror.unfit_until = self._now + REFUSED
            mirror.spare.handle = 0
            if not later:
                self.drop(mirror)

    def drop(self, mirror: Mirror) -> None:
        """It is not needed any more, or of no use."""
        spare, mirror.spare = mirror.spare, None
        if spare is not None:
            self._release(*spare.key)
