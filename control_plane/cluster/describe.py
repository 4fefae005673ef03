"""What a node says of itself."""

import secrets
from collections.abc import Callable, Mapping
from typing import Final

from control_plane.cluster.load import Capacity, LoadMeter
from control_plane.cluster.registry import NodeInfo
from control_plane.measure import Snapshot
from control_plane.node import Node


class Description:
    """`now` measures the load since it was last asked."""

    def __init__(self, node: Node, snapshot: Callable[[], Snapshot], version: str, capacity: Capacity) -> None:
        self.incarnation: Final = secrets.randbits(63)
        self.links: Callable[[], Mapping[str, float]] = dict
        """Round trips in ms to other nodes, as the links measure them."""
        self._node = node
        self._version = version
        self._capacity = capacity
        self._meter = LoadMeter(snapshot)

    def shares(self) -> dict[str, float]:
        """Used shares of what the node can do, by name."""
        return self._capacity.shares(self._meter.measure(), self._node.num_sessions)

    def now(self, address: str = "", region: str = "", url: str = "", grpc: str = "") -> NodeInfo:
        node, load = self._node, self._meter.measure()
        participants = node.num_sessions
        return NodeInfo(
            id=node.id,
            incarnation=self.incarnation,
            address=address,
            region=region,
            version=self._version,
            url=url,
            grpc=grpc,
            draining=node.draining,
            load=self._capacity.shares(load, participants),
            participants=participants,
            capacity=self._capacity.participants,
            rooms=node.num_rooms,
            packets_per_second=round(load.packets_per_second, 1),
            egress_bps=round(load.egress_bps),
            links={peer: round(rtt, 2) for peer, rtt in self.links().items()},
        )
