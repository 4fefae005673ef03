"""Which nodes there are: each writes what it is and carries once a second, and hears the others.

Whether a node lives is judged by this node's own steady clock since it was last heard, so that clocks of nodes may
differ by hours. And only while this node hears itself through the shared state: who is cut off, or stood still, does
not take the others for dead (they may think so of it).
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, Final, Literal

import structlog

from control_plane.cluster.state import Bucket, SharedState, StateUnavailableError
from control_plane.cluster.tasks import end

log = structlog.get_logger(__name__)

# What nodes say to each other. They understand that of the release before.
PROTOCOL: Final = 1
OLDEST_PROTOCOL: Final = 1
MAX_RECORD: Final = 64 * 1024
MAX_NODES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    heartbeat: float = 1.0
    """Shorter finds the dead sooner and costs each node a message per node more often."""
    expiry: float = 4.0
    """After the last heartbeat. Shorter finds the dead sooner, longer rides out a slow bus."""
    echo: float = 2.5
    """Between own heartbeats heard: beyond it this node counts as having been cut off."""
    sweep: float = 0.25
    late: float = 0.5
    """A heartbeat sent before its node died may come so long after somebody noticed."""

    def scaled(self, factor: float) -> "Timing":
        """All of them shorter or longer."""
        return Timing(**{name: value * factor for name, value in asdict(self).items()})


Kind = Literal["came", "changed", "gone"]
Listener = Callable[[str, Kind], None]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node says of itself. `load`: used shares of capacity by name. `links`: round trips in ms by node id."""

    id: str
    incarnation: int
    """New at every start."""
    address: str
    """host:port of its listener for nodes."""
    region: str = ""
    version: str = ""
    protocol: int = PROTOCOL
    url: str = ""
    gateway: str = ""
    """Where clients of other gateways may come; empty unless an operator said so."""
    grpc: str = ""
    """host:port of the gRPC that clients and signaling tiers use."""
    draining: bool = False
    leaving: bool = False
    """The last that it says."""
    load: Mapping[str, float] = field(default_factory=dict)
    participants: int = 0
    capacity: int = 0
    """Participants at most."""
    rooms: int = 0
    packets_per_second: float = 0.0
    """In and out, of media."""
    egress_bps: float = 0.0
    links: Mapping[str, float] = field(default_factory=dict)
    link_loss: Mapping[str, float] = field(default_factory=dict)
    """Shares of what is sent that are lost on the way, and bits per second that are sent, by node id."""
    link_bps: Mapping[str, float] = field(default_factory=dict)

    seats: bool = False
    """It writes who is there in rooms with a limit. False of the release before."""

    keeps: bool = False
    """It keeps sessions of others. False of the release before."""
    keeper: str = ""
    """The node that keeps its sessions; empty: none does now."""

    around: Mapping[str, str] = field(default_factory=dict)
    """Nodes that it cannot reach straight: by id the third node through which it speaks to each."""
    drain: Mapping[str, float] = field(default_factory=dict)
    """How far it is emptied: participants `total`, `moved`, `failed`, `left`; empty unless it drains."""

    @property
    def fits(self) -> bool:
        """It speaks a protocol that this node understands."""
        return self.protocol >= OLDEST_PROTOCOL

    @property
    def open(self) -> bool:
        return self.fits and not self.draining


NODE_STATES: Final = ("ready", "draining", "suspected", "refused")


def state_of(info: NodeInfo, *, suspected: bool) -> str:
    """One of NODE_STATES: the worst that is so."""
    if not info.fits:
        return "refused"
    if suspected:
        return "suspected"
    return "draining" if info.draining else "ready"


USUAL: Final = Timing()


@dataclass(slots=True)
class _Heard:
    info: NodeInfo
    at: float
    suspected_at: float | None = None


class Registry:
    """`start` it, then ask who is there. `listeners` are told who came, changed and went."""

    def __init__(
        self,
        state: SharedState,
        describe: Callable[[], NodeInfo],
        clock: Callable[[], float] = time.monotonic,
        timing: Timing = USUAL,
    ) -> None:
        """`describe`: this node as it is now."""
        self.timing = timing
        self.listeners: list[Listener] = []
        self.heard: list[Callable[[str], None]] = []
        """Called with the id at each heartbeat of any node."""
        self._state = state
        self._describe = describe
        self._clock = clock
        self._me = describe()
        self._heard: dict[str, _Heard] = {}
        self._echo_at: float | None = None
        self._since = 0.0
        """From here on this node has heard itself without a gap."""
        self._beat_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._told_double = False

    @property
    def id(self) -> str:
        return self._me.id

    @property
    def me(self) -> NodeInfo:
        return self._me

    async def start(self) -> None:
        """Returns at once: a node begins also while the shared state is away."""
        bucket = await self._state.bucket("nodes", self.timing.expiry)
        self._tasks = [asyncio.create_task(part) for part in (self._beat(bucket), self._watch(bucket), self._sweep())]

    async def stop(self) -> None:
        """The others are told at once that this node leaves."""
        await end(self._tasks)
        if self._tasks:
            try:
                bucket = await self._state.bucket("nodes", self.timing.expiry)
                await bucket.put(self.id, encode(replace(self._describe(), leaving=True)))
            except StateUnavailableError as error:
                log.info("the others will find out that this node has left", reason=str(error))
        self._tasks = []

    def announce(self) -> None:
        """Tells what is new of this node now, not at the next heartbeat."""
        self._me = self._describe()
        self._beat_now.set()

    def node(self, node: str) -> NodeInfo | None:
        """None for one that is not there (any more)."""
        if node == self.id:
            return self._me
        found = self._heard.get(node)
        return found.info if found is not None else None

    def nodes(self) -> list[NodeInfo]:
        """All that are there, this one included, by id."""
        return sorted([self._me, *(heard.info for heard in self._heard.values())], key=lambda info: info.id)

    def suspect(self, node: str) -> None:
        """It was seen not to answer. It is spared until it is heard again."""
        found = self._heard.get(node)
        if found is not None and found.suspected_at is None:
            found.suspected_at = self._clock()
            log.warning("a node is suspected", node=node)
            self._tell(node, "changed")

    def is_suspected(self, node: str) -> bool:
        found = self._heard.get(node)
        return found is not None and found.suspected_at is not None

    def answers(self, node: str) -> bool:
        """It is there, and nobody saw it not answer."""
        return self.node(node) is not None and not self.is_suspected(node)

    def is_dead(self, node: str) -> bool:
        """It is known not to be there: never true while this node cannot tell."""
        if node == self.id or node in self._heard:
            return False
        return self.sees and self._clock() - self._since > self.timing.expiry

    @property
    def sees(self) -> bool:
        """This node hears itself through the shared state, and so would hear the others."""
        return self._echo_at is not None and self._clock() - self._echo_at < self.timing.echo

    @property
    def since(self) -> float:
        """From here on, by its clock, this node has heard itself without a gap."""
        return self._since

    def region_paths(self) -> dict[tuple[str, str], float]:
        """Round trips in ms between regions: the median over links between their nodes, where there are any."""
        found: dict[tuple[str, str], list[float]] = {}
        for info in self.nodes():
            for other_id, rtt in info.links.items():
                other = self.node(other_id)
                if other is not None and other.region != info.region:
                    one, two = sorted((info.region, other.region))
                    found.setdefault((one, two), []).append(rtt)
        return {pair: median(values) for pair, values in found.items()}

    # Heartbeats.

    async def _beat(self, bucket: Bucket) -> None:
        while True:
            self._beat_now.clear()
            self._me = self._describe()
            try:
                await bucket.put(self.id, encode(self._me))
                wait = self.timing.heartbeat
            except StateUnavailableError:
                wait = self.timing.sweep
            try:
                async with asyncio.timeout(wait):
                    await self._beat_now.wait()
            except TimeoutError:
                continue

    async def _watch(self, bucket: Bucket) -> None:
        async for change in bucket.watch():
            if change.value is None:
                # It has expired in the shared state, by whose clock nobody is judged: that may have been away.
                continue
            info = decode(change.key, change.value)
            if info is None:
                log.warning("a node's record was refused", node=change.key[:64])
                continue
            if info.id == self.id:
                self._on_own(info)
            elif info.leaving:
                self._gone(info.id, "left")
            else:
                self._on_heard(info)
            for told in self.heard:
                told(change.key)

    def _on_own(self, info: NodeInfo) -> None:
        if info.incarnation != self._me.incarnation:
            # What a former process of this node wrote last may come once.
            if self._echo_at is not None and not self._told_double:
                self._told_double = True
                log.error("another process is the same node: give each a certificate of its own", node=self.id)
            return
        now = self._clock()
        if self._echo_at is None or now - self._echo_at > self.timing.echo:
            self._since = now
        self._echo_at = now

    def _on_heard(self, info: NodeInfo) -> None:
        now = self._clock()
        known = self._heard.get(info.id)
        if known is None:
            if len(self._heard) >= MAX_NODES:
                return
            self._heard[info.id] = _Heard(info, now)
            if not info.fits:
                log.error("a node was refused: its version is too old", node=info.id, version=info.version)
            log.info("a node is there", node=info.id, region=info.region, address=info.address)
            self._tell(info.id, "came")
            return
        if known.info.incarnation != info.incarnation:
            self._gone(info.id, "restarted")
            self._on_heard(info)
            return
        changed = known.info != info
        known.info, known.at = info, now
        if known.suspected_at is not None and now - known.suspected_at > self.timing.late:
            known.suspected_at = None
            changed = True
        if changed:
            self._tell(info.id, "changed")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.timing.sweep)
            if not self.sees:
                continue
            now = self._clock()
            for node, heard in list(self._heard.items()):
                if now - max(heard.at, self._since) > self.timing.expiry:
                    self._gone(node, "silent")

    def _gone(self, node: str, reason: str) -> None:
        if self._heard.pop(node, None) is not None:
            log.warning("a node is gone", node=node, reason=reason)
            self._tell(node, "gone")

    def _tell(self, node: str, kind: Kind) -> None:
        for listener in self.listeners:
            try:
                listener(node, kind)
            except Exception:
                log.exception("a listener failed", node=node, change=kind)


def encode(info: NodeInfo) -> bytes:
    return json.dumps(asdict(info), separators=(",", ":")).encode()


def decode(key: str, value: bytes) -> NodeInfo | None:
    """None for what is no record of this node. What a newer release adds is ignored."""
    if len(value) > MAX_RECORD:
        return None
    try:
        found = json.loads(value)
        names = _TYPES.keys() & found.keys()
        fields = {name: _TYPES[name](found[name]) for name in names}
        info = NodeInfo(**fields)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return info if info.id == key else None


def _shares(value: Any) -> dict[str, float]:
    return {str(name)[:64]: _number(share) for name, share in _few(value.items())}


def _ids(value: Any) -> dict[str, str]:
    return {str(name)[:64]: _text(other)[:64] for name, other in _few(value.items())}


def _few(items: Iterable[Any]) -> list[Any]:
    found = list(items)
    if len(found) > 1_024:
        raise ValueError("too many")
    return found


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number < 1e15:
        raise ValueError("out of range")
    return number


def _count(value: Any) -> int:
    return int(_number(value))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**64:
        raise ValueError("no 64-bit number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1_024:
        raise ValueError("no text")
    return value


_TYPES: Final[dict[str, Callable[[Any], Any]]] = {
    "id": _text,
    "incarnation": _whole,
    "address": _text,
    "region": _text,
    "version": _text,
    "protocol": _count,
    "url": _text,
    "gateway": _text,
    "grpc": _text,
    "draining": bool,
    "leaving": bool,
    "seats": bool,
    "keeps": bool,
    "keeper": _text,
    "load": _shares,
    "participants": _count,
    "capacity": _count,
    "rooms": _count,
    "packets_per_second": _number,
    "egress_bps": _number,
    "links": _shares,
    "link_loss": _shares,
    "link_bps": _shares,
    "around": _ids,
    "drain": _shares,
}
