"""What a node says of itself."""

import secrets
from collections.abc import Callable, Mapping
from typing import Final

from control_plane.cluster.link_figures import LinkFigures, LinkMeter
from control_plane.cluster.load import Capacity, LoadMeter
from control_plane.cluster.registry import NodeInfo
from control_plane.measure import Snapshot
from control_plane.node import Node


class Description:
    """`now` measures the load since it was last asked."""

    def __init__(self, node: Node, snapshot: Callable[[], Snapshot], version: str, capacity: Capacity) -> None:
        self.incarnation: Final = secrets.randbits(63)
        self.round_trips: Callable[[], Mapping[str, float]] = dict
        """Of streams to other nodes, in ms by node id."""
        self.link_nodes: Callable[[], Mapping[int, str]] = dict
        """The node to which each media link leads, by the link's handle."""
        self.around: Callable[[], Mapping[str, str]] = dict
        """The third node through which each node is spoken to that cannot be reached straight."""
        self.drain: Callable[[], Mapping[str, float]] = dict
        """How far the node is emptied."""
        self.keeper: Callable[[], str] = str
        """The node that keeps this one's sessions."""
        self._node = node
        self._version = version
        self._capacity = capacity
        self._meter = LoadMeter(snapshot)
        self._links = LinkMeter(snapshot)

    def shares(self) -> dict[str, float]:
        """Used shares of what the node can do, by name."""
        return self._capacity.shares(self._meter.measure(), self._node.num_sessions)

    def links(self) -> dict[str, LinkFigures]:
        """How links to other nodes do, by node id."""
        return self._links.measure(self.link_nodes(), self.round_trips())

    def now(self, address: str = "", region: str = "", url: str = "", grpc: str = "", gateway: str = "") -> NodeInfo:
        node, load = self._node, self._meter.measure()
        participants = node.num_sessions
        links = self.links()
        return NodeInfo(
            id=node.id,
            incarnation=self.incarnation,
            address=address,
            region=region,
            version=self._version,
            url=url,
            gateway=gateway,
            grpc=grpc,
            draining=node.draining,
            load=self._capacity.shares(load, participants),
            participants=participants,
            capacity=self._capacity.participants,
            rooms=node.num_rooms,
            packets_per_second=round(load.packets_per_second, 1),
            egress_bps=round(load.egress_bps),
            links={peer: round(link.rtt_ms, 2) for peer, link in links.items()},
            link_loss={peer: round(link.loss, 5) for peer, link in links.items()},
            link_bps={peer: round(link.bps) for peer, link in links.items()},
            seats=True,
            keeps=True,
            keeper=self.keeper(),
            around=self.around(),
            drain=self.drain(),
        )
