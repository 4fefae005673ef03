"""Sessions that go from node to node: asked for where a client resumes, given by the node that has them, or by the one
that kept them when that node is dead."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc
import structlog

from control_plane import ids
from control_plane.auth import Token
from control_plane.cluster.moving import arriving
from control_plane.cluster.moving.kept import Kept
from control_plane.cluster.moving.leaving import FORMAT, session_state
from control_plane.errors import NotFoundError, UnavailableError
from control_plane.live_room import LiveRoom
from control_plane.node import Node
from control_plane.rooms import new_room
from pysfu.v1 import moving_pb2, moving_pb2_grpc, signaling_pb2

log = structlog.get_logger(__name__)

# Of a node that does not answer its clients start over: shorter lets them do so sooner, longer waits for
# a loop that stands.
TAKE_TIMEOUT: Final = 2.0
# Seconds until what other nodes tell of a room is known. Media that is not there by then is negotiated later.
KNOWN_TIMEOUT: Final = 3.0
LOOK: Final = 0.02
# Holders of its room that are asked for a session of which nothing else is known.
MAX_ASKED: Final = 4


class Moving:
    """Of one node."""

    def __init__(
        self,
        node: Node,
        channel: Callable[[str], grpc.aio.Channel],
        home_of: Callable[[str, str], str | None],
        holders_of: Callable[[str], Iterable[str]],
        answers: Callable[[str], bool],
        keeper_of: Callable[[str], str],
    ) -> None:
        """`channel`: to another node; raises UnavailableError. `home_of`: the node of an identity in a room;
        `holders_of`: the nodes of a room. Of rooms that are here. `answers`: a node is there, as far as is known;
        `keeper_of`: the one that keeps its sessions."""
        self.kept = Kept()
        """Sessions of others."""
        self._node = node
        self._channel = channel
        self._home_of = home_of
        self._holders_of = holders_of
        self._answers = answers
        self._keeper_of = keeper_of
        self._taking: dict[tuple[str, str], asyncio.Lock] = {}

    async def take(self, token: Token, join: signaling_pb2.Join) -> None:
        """Before a session is resumed: brings it here when another node has it, and puts into `join` what it is known
        by here. Without one nothing happens. Raises ControlError: LimitExceededError for who has no seat any more in a
        room that is full."""
        if not (join.resume_session_id or join.resume_participant_id):
            return
        if self._node.session_to_resume(token, join) is not None:
            return
        room = join.room or token.grants.room
        key = room, token.identity
        lock = self._taking.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                await self._take(room, token, join)
        finally:
            if not lock.locked():
                self._taking.pop(key, None)

    async def prepare(self, request: moving_pb2.PrepareMove) -> moving_pb2.Prepared:
        """The room is held here, and everybody named is known with what they publish, as far as that comes in time."""
        live = await self._held(request.room)
        wanted = set(request.participant_ids)
        everybody = wanted | set(request.others)
        deadline = asyncio.get_running_loop().time() + KNOWN_TIMEOUT
        while everybody - _known(live) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        # One of a third node may have left, or not be reached from here.
        missing = wanted - _known(live)
        if missing:
            raise UnavailableError(f"{len(missing)} participants are not known here yet")
        return moving_pb2.Prepared(format=FORMAT)

    def give(self, node: str, request: moving_pb2.TakeSession) -> moving_pb2.SessionState:
        """That node goes on with a session of this one, or of one that does not answer it. Raises NotFoundError.

        Also with one whose client has not arrived here: it tries another way. The one at which it arrives has it.
        """
        if request.home:
            state = self.kept.take(request)
            log.info("a session is given that was kept", node=node, home=request.home, room=request.room)
            return state
        live = self._node.room(request.room)
        session = live.room.participant(request.identity).session
        if session is None or session.ended or not session.is_it(request.session_id, request.participant_id):
            raise NotFoundError("no such session")
        session.goes_to = node
        log.info("a session is taken", node=node, room=live.name, participant=session.participant.id)
        resume_as = session.resume_as if ids.node_of_session(session.resume_as) == node else ids.session_id(node)
        session.resume_as = resume_as
        return session_state(session, resume_as, self._node.core.snapshot().layers)

    async def _take(self, room: str, token: Token, join: signaling_pb2.Join) -> None:
        if self._node.session_to_resume(token, join) is not None:
            return
        try:
            await self._held(room)
        except NotFoundError:
            return
        # The seat is written here before the other node, which is told only then, writes that they have left.
        async with self._node.seat_of(room, token.identity):
            await self._bring(room, token, join)

    async def _bring(self, room: str, token: Token, join: signaling_pb2.Join) -> None:
        request = moving_pb2.TakeSession(
            room=room,
            identity=token.identity,
            session_id=join.resume_session_id,
            participant_id=join.resume_participant_id,
            format=FORMAT,
        )
        silent = []
        for node in self._candidates(room, token.identity, join):
            try:
                state = await self._ask(node, request)
            except UnavailableError:
                silent.append(node)
                continue
            if state is not None:
                self._revive(state, node, room, join, rebuilt=state.rebuilt)
                return
        for home in silent:
            state = await self._ask_keeper(home, request)
            if state is not None:
                # It is another one from now on: the secret says where it is.
                state.session_id = ids.session_id(self._node.id)
                self._revive(state, home, room, join, rebuilt=True)
                return

    def _revive(
        self,
        state: moving_pb2.SessionState,
        home: str,
        room: str,
        join: signaling_pb2.Join,
        *,
        rebuilt: bool = False,
    ) -> None:
        """Raises ControlError for a state that cannot be gone on with."""
        arriving.check(state)
        # It may have ended meanwhile.
        live = self._node.room(room)
        other = live.room.participants.get(state.participant.identity)
        if other is not None and other.id != state.participant.id:
            log.info("who was to be taken over has joined anew", node=home, room=room, participant=other.id)
            return
        session = arriving.revive(state, live, self._node.fec, rebuilt=rebuilt)
        session.came_from, session.came_as = home, join.resume_session_id
        self._node.adopt(session)
        join.resume_session_id = session.id
        participant = session.participant.id
        log.info("a session is taken over", node=home, room=room, participant=participant, rebuilt=rebuilt)

    async def _ask_keeper(self, home: str, request: moving_pb2.TakeSession) -> moving_pb2.SessionState | None:
        """For a session of a node that does not answer."""
        keeper = self._keeper_of(home)
        asked = moving_pb2.TakeSession()
        asked.CopyFrom(request)
        asked.home = home
        with contextlib.suppress(NotFoundError, UnavailableError):
            return self.kept.take(asked) if keeper == self._node.id else await self._ask(keeper, asked)
        return None

    def _candidates(self, room: str, identity: str, join: signaling_pb2.Join) -> list[str]:
        likely = [self._home_of(room, identity), ids.node_of_session(join.resume_session_id)]
        found = dict.fromkeys([*likely, *self._holders_of(room)])
        return [node for node in found if node and node != self._node.id][:MAX_ASKED]

    async def _ask(self, node: str, request: moving_pb2.TakeSession) -> moving_pb2.SessionState | None:
        """None when it has no such session. Raises UnavailableError when it does not answer."""
        if not self._answers(node):
            raise UnavailableError(f"node {node!r} does not answer")
        try:
            stub: Any = moving_pb2_grpc.MovingServiceStub(self._channel(node))
            state: moving_pb2.SessionState = await stub.Take(request, timeout=TAKE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            log.warning("a session was not given", node=node, room=request.room, reason=error.details())
            raise UnavailableError(error.details() or "it does not answer") from error
        if (state.room.name, state.participant.identity) != (request.room, request.identity):
            log.error("a node gave another session than was asked for", node=node, room=request.room)
            return None
        return state

    async def _held(self, room: str) -> LiveRoom:
        if not self._node.is_live(room):
            await self._node.hold(new_room(room), may_create=False)
        return self._node.room(room)


def _known(live: LiveRoom) -> set[str]:
    """Ids of participants all of whose tracks can be received here."""
    return {one.id for one in live.room.participants.values() if all(track.announced for track in one.tracks.values())}
