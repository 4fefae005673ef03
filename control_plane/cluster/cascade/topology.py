"""Which nodes there are, which can be reached, and from whom a track may come: what is known, put before decisions."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal, Protocol

import grpc

from control_plane.cluster.cascade import routes
from control_plane.cluster.cascade.around import Third, choose
from control_plane.cluster.cascade.mirror import Ways
from control_plane.cluster.cascade.suspicion import Signs, Verdict, verdict
from control_plane.cluster.cascade.wire import Source

if TYPE_CHECKING:
    from control_plane.cluster.cascade.peer import Peer

# Nodes outside a room that may be asked to pass its tracks on. More finds a way more often.
MAX_OUTSIDE: Final = 8
# Seconds for which the same ones are the best. Longer asks anew less often, shorter finds nearer ones sooner.
OUTSIDE_KEPT: Final = 10.0
# Seconds for a node to open its stream. Shorter asks others sooner, longer waits for a slow one.
FIRST_STREAM: Final = 3.0

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

    def went_round(self, node: str) -> None:
        """It is spoken to through a third node from now on."""

    def suspect(self, node: str) -> None:
        """It cannot be reached: nobody is to be sent there until it is heard again."""

    def is_kept(self, node: str) -> bool:
        """Another node, which answers, has what it takes to go on with that one's sessions."""


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
        self._outside: dict[str, tuple[float, list[str]]] = {}
        """By home: until when, and who."""

    def hops(self, source: Source, room: str | None) -> list[str]:
        broken = {peer.id for peer in self._peers.values() if not peer.may_pass_media}
        now = time.monotonic()
        mute = {
            peer.id
            for peer in self._peers.values()
            if not peer.is_open and (peer.streams or now - peer.closed_at > FIRST_STREAM)
        }
        holders = {*self._holders(room), self._here, source.node} if room is not None else {source.node}
        outside: list[str] = []
        if routes.needs_outside(source.node, self._here, holders, broken):
            outside = self._nearest(source.node, holders, now)
        return routes.hops(source.node, self._here, holders, broken, self._fan_out, outside, mute)

    def passes(self, node: str) -> bool:
        peer = self._peers.get(node)
        return peer is not None and peer.may_pass_media

    def neighbour(self, node: str) -> "Peer":
        return self._peer(node)

    def lives(self, node: str) -> bool:
        return node in self._surroundings.node_ids()

    def _nearest(self, home: str, holders: Collection[str], now: float) -> list[str]:
        """Nodes that may pass on what comes from there."""
        until, known = self._outside.get(home, (0.0, []))
        found = [node for node in known if node not in holders and self.lives(node)]
        if not found or now >= until:
            thirds = (third for third in self._surroundings.thirds(home) if third.node not in holders)
            found = [third.node for third in choose(thirds, most=MAX_OUTSIDE)]
            self._outside[home] = now + OUTSIDE_KEPT, found
        return found

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
