"""Mirrors: encodings of other nodes as the core here has them, for rooms here and for nodes that ask for them."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

import structlog

from control_plane.cluster.cascade import routes
from control_plane.cluster.cascade.mirror import Asker, Mirror, Told, Ways
from control_plane.cluster.cascade.spares import Spares
from control_plane.cluster.cascade.wire import Source
from control_plane.media import MediaCore
from pysfu.v1 import cascade_pb2, models_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

log = structlog.get_logger(__name__)

# Seconds until another node is asked for a track, or so many round trips to the node when these are longer. Shorter
# mends sooner, longer waits for a slow node's answer.
ANSWER_TIMEOUT: Final = 0.4
ANSWER_ROUND_TRIPS: Final = 3.0
# When nobody has it: until all are asked again.
RETRY: Final = 1.0
# Until spare ways are asked for over links or a stream that have come: shorter is ready sooner, longer gathers more.
PREPARE: Final = 0.1
# Until other nodes that take a track from here take its new mirror. Longer carries it twice for longer.
TAKEN_OVER: Final = 1.0
# Of other nodes' tracks that this node passes on to those that ask.
MAX_PASSED_ON: Final = 10_000

_KINDS: Final = {"audio": models_pb2.MEDIA_KIND_AUDIO, "video": models_pb2.MEDIA_KIND_VIDEO}


class Mirrors:
    """Of node `here`."""

    def __init__(self, here: str, core: MediaCore, ways: Ways) -> None:
        self._here = here
        self._core = core
        self._ways = ways
        self._loop = asyncio.get_running_loop()
        self._mirrors: Final[dict[tuple[str, int], Mirror]] = {}
        """By home and its handle."""
        self._by_handle: Final[dict[int, Mirror]] = {}
        self._by_number: Final[dict[int, Mirror]] = {}
        """By the number of what is asked of another node."""
        self._by_asker: Final[dict[tuple[str, int], Mirror]] = {}
        self._failed: Final[set[str]] = set()
        """Nodes to which no media passed for a while, since they were known."""
        self._preparing: asyncio.TimerHandle | None = None
        self._numbers = count(1)
        self._spares = Spares(self._request_beforehand, self._release)

    # For rooms here.

    def want(self, source: Source, kind: str, room: str, group: int | None, told: Told) -> None:
        """From now on, until `release` or `forget`."""
        mirror = self._mirrors.setdefault((source.node, source.handle), Mirror(source, kind))
        mirror.room, mirror.told = room, told
        if mirror.group != group:
            mirror.group = group
            self._drop(mirror)
        if mirror.handle is not None:
            told(mirror.handle)
        else:
            self._look(mirror)

    def forget(self, source: Source) -> None:
        """It is not wanted here any more."""
        mirror = self._mirrors.get((source.node, source.handle))
        if mirror is not None:
            mirror.told = mirror.room = None
            # Two nodes that keep each other's would keep them for ever.
            self._spares.drop(mirror)
            self._end_if_unused(mirror)

    def release(self, handle: int) -> None:
        mirror = self._by_handle.get(handle)
        if mirror is not None:
            self.forget(mirror.source)

    # What happens.

    def ended(self, handle: int) -> None:
        """The core has it no more: it is looked for again."""
        mirror = self._by_handle.pop(handle, None)
        if mirror is None:
            return
        mirror.handle = mirror.link = None
        mirror.route = ()
        self._look(mirror)
        if mirror.handle is None:
            self._tell_lost(mirror)

    def links_ready(self, node: str) -> None:
        """There are new links to a node, or they speak again."""
        for mirror in list(self._mirrors.values()):
            if mirror.asked == node or mirror.handle is None:
                self._look(mirror)
        self._prepare_soon()

    def broken(self, node: str, *, is_dead: bool = False) -> None:
        """No media passes to or from that node: what came over it is taken from elsewhere. Of its own tracks nobody has
        anything any more when it is dead."""
        if self._ways.passes(node):
            # It is only that it says nothing.
            return
        self._failed.add(node)
        for mirror in list(self._mirrors.values()):
            if mirror.spare is not None and mirror.spare.node == node:
                self._spares.drop(mirror)
            if node in (mirror.via, mirror.asked) and not (is_dead and mirror.source.node == node):
                mirror.tried = {node}
                self._look(mirror)

    def broken_link(self, link: int) -> None:
        """Of several to a node one passes no media."""
        for mirror in list(self._mirrors.values()):
            if mirror.link != link or mirror.via is None:
                continue
            if not self._take(mirror, mirror.via, mirror.theirs, mirror.worker, mirror.route):
                mirror.tried = {mirror.via}
                self._look(mirror)

    def opened_stream(self, node: str) -> None:
        """It knows nothing of what was asked before, and will ask again for what it wants."""
        for mirror in list(self._mirrors.values()):
            for key in [key for key in mirror.askers if key[0] == node]:
                self._forget_asker(mirror, key)
            if mirror.spare is not None and mirror.spare.node == node:
                self._spares.drop(mirror)
            self._end_if_unused(mirror)
            if node in (mirror.via, mirror.asked) and node != mirror.source.node:
                mirror.held = None
                self._ask(mirror, node)
            elif mirror.asked is None and not (mirror.via and self._ways.passes(mirror.via)):
                # Nobody was left to be asked.
                mirror.tried = set()
                self._look(mirror)
        self._prepare_soon()

    def buried(self, node: str) -> None:
        """It is dead."""
        for mirror in list(self._mirrors.values()):
            for key in [key for key in mirror.askers if key[0] == node]:
                self._forget_asker(mirror, key)
            self._end_if_unused(mirror)
        self.broken(node)
        self._failed.discard(node)

    def settle(self, now: float) -> None:
        """To be called once a second: takes ways that have become better, and have been so for a while; asks for spare
        ones."""
        self._spares.begin(now)
        for mirror, hops in self._flowing():
            if mirror.told is not None:
                self._spares.settle(mirror, hops)
            best = next(iter(hops), None)
            if best is None or best == mirror.via:
                mirror.better = ("", now)
                continue
            if mirror.better[0] != best:
                mirror.better = (best, now)
            patience = routes.patience(best, mirror.source.node, has_failed=best in self._failed)
            if now - mirror.better[1] >= patience:
                mirror.better = ("", now)
                mirror.tried = set()
                self._look(mirror)

    def carries(self, handle: int) -> bool:
        """The core still has a mirror of that name."""
        return handle in self._by_handle

    def all(self) -> list[Mirror]:
        return list(self._mirrors.values())

    def is_used(self, node: str) -> bool:
        """Whether something comes from there, or goes there on behalf of a third node."""
        return any(
            node in (mirror.via, mirror.asked)
            or (mirror.spare is not None and mirror.spare.node == node)
            or any(asker == node for asker, _ in mirror.askers)
            for mirror in self._mirrors.values()
        )

    # What other nodes ask.

    def received_request(self, node: str, request: cascade_pb2.MirrorRequest) -> None:
        """For a track of a third node, or of this one over other links."""
        path = tuple(request.path[: routes.MAX_ROUTE + 1])
        source = Source(request.home, request.handle, request.worker)
        kind = next((kind for kind, value in _KINDS.items() if value == request.kind), "video")
        mirror = self._mirrors.get((source.node, source.handle))
        route = mirror.route if mirror is not None else ()
        refusal = routes.refusal(self._here, node, path, route) if path and path[-1] == node else "no path"
        if source.node == self._here:
            refusal = "it is published here"
        elif mirror is None and not self._ways.lives(source.node):
            refusal = "its home is not known"
        elif mirror is None and len(self._mirrors) >= MAX_PASSED_ON:
            refusal = "too many tracks"
        later = request.beforehand and refusal == routes.FROM_THERE
        if refusal is not None:
            self._answer(node, request.number, refusal=refusal, later=later)
            if not later:
                return
        if mirror is None:
            mirror = self._mirrors[source.node, source.handle] = Mirror(source, kind)
        key = node, request.number
        former = self._by_asker.get(key)
        if former is not None:
            self._forget_asker(former, key)
        mirror.askers[key] = Asker(request.beforehand)
        self._by_asker[key] = mirror
        if later:
            return
        if mirror.handle is not None:
            self._tell_askers(mirror)
        elif not request.beforehand:
            mirror.path = path
            self._look(mirror)
        elif mirror.pending is None:
            # Who can do without does not wait for it: it may come from there.
            self._look(mirror)

    def received_response(self, node: str, response: cascade_pb2.MirrorResponse) -> None:
        mirror = self._by_number.get(response.number)
        if mirror is None:
            return
        route = tuple(response.route[: routes.MAX_ROUTE])
        is_given = bool(response.handle and route and route[-1] == node and self._here not in route)
        if mirror.spare is not None and mirror.spare.key == (node, response.number):
            if is_given:
                mirror.spare.answered(response.handle, response.worker, route)
                if mirror.pending is not None:
                    self._look(mirror)
            else:
                self._spares.refused(mirror, later=response.later)
            return
        if (node, response.number) not in (mirror.pending, mirror.held):
            return
        if not is_given:
            log.debug("a track is not passed on", node=node, reason=response.refusal or "no way")
            self._try_next(mirror, node)
            return
        if not self._take(mirror, node, response.handle, response.worker, route):
            self._try_next(mirror, node)

    def received_release(self, node: str, release: cascade_pb2.MirrorRelease) -> None:
        mirror = self._by_asker.get((node, release.number))
        if mirror is not None:
            self._forget_asker(mirror, (node, release.number))
            self._end_if_unused(mirror)

    # Inside.

    def _flowing(self) -> Iterator[tuple[Mirror, Sequence[str]]]:
        """Those that are here and are not looked for, with the nodes to get them from."""
        known: dict[tuple[str, str | None], Sequence[str]] = {}
        for mirror in list(self._mirrors.values()):
            if mirror.asked is None and mirror.handle is not None:
                key = mirror.source.node, mirror.room
                if key not in known:
                    known[key] = self._ways.hops(mirror.source, mirror.room)
                yield mirror, known[key]

    def _prepare_soon(self) -> None:
        """Another node can be asked for spare ways: what breaks next may do so before the second is over."""
        if self._preparing is None:
            self._preparing = self._loop.call_later(PREPARE, self._prepare)

    def _prepare(self) -> None:
        self._preparing = None
        for mirror, hops in self._flowing():
            if mirror.told is not None:
                self._spares.settle(mirror, hops)

    def _look(self, mirror: Mirror) -> None:
        """Takes it from the best node that can give it."""
        self._stop_waiting(mirror)
        if mirror.told is None and not mirror.askers:
            return
        home, ready = mirror.source.node, mirror.ready
        hops = [hop for hop in self._ways.hops(mirror.source, mirror.room) if hop not in mirror.tried]
        for hop in routes.by_readiness(hops, home, mirror.via if mirror.handle is not None else None, ready):
            if hop == mirror.via and mirror.handle is not None:
                return
            if hop == ready and self._take_spare(mirror):
                return
            neighbour = self._ways.neighbour(hop)
            if hop != home:
                self._ask(mirror, hop)
                return
            if self._take(mirror, hop, mirror.source.handle, mirror.source.worker, (hop,)):
                return
            if mirror.handle is None or not neighbour.relays.is_there:
                # Its links are about to be made.
                neighbour.invited()
                mirror.pending = (hop, 0)
                self._wait(mirror, ANSWER_TIMEOUT if mirror.handle is not None else RETRY)
                return
        mirror.tried = set()
        self._wait(mirror, RETRY)

    def _ask(self, mirror: Mirror, hop: str) -> None:
        """Its answer comes later, or never."""
        neighbour = self._ways.neighbour(hop)
        neighbour.invited()
        number = next(self._numbers)
        mirror.pending = (hop, number)
        self._by_number[number] = mirror
        self._wait(mirror, max(ANSWER_TIMEOUT, ANSWER_ROUND_TRIPS * (neighbour.round_trip or 0.0)))
        if neighbour.is_open:
            if mirror.via in mirror.tried:
                # It does not come here any more. Who has it from here may know a way, and would not give it otherwise.
                self._refuse(mirror, hop, "it does not come any more")
            self._request(mirror, hop, number, path=(*mirror.path, self._here))

    def _request(
        self, mirror: Mirror, node: str, number: int, *, path: Sequence[str], beforehand: bool = False
    ) -> None:
        request = cascade_pb2.MirrorRequest(
            number=number,
            home=mirror.source.node,
            handle=mirror.source.handle,
            worker=mirror.source.worker,
            kind=_KINDS[mirror.kind],
            path=path,
            beforehand=beforehand,
        )
        self._ways.neighbour(node).say(CascadeMessage(mirror_request=request))

    def _request_beforehand(self, mirror: Mirror, node: str) -> int | None:
        """The number of the request; None while nothing can be said to the node."""
        neighbour = self._ways.neighbour(node)
        neighbour.invited()
        if not neighbour.is_open:
            return None
        number = next(self._numbers)
        self._by_number[number] = mirror
        self._request(mirror, node, number, path=(self._here,), beforehand=True)
        return number

    def _take_spare(self, mirror: Mirror) -> bool:
        """Without a word: its answer is there."""
        spare, mirror.spare = mirror.spare, None
        if spare is None:
            return False
        mirror.pending = spare.key
        if self._take(mirror, spare.node, spare.handle, spare.worker, spare.route):
            return True
        self._stop_waiting(mirror)
        return False

    def _take(self, mirror: Mirror, via: str, theirs: int, worker: int, route: tuple[str, ...]) -> bool:
        """False when there is no link over which it could come. What comes already is given to no silent one."""
        before = mirror.handle
        relays = self._ways.neighbour(via).relays
        link = None
        if before is not None and not self._has_lost(mirror, via, theirs):
            link = relays.link_to(worker, theirs, self._core.worker_of(before))
        keeps = link is not None
        link = link or relays.link_to(worker, theirs)
        if link is None or (before is not None and not link.is_well):
            return False
        handle = before
        if handle is None or (mirror.link, mirror.theirs) != (link.ours, theirs):
            try:
                handle = self._core.mirror(
                    link.ours, theirs, kind=mirror.kind, group=mirror.group, track=before if keeps else None
                )
            except Exception as error:
                log.warning("a track of another node cannot be mirrored", node=via, error=str(error))
                return False
        taken, mirror.pending = mirror.pending, None
        if taken is not None and taken[0] == via:
            self._let_go(mirror)
            mirror.held = taken if taken[1] else None
        elif mirror.held is not None and mirror.held[0] != via:
            if self._ways.passes(mirror.held[0]):
                self._spares.keep(mirror)
            self._let_go(mirror)
        if mirror.spare is not None and mirror.spare.node == via:
            self._spares.drop(mirror)
        self._stop_waiting(mirror)
        mirror.link, mirror.route, mirror.handle = link.ours, route, handle
        mirror.theirs, mirror.worker, mirror.path = theirs, worker, ()
        mirror.tried.clear()
        if handle != before:
            self._by_handle[handle] = mirror
            if mirror.told is not None:
                mirror.told(handle)
            if before is not None:
                # Whatever received it goes on with the other; nodes that do are told of it first.
                del self._by_handle[before]
                self._loop.call_later(TAKEN_OVER, self._unmirror, before)
        self._tell_askers(mirror)
        return True

    def _has_lost(self, mirror: Mirror, via: str, theirs: int) -> bool:
        """Pictures were lost on its way for good. A new mirror begins with a keyframe: nobody waits for them."""
        if mirror.kind != "video" or mirror.via is None or mirror.link is None:
            return False
        is_another = via == mirror.via and theirs != mirror.theirs
        return is_another or not self._ways.neighbour(mirror.via).relays.is_well(mirror.link)

    def _unmirror(self, handle: int) -> None:
        try:
            self._core.unmirror(handle)
        except Exception as error:
            log.debug("the core had nothing to free", error=str(error))

    def _try_next(self, mirror: Mirror, node: str) -> None:
        mirror.tried.add(node)
        if mirror.via == node:
            mirror.route = ()
            self._let_go(mirror)
        self._look(mirror)

    def _tell_askers(self, mirror: Mirror) -> None:
        if mirror.handle is None:
            return
        route = (*mirror.route, self._here)
        for (node, number), asker in list(mirror.askers.items()):
            if node in mirror.route:
                self._refuse(mirror, node, routes.FROM_THERE)
            elif asker.told != (mirror.handle, route):
                asker.told = mirror.handle, route
                self._answer(node, number, mirror.handle, route)

    def _tell_lost(self, mirror: Mirror) -> None:
        if mirror.told is not None:
            mirror.told(None)
        for node in {node for node, _ in mirror.askers}:
            self._refuse(mirror, node, "it does not come any more")
        self._end_if_unused(mirror)

    def _refuse(self, mirror: Mirror, node: str, reason: str) -> None:
        """Whatever a node asked for; what it asked beforehand stands."""
        for key, asker in [(key, asker) for key, asker in mirror.askers.items() if key[0] == node]:
            if not asker.beforehand:
                self._forget_asker(mirror, key)
                self._answer(*key, refusal=reason)
            elif asker.told is not None:
                asker.told = None
                self._answer(*key, refusal=reason, later=True)

    def _forget_asker(self, mirror: Mirror, key: tuple[str, int]) -> None:
        mirror.askers.pop(key, None)
        self._by_asker.pop(key, None)

    def _answer(
        self,
        node: str,
        number: int,
        handle: int = 0,
        route: Sequence[str] = (),
        refusal: str = "",
        *,
        later: bool = False,
    ) -> None:
        worker = self._core.worker_of(handle) if handle else 0
        response = cascade_pb2.MirrorResponse(
            number=number, handle=handle, worker=worker, refusal=refusal, route=route, later=later
        )
        self._ways.neighbour(node).say(CascadeMessage(mirror_response=response))

    def _end_if_unused(self, mirror: Mirror) -> None:
        if mirror.told is not None or mirror.askers:
            return
        self._mirrors.pop((mirror.source.node, mirror.source.handle), None)
        self._stop_waiting(mirror)
        self._let_go(mirror)
        self._drop(mirror)

    def _let_go(self, mirror: Mirror) -> None:
        """The node that passed it on need not any more."""
        held, mirror.held = mirror.held, None
        if held is not None:
            self._release(*held)

    def _release(self, node: str, number: int) -> None:
        self._by_number.pop(number, None)
        release = cascade_pb2.MirrorRelease(number=number)
        self._ways.neighbour(node).say(CascadeMessage(mirror_release=release))

    def _drop(self, mirror: Mirror) -> None:
        """Out of the core."""
        if mirror.handle is not None:
            self._by_handle.pop(mirror.handle, None)
            self._core.unmirror(mirror.handle)
            mirror.handle = mirror.link = None
            mirror.route = ()

    def _wait(self, mirror: Mirror, seconds: float) -> None:
        if mirror.timer is not None:
            mirror.timer.cancel()
        mirror.timer = self._loop.call_later(seconds, self._waited, mirror)

    def _waited(self, mirror: Mirror) -> None:
        mirror.timer = None
        if mirror.asked is not None:
            mirror.tried.add(mirror.asked)
        self._look(mirror)

    def _stop_waiting(self, mirror: Mirror) -> None:
        pending, mirror.pending = mirror.pending, None
        if pending is not None and pending[1]:
            # It may come to have it later: then it need not pass it on.
            self._release(*pending)
        if mirror.timer is not None:
            mirror.timer.cancel()
            mirror.timer = None
