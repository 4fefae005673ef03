"""What other nodes' clients need to go on should their node die: kept in memory, given to the node that takes them."""

import asyncio
from dataclasses import dataclass
from typing import Final

from control_plane.claim import is_claimed
from control_plane.errors import NotFoundError
from pysfu.v1 import moving_pb2

# Of all nodes together, and of one session. More keeps more participants of larger rooms.
MAX_BYTES: Final = 512 * 1024 * 1024
MAX_SESSION: Final = 1024 * 1024
# Seconds after a node is gone. Its clients come within some, or never.
LINGER: Final = 60.0
# Seconds after the last word of a node of which nobody says that it is gone: it may have another keeper by now, or have
# died before it was known here. Longer rides out longer breaks of the path from it.
SILENCE: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Session:
    room: str
    identity: str
    session_id: str
    content: bytes


class Kept:
    """Sessions by the node that has them."""

    def __init__(self) -> None:
        self.bytes = 0
        self._of: dict[str, dict[str, _Session]] = {}
        """By node and participant id."""
        self._by_person: dict[tuple[str, str], tuple[str, str]] = {}
        """Node and participant id by room and identity: of the one that was told of last."""
        self._expiry: dict[str, asyncio.TimerHandle] = {}
        """Of every node that is not forgotten, also of those without sessions."""

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def home_of(self, room: str, identity: str) -> str | None:
        """The node of a session that is kept here."""
        found = self._by_person.get((room, identity))
        return found[0] if found is not None else None

    def keep(self, home: str, request: moving_pb2.KeepSessions) -> moving_pb2.SessionsKept:
        """What node `home` says of its sessions. Names those for which there is no room."""
        unknown = home not in self._expiry and not request.begins
        self._expire_in(SILENCE, home)
        if request.begins:
            self._forget(home)
        for participant_id in request.ended:
            self._remove(home, participant_id)
        refused = [state.participant.id for state in request.sessions if not self._put(home, state)]
        return moving_pb2.SessionsKept(refused=refused, unknown=unknown)

    def take(self, request: moving_pb2.TakeSession) -> moving_pb2.SessionState:
        """Gives a session of `request.home` away, once. Raises NotFoundError."""
        home, participant_id = self._by_person.get((request.room, request.identity), ("", ""))
        found = self._of[home][participant_id] if home and home == request.home else None
        if found is None or not is_claimed(
            request.session_id, request.participant_id, participant_id, [found.session_id]
        ):
            raise NotFoundError("no such session")
        self._remove(request.home, participant_id)
        return moving_pb2.SessionState.FromString(found.content)

    def gone(self, home: str) -> None:
        """The node is not there any more: whom nobody takes soon is forgotten, unless it is heard again."""
        if home in self._expiry:
            self._expire_in(LINGER, home)

    def _put(self, home: str, state: moving_pb2.SessionState) -> bool:
        content, participant = state.SerializeToString(), state.participant
        self._remove(home, participant.id)
        if not participant.id or len(content) > MAX_SESSION or self.bytes + len(content) > MAX_BYTES:
            return False
        person = state.room.name, participant.identity
        # One identity has one session.
        self._remove(*self._by_person.get(person, ("", "")))
        self._of.setdefault(home, {})[participant.id] = _Session(*person, state.session_id, content)
        self._by_person[person] = home, participant.id
        self.bytes += len(content)
        return True

    def _remove(self, home: str, participant_id: str) -> None:
        of_home = self._of.get(home, {})
        found = of_home.pop(participant_id, None)
        if found is None:
            return
        self.bytes -= len(found.content)
        self._by_person.pop((found.room, found.identity), None)
        if not of_home:
            del self._of[home]

    def _expire_in(self, seconds: float, home: str) -> None:
        before = self._expiry.get(home)
        if before is not None:
            before.cancel()
        self._expiry[home] = asyncio.get_running_loop().call_later(seconds, self._expire, home)

    def _expire(self, home: str) -> None:
        del self._expiry[home]
        self._forget(home)

    def _forget(self, home: str) -> None:
        for participant_id in list(self._of.get(home, ())):
            self._remove(home, participant_id)
