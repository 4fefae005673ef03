"""Tells another node what this node's clients need to go on there should this one die.

What changes is told when it has rested for a moment, within a budget of time: who joins or negotiates just then has
not been told of, and begins anew elsewhere, as does who cannot resume.
"""

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
import structlog

from control_plane.cluster.moving.leaving import session_state
from control_plane.errors import ControlError
from control_plane.measure import Rows
from control_plane.node import Node
from control_plane.session import Session
from pysfu.v1 import moving_pb2, moving_pb2_grpc

log = structlog.get_logger(__name__)

# Seconds between looks at what has changed: longer costs less, shorter loses fewer.
LOOK: Final = 0.25
# Of the time, at most so much goes into that. Higher tells more sessions per second.
BUSY_SHARE: Final = 0.1
# Seconds of one look, and octets of what it tells.
LONGEST: Final = 0.02
MAX_BATCH: Final = 1024 * 1024
# After the keeper did not answer.
RETRY: Final = 1.0
# The keeper hears something at least so often: it forgets whom it does not hear, and may have forgotten already, or
# started anew. Shorter finds that sooner.
REMIND: Final = 15.0
# Between looks for a better keeper.
CHOOSE: Final = 5.0
# A session is told when it has not changed for so long, or this long after it began to. Longer tells less often.
RESTS: Final = 0.5
LATEST: Final = 2.0
TIMEOUT: Final = 5.0

Revision = tuple[Hashable, ...]


@dataclass(slots=True)
class _Seen:
    """What is known to have been told of a session, and how it was at the last look."""

    participant_id: str
    revision: Revision
    changed_at: float
    """Since when it has been so."""
    began_at: float
    """Since when it has not been told."""
    told: Revision | None = None
    is_refused: bool = False
    """When it was told there was no room for it. It is told again when it has changed."""


class Keeping:
    """Of one node. `choose`: the keeper, by the present one's id; empty for none. `answers`: a node is there, as far
    as is known. `channel`: to a node, raises UnavailableError. `changed` is called when there is another keeper."""

    def __init__(
        self,
        node: Node,
        choose: Callable[[str], str],
        answers: Callable[[str], bool],
        channel: Callable[[str], grpc.aio.Channel],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keeper = ""
        """The node that has been told of sessions."""
        self._node = node
        self._choose = choose
        self._answers = answers
        self._channel = channel
        self._changed = changed
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        """By session id."""
        self._begins = True
        self._busy = 0.0
        self._choose_at = -math.inf
        self._remind_at = -math.inf

    @property
    def untold(self) -> int:
        """Sessions whose present state the keeper does not have."""
        return sum(seen.told != seen.revision or seen.is_refused for seen in self._seen.values())

    async def run(self) -> None:
        while True:
            self._busy = 0.0
            was_kept = await self.look()
            await asyncio.sleep(max(LOOK if was_kept else RETRY, self._busy / BUSY_SHARE))

    async def look(self) -> bool:
        """Tells what has changed, and from time to time that nothing has. False when the keeper did not take it."""
        self._choose_keeper()
        begun = time.perf_counter()
        request, told = self._gather()
        self._busy += time.perf_counter() - begun
        has_news = bool(told or request.ended or self._begins)
        if not self.keeper or not (has_news or self._clock() >= self._remind_at):
            return True
        try:
            stub: Any = moving_pb2_grpc.MovingServiceStub(self._channel(self.keeper))
            answer: moving_pb2.SessionsKept = await stub.Keep(request, timeout=TIMEOUT)
        except (ControlError, grpc.aio.AioRpcError) as error:
            reason = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            log.warning("sessions are not kept for now", node=self.keeper, reason=reason)
            # It may have taken some of it, or forgets this node soon. What it had before it has for a while.
            if has_news or self._clock() >= self._remind_at + REMIND:
                self._restart(self.keeper)
            return False
        if answer.unknown:
            log.warning("a node has forgotten the sessions that it kept", node=self.keeper)
            self._restart(self.keeper)
            return True
        self._begins, self._remind_at = False, self._clock() + REMIND
        if answer.refused:
            log.warning("a node has no room for sessions", node=self.keeper, sessions=len(answer.refused))
        refused = set(answer.refused)
        for key, revision in told.items():
            if (seen := self._seen.get(key)) is not None:
                seen.told, seen.is_refused = revision, seen.participant_id in refused
        return True

    def _choose_keeper(self) -> None:
        now = self._clock()
        if now < self._choose_at and self._answers(self.keeper):
            return
        self._choose_at = now + CHOOSE
        chosen = self._choose(self.keeper)
        if chosen != self.keeper:
            log.info("sessions are kept by another node", node=chosen, before=self.keeper)
            self._restart(chosen)
            self._changed()

    def _restart(self, keeper: str) -> None:
        self.keeper, self._begins = keeper, True
        for seen in self._seen.values():
            seen.told = None

    def _note(self, known_layers: Mapping[int, int]) -> list[str]:
        """Looks at every session. Participant ids of those of which there is nothing to keep any more."""
        now, here = self._clock(), set()
        for session in self._node.sessions():
            if session.ended or session.arriving or session.goes_to or not session.is_movable:
                continue
            here.add(session.id)
            revision = (*session.revision, _layers_of(session, known_layers))
            seen = self._seen.get(session.id)
            if seen is None:
                self._seen[session.id] = _Seen(session.participant.id, revision, now, now)
            elif seen.revision != revision:
                if seen.told == seen.revision:
                    seen.began_at = now
                seen.revision, seen.changed_at = revision, now
        gone = [key for key in self._seen if key not in here]
        return [self._seen.pop(key).participant_id for key in gone]

    def _gather(self) -> tuple[moving_pb2.KeepSessions, dict[str, Revision]]:
        """What is to be told now, and which state of each session that is."""
        layers = self._node.core.snapshot().layers
        request = moving_pb2.KeepSessions(begins=self._begins, ended=self._note(_known_layers(layers)))
        told: dict[str, Revision] = {}
        size, until = 0, time.perf_counter() + LONGEST
        for key, session in self._due():
            state = session_state(session, session.id, layers)
            request.sessions.append(state)
            told[key] = self._seen[key].revision
            size += state.ByteSize()
            if size >= MAX_BATCH or time.perf_counter() > until:
                break
        return request, told

    def _due(self) -> Iterator[tuple[str, Session]]:
        """Those that are to be told, who has waited longest first."""
        now = self._clock()
        due = [
            (seen.began_at, key)
            for key, seen in self._seen.items()
            if seen.told != seen.revision and (now - seen.changed_at >= RESTS or now - seen.began_at >= LATEST)
        ]
        sessions = {session.id: session for session in self._node.sessions()} if due and self.keeper else {}
        return ((key, sessions[key]) for _, key in sorted(due) if key in sessions)


def _known_layers(layers: Rows) -> dict[int, int]:
    """Simulcast layers whose SSRC has been told by their packets, by the core's name of the track."""
    tracks, counts = np.unique(layers["track"][layers["ssrc"] != 0], return_counts=True)
    return dict(zip(tracks.tolist(), counts.tolist(), strict=True))


def _layers_of(session: Session, known: Mapping[int, int]) -> int:
    return sum(known.get(handle, 0) for track in session.participant.tracks.values() for handle in track.handles())
