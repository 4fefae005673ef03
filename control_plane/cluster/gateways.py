"""Which gateways a client may go on at when its own is gone. A pure function of what is known of nodes."""

from collections.abc import Callable, Iterable
from typing import Final

from control_plane.cluster.registry import NodeInfo

# Told to one client. More survive the loss of more nodes at a time.
MOST: Final = 8
UNKNOWN_MS: Final = 1e6


def gateways(me: NodeInfo, nodes: Iterable[NodeInfo], is_suspected: Callable[[str], bool]) -> list[NodeInfo]:
    """Nodes with a gateway that clients may be told of: this one first, then by round trip from here, then by load.

    `nodes`: all that are there. Who drains, leaves, is suspected or has no public URL is none of them.
    """

    def cost(node: NodeInfo) -> tuple[bool, float, float, str]:
        used = max(node.load.values(), default=0.0)
        return node.id != me.id, me.links.get(node.id, UNKNOWN_MS), used, node.id

    fit = [node for node in nodes if node.gateway and node.open and not node.leaving and not is_suspected(node.id)]
    # Behind a load balancer several have one URL.
    by_url: dict[str, NodeInfo] = {}
    for node in sorted(fit, key=cost):
        by_url.setdefault(node.gateway, node)
    return list(by_url.values())[:MOST]
