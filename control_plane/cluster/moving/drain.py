"""A node that is emptied: everybody is told to go on at another node, and followed until they do.

Each goes where they would be sent if they came now, a few at a time, so that the others are not flooded. Who does not
arrive in time is told to join anew; nobody is cut off without a word.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from control_plane import ids
from control_plane.cluster.allocation import Wanted
from control_plane.cluster.registry import NodeInfo
from control_plane.errors import ControlError, UnavailableError
from control_plane.node import Node
from control_plane.session import Session
from pysfu.v1 import models_pb2, moving_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

log = structlog.get_logger(__name__)

# Participants per second: more empties the node sooner, fewer spares those that take them.
PACE: Final = 50.0
# Seconds for one to arrive elsewhere. LiveKit's clients wait half a second at most before they begin.
ARRIVAL: Final = 10.0
# For the client of one that has been handed over to leave its transports: what ends before would be noticed.
LEAVING: Final = 2.0
PREPARE_TIMEOUT: Final = 5.0
RETRY: Final = 1.0
LOOK: Final = 0.05


class NobodyTakesError(Exception):
    """No other node takes a participant now."""


@dataclass(slots=True)
class Progress:
    """Of one drain. `failed`: told to join anew. `left`: by themselves."""

    total: int = 0
    moved: int = 0
    failed: int = 0
    left: int = 0

    def shares(self) -> dict[str, float]:
        """As a node tells it."""
        return {"total": self.total, "moved": self.moved, "failed": self.failed, "left": self.left}


class Drain:
    """Run it once."""

    def __init__(
        self,
        node: Node,
        assign: Callable[[Wanted], Awaitable[list[str]]],
        prepare: Callable[[str, moving_pb2.PrepareMove], Awaitable[None]],
        info_of: Callable[[str], NodeInfo | None],
        *,
        pace: float = PACE,
        arrival: float = ARRIVAL,
    ) -> None:
        """`assign`: ids of nodes, best first. `prepare`: raises UnavailableError for a node that is not ready."""
        self.progress = Progress()
        self._node = node
        self._assign = assign
        self._prepare = prepare
        self._info_of = info_of
        self._pace = pace
        self._arrival = arrival
        self._prepared: dict[tuple[str, str], asyncio.Future[bool]] = {}

    async def run(self, patience: float) -> Progress:
        """Returns when nobody is here any more, after `patience` seconds at the latest."""
        deadline = asyncio.get_running_loop().time() + patience
        sessions = sorted(self._node.sessions(), key=lambda session: session.room.name)
        self.progress.total = len(sessions)
        log.info("the node is emptied", participants=len(sessions))
        moves = []
        for session in sessions:
            moves.append(asyncio.create_task(self._move(session, deadline)))
            await asyncio.sleep(1 / self._pace)
        for result in await asyncio.gather(*moves, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("a participant was not moved", exc_info=result)
        found = self.progress
        log.info("the node is empty", moved=found.moved, failed=found.failed, left=found.left)
        return found

    async def _move(self, session: Session, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while session.is_movable and not session.ended and loop.time() < deadline:
            try:
                node = await self._place_for(session)
            except NobodyTakesError as error:
                log.warning("nobody takes a participant", participant=session.participant.id, reason=str(error))
                await asyncio.sleep(min(RETRY, max(0.0, deadline - loop.time())))
                continue
            self._tell(session, node)
            await _until(lambda: session.ended, min(deadline, loop.time() + self._arrival))
            break
        if not session.is_movable:
            # Who cannot be told stays until the end.
            await _until(lambda: session.ended, deadline)
        if not session.ended:
            self.progress.failed += 1
            session.leave(models_pb2.DISCONNECT_REASON_SERVER_SHUTDOWN, "the node is emptied", can_rejoin=True)
        elif session.is_handed_over:
            self.progress.moved += 1
            await _until(lambda: not session.has_transports, loop.time() + LEAVING)
        else:
            self.progress.left += 1

    async def _place_for(self, session: Session) -> str:
        """A node that knows the room, and has a place. Raises NobodyTakesError."""
        room, refused = session.room.name, {self._node.id}
        while True:
            try:
                nodes = await self._assign(Wanted(room, session.participant.identity, exclude=frozenset(refused)))
            except ControlError as error:
                raise NobodyTakesError(str(error)) from error
            if await self._is_prepared(room, nodes[0]):
                return nodes[0]
            refused.add(nodes[0])

    async def _is_prepared(self, room: str, node: str) -> bool:
        known = self._prepared.get((room, node))
        if known is None:
            known = self._prepared[room, node] = asyncio.ensure_future(self._ask(room, node))
        is_ready = await asyncio.shield(known)
        if not is_ready:
            self._prepared.pop((room, node), None)
        return is_ready

    async def _ask(self, room: str, node: str) -> bool:
        if not self._node.is_live(room):
            return False
        participants = self._node.room(room).room.participants.values()
        here = [one.id for one in participants if one.session is not None]
        others = [one.id for one in participants if one.session is None]
        try:
            await self._prepare(node, moving_pb2.PrepareMove(room=room, participant_ids=here, others=others))
        except UnavailableError as error:
            log.warning("a node is not ready for a room", node=node, room=room, reason=str(error))
            return False
        return True

    def _tell(self, session: Session, node: str) -> None:
        info = self._info_of(node)
        session.resume_as = ids.session_id(node)
        move = signaling_pb2.MoveTo(node_id=node, session_id=session.resume_as)
        if info is not None:
            move.grpc_address, move.url = info.grpc, info.url
        session.emit(SessionResponse(move_to=move))


async def _until(met: Callable[[], bool], deadline: float) -> None:
    loop = asyncio.get_running_loop()
    while not met() and loop.time() < deadline:  # noqa: ASYNC110 - a session tells nobody of its end
        await asyncio.sleep(LOOK)
