"""Which node keeps another's sessions: each chooses one, and says so with its heartbeats."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from control_plane.cluster.placement import spread
from control_plane.cluster.registry import NodeInfo

UNKNOWN_MS: Final = 1e6
# A keeper stays while it is at most so many times as far as the nearest. Lower moves copies sooner.
WORTH: Final = 1.5
# Nodes whose keepers are remembered, also when they are gone.
REMEMBERED: Final = 20_000


def choose_keeper(
    me: NodeInfo,
    nodes: Iterable[NodeInfo],
    paths: Mapping[tuple[str, str], float],
    answers: Callable[[str], bool],
    current: str,
) -> str:
    """Id of the node that is to keep the sessions of `me`: `current` while it is good enough, else one of the nearest
    region that has any; of several in a region each node takes another. Empty when there is none.

    `paths`: round trips in ms by pair of regions in order.
    """

    def distance(node: NodeInfo) -> float:
        if node.region == me.region:
            return 0.0
        one, two = sorted((node.region, me.region))
        return paths.get((one, two), UNKNOWN_MS)

    far = {
        node.id: distance(node)
        for node in nodes
        if node.id != me.id and node.keeps and node.open and not node.leaving and answers(node.id)
    }
    if not far:
        return ""
    nearest = min(far.values())
    if current in far and far[current] <= WORTH * nearest:
        return current
    return max((node for node in far if far[node] == nearest), key=lambda node: spread(me.id, node))


class Keepers:
    """Of all nodes that were heard."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, str] = OrderedDict()

    def heard(self, info: NodeInfo) -> None:
        if not info.keeper:
            # While it looks for another one the former has what it had.
            return
        self._of[info.id] = info.keeper
        self._of.move_to_end(info.id)
        if len(self._of) > REMEMBERED:
            self._of.popitem(last=False)

    def of(self, node: str) -> str:
        """Empty: none is known."""
        return self._of.get(node, "")
