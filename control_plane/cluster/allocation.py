"""Which node takes a participant: what is known of nodes and rooms, put to `placement.place`.

Who has been sent to a node counts as load there until a load that was measured later is heard, so that a burst of joins
spreads. Nodes tell each other whom they send where.
"""

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from control_plane.cluster.directory import Directory
from control_plane.cluster.placement import COMFORT, FULL, NodeView, Paths, place
from control_plane.cluster.registry import NodeInfo, Registry
from control_plane.cluster.state import SharedState, StateUnavailableError
from control_plane.cluster.tasks import end
from control_plane.errors import LimitExceededError, NotFoundError, UnavailableError

log = structlog.get_logger(__name__)

# A participant's work shows in a node's load after so many seconds: it joins, negotiates, subscribes. Longer spreads a
# burst wider, shorter trusts what is measured sooner.
SETTLES: Final = 2.5
# A place is not kept longer, whatever is heard of the node.
EXPIRES: Final = 10.0
# Share of a node that a participant takes, while little is known: of a small node, of one with a webinar's viewers.
FIRST_SHARE: Final = 0.005
MAX_SHARE: Final = 0.02
# From so many participants on a node's own load says what one costs.
ENOUGH: Final = 20
# Loads of so many heartbeats are looked at, and the least says it: who joins costs more while joining than afterwards.
# More is slower to see that participants have become dearer, fewer take a burst of joins for what everyone costs.
LOOKED_BACK: Final = 30
# Seconds between two messages of who was sent where. Shorter is fairer, longer costs less.
GATHER: Final = 0.1
RETRY_FULL: Final = 5.0
RETRY_NONE: Final = 2.0
ALTERNATIVES: Final = 3
REMEMBERED: Final = 8_192
# Who comes back within so many seconds goes where it was.
STICKS: Final = 60.0
SUBJECT: Final = "reservations"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who is to be placed. `measured`: round trips in ms by node id. `exclude`: nodes that have refused."""

    room: str
    identity: str
    region: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    session_node: str = ""
    """That of the session to resume."""
    resume: bool = False
    """There is a session to resume, of which the node is not known."""
    exclude: frozenset[str] = frozenset()


class Reservations:
    """Shares of nodes that are promised and do not show in their loads yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: dict[str, list[tuple[float, float]]] = {}

    def add(self, node: str, share: float) -> None:
        self._made.setdefault(node, []).append((self._clock(), share))

    def share(self, node: str) -> float:
        now = self._clock()
        return sum(share for at, share in self._made.get(node, ()) if now - at < EXPIRES)

    def heard(self, node: str) -> None:
        """A load of the node has come: what was promised well before it is in it."""
        now = self._clock()
        left = [made for made in self._made.get(node, ()) if now - made[0] < SETTLES]
        if left:
            self._made[node] = left
        else:
            self._made.pop(node, None)


class Costs:
    """What a participant costs of each node, as its loads have it."""

    def __init__(self) -> None:
        self._heard: dict[str, deque[float]] = {}

    def heard(self, info: NodeInfo) -> None:
        """A load of the node has come."""
        if info.participants < ENOUGH:
            self._heard.pop(info.id, None)
            return
        shares = self._heard.setdefault(info.id, deque(maxlen=LOOKED_BACK))
        shares.append(max(info.load.values(), default=0.0) / info.participants)

    def gone(self, node: str) -> None:
        self._heard.pop(node, None)

    def share(self, info: NodeInfo) -> float:
        """Of one more participant."""
        usual = min(self._heard.get(info.id, (FIRST_SHARE,)))
        least = 1 / info.capacity if info.capacity else 0.0
        return max(least, min(usual, MAX_SHARE))


class Allocation:
    """`start` it after registry and directory."""

    def __init__(
        self,
        state: SharedState,
        registry: Registry,
        directory: Directory,
        home_of: Callable[[str, str], str | None],
        is_kept: Callable[[str], bool] = lambda _: False,
        kept_of: Callable[[str, str], str | None] = lambda _, __: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`home_of`: the node of an identity in a room, as far as this node knows; `is_kept`: another one can
        go on with a node's sessions; `kept_of`: the node of a session that this one can go on with."""
        self._state = state
        self._registry = registry
        self._directory = directory
        self._home_of = home_of
        self._is_kept = is_kept
        self._kept_of = kept_of
        self._clock = clock
        self._reservations = Reservations(clock)
        self._costs = Costs()
        self._untold: dict[str, list[float]] = {}
        self._holders: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """Of rooms that were asked for: good enough while the shared state is away."""
        self._sent: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once."""
        self._registry.heard.append(self._heard)
        self._tasks = [asyncio.create_task(part) for part in (self._tell(), self._listen())]

    async def stop(self) -> None:
        await end(self._tasks)

    async def assign(self, wanted: Wanted) -> list[str]:
        """Ids of nodes to try, best first; a place on the first is kept. Raises ControlError when there is none."""
        session = self._registry.node(wanted.session_node) if wanted.session_node else None
        if session is not None and session.id not in wanted.exclude:
            if not self._registry.is_suspected(session.id):
                # Also of a node that drains: the session is there and nowhere else.
                return [session.id]
            if not self._is_kept(session.id):
                raise NotFoundError("the session's node does not answer")
        if (wanted.resume or wanted.session_node) and self._goes_on_here(wanted):
            self._reserve(self._registry.id)
            return [self._registry.id]
        holders = await self._holders_of(wanted.room)
        if wanted.resume:
            self._check_resumable(wanted, holders)
        infos = [info for info in self._registry.nodes() if info.id not in wanted.exclude]
        views = [self._view(info) for info in infos]
        region = wanted.region or self._registry.me.region
        paths = Paths(self._registry.region_paths(), wanted.measured)
        order = place(wanted.room, region, views, holders, paths)
        if not order:
            raise _refusal(views)
        former = self._former(wanted)
        if former in order:
            order.remove(former)
            order.insert(0, former)
        self._reserve(order[0])
        self._remember(wanted, order[0])
        return order[: 1 + ALTERNATIVES]

    # Inside.

    def _heard(self, node: str) -> None:
        self._reservations.heard(node)
        info = self._registry.node(node)
        if info is not None:
            self._costs.heard(info)
        else:
            self._costs.gone(node)

    def _goes_on_here(self, wanted: Wanted) -> bool:
        """This node keeps the session of a dead one, and has room: nobody has to be asked."""
        home, me = self._kept_of(wanted.room, wanted.identity), self._registry.me
        if home is None or self._registry.answers(home) or me.id in wanted.exclude:
            return False
        view = self._view(me)
        return view.open and view.used < COMFORT

    def _check_resumable(self, wanted: Wanted, holders: Sequence[str]) -> None:
        """Raises NotFoundError when no node can have the session: its client starts over at once then, and nobody waits
        for the dead."""
        home = self._home_of(wanted.room, wanted.identity)
        may_have_it = [home] if home is not None else holders
        if not any(self._registry.answers(node) or self._is_kept(node) for node in may_have_it):
            raise NotFoundError("the session's node is gone")

    def _view(self, info: NodeInfo) -> NodeView:
        is_open = info.open and not self._registry.is_suspected(info.id)
        return NodeView(info.id, info.region, info.load, is_open, self._reservations.share(info.id))

    async def _holders_of(self, room: str) -> tuple[str, ...]:
        try:
            record = await self._directory.find(room, recent=True)
        except UnavailableError:
            known = self._holders.get(room)
            if known is None:
                raise
            return known
        holders = record.holders if record is not None and not record.ended else ()
        self._holders[room] = holders
        self._holders.move_to_end(room)
        if len(self._holders) > REMEMBERED:
            self._holders.popitem(last=False)
        return holders

    def _former(self, wanted: Wanted) -> str | None:
        """Where the identity is or was a moment ago: who comes back finds the way as it was."""
        found = self._home_of(wanted.room, wanted.identity)
        if found is not None:
            return found
        sent = self._sent.get((wanted.room, wanted.identity))
        return sent[0] if sent is not None and self._clock() - sent[1] < STICKS else None

    def _remember(self, wanted: Wanted, node: str) -> None:
        key = wanted.room, wanted.identity
        self._sent[key] = node, self._clock()
        self._sent.move_to_end(key)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)

    def _reserve(self, node: str) -> None:
        info = self._registry.node(node)
        if info is not None:
            share = self._costs.share(info)
            self._reservations.add(node, share)
            self._untold.setdefault(node, []).append(share)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(GATHER)
            if not self._untold:
                continue
            untold, self._untold = self._untold, {}
            message = {"from": self._registry.id, "shares": {node: sum(shares) for node, shares in untold.items()}}
            try:
                await self._state.publish(SUBJECT, json.dumps(message).encode())
            except StateUnavailableError:
                log.debug("reservations were not told")

    async def _listen(self) -> None:
        async for payload in self._state.listen(SUBJECT):
            for node, share in _shares(payload, self._registry.id).items():
                if self._registry.node(node) is not None:
                    self._reservations.add(node, share)


def _refusal(views: Sequence[NodeView]) -> Exception:
    is_open = [view for view in views if view.open]
    if any(view.used >= FULL for view in is_open):
        return LimitExceededError("every node is full", retry_after=RETRY_FULL)
    return UnavailableError("no node takes participants now", retry_after=RETRY_NONE)


def _shares(payload: bytes, own: str) -> dict[str, float]:
    """What another node has promised, by node; nothing of what is malformed, or this node's own."""
    try:
        message = json.loads(payload)
        if message["from"] == own or len(message["shares"]) > 1_024:
            return {}
        return {str(node): min(max(float(share), 0.0), 1.0) for node, share in message["shares"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
