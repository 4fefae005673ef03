"""Which nodes there are, which can be reached, and from whom a track may come: what is known, put before decisions."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Protocol

import grpc

from control_plane.cluster.cascade import routes
from control_plane.cluster.cascade.around import Third
from control_plane.cluster.cascade.mirror import Ways
from control_plane.cluster.cascade.suspicion import Signs, Verdict, verdict
from control_plane.cluster.cascade.wire import Source

if TYPE_CHECKING:
    from control_plane.cluster.cascade.peer import Peer

# Nodes outside a room that may be asked to pass its tracks on. More finds a way more often.
MAX_OUTSIDE: Final = 8

Heartbeat = Literal["heard", "expired", "unknown"]


class Surroundings(Protocol):
    """What the rest of a cluster's node knows."""

    def straight(self, node: str) -> grpc.aio.Channel:
        """Both ends are sure of each other. Raises UnavailableError."""

    def thirds(self, node: str) -> Iterable[Third]:
        """All other nodes that may pass on what is said to that one."""

    def heartbeat(self, node: str) -> Heartbeat:
        """Unknown while nobody's can be heard."""

    def node_ids(self) -> Collection[str]:
        """Of all that live, this one included."""

    def suspect(self, node: str) -> None:
        """It cannot be reached: nobody is to be sent there until it is heard again."""


class Topology(Ways):
    """Around node `here`. `peer`: that node, made known when it is not."""

    def __init__(
        self,
        here: str,
        peers: "Mapping[str, Peer]",
        peer: "Callable[[str], Peer]",
        holders: Callable[[str], Collection[str]],
        surroundings: Surroundings,
        fan_out: int,
    ) -> None:
        self._here = here
        self._peers = peers
        self._peer = peer
        self._holders = holders
        self._surroundings = surroundings
        self._fan_out = fan_out

    def hops(self, source: Source, room: str | None) -> list[str]:
        broken = {peer.id for peer in self._peers.values() if not peer.may_pass_media}
        mute = {peer.id for peer in self._peers.values() if peer.streams and not peer.is_open}
        holders = {*self._holders(room), self._here, source.node} if room is not None else {source.node}
        outside: list[str] = []
        if broken & holders:
            live = (node for node in self._surroundings.node_ids() if node not in holders)
            outside = list(islice(live, MAX_OUTSIDE))
        return routes.hops(source.node, self._here, holders, broken, self._fan_out, outside, mute)

    def passes(self, node: str) -> bool:
        peer = self._peers.get(node)
        return peer is not None and peer.may_pass_media

    def neighbour(self, node: str) -> "Peer":
        return self._peer(node)

    def lives(self, node: str) -> bool:
        return node in self._surroundings.node_ids()

    def verdict(self, peer: "Peer") -> Verdict:
        """Whether it lives, as seen now."""
        return verdict(
            Signs(
                has_stream=peer.is_open,
                without_stream=time.monotonic() - peer.closed_at,
                broke_off=peer.broke_off,
                refused=peer.refused,
                links_silent=peer.relays.are_silent,
                heartbeat=self._surroundings.heartbeat(peer.id),
            )
        )
