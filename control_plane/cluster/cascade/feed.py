"""What one other node is to be told of this node's participants in one room: a snapshot, then changes.

What changes while the other end does not keep up is told once, as it is then: nothing grows with the time it takes.
"""

from collections.abc import Callable, Iterable
from typing import Final

from control_plane import splice
from control_plane.rooms import Participant
from pysfu.v1 import cascade_pb2, models_pb2

# Octets of participants in one message, or a single one. More holds up what is urgent, less costs more messages.
MAX_PIECE: Final = 64 * 1024

_PARTICIPANTS: Final = cascade_pb2.RemoteRoom.PARTICIPANTS_FIELD_NUMBER
_ROOM: Final = cascade_pb2.CascadeMessage.ROOM_FIELD_NUMBER


class Feed:
    """`encode`: a serialised `RemoteParticipant`."""

    def __init__(self, room: str, participants: Iterable[Participant], encode: Callable[[Participant], bytes]) -> None:
        self._room = room
        self._encode = encode
        self._due = {participant.id: participant for participant in participants}
        self._gone: dict[str, models_pb2.DisconnectReason.ValueType] = {}
        self._told: set[str] = set()
        self._begins = True
        self._snapshot: set[str] | None = set(self._due)
        """Who is still missing from it; None once it is complete."""

    def changed(self, participant: Participant) -> None:
        self._due[participant.id] = participant

    def left(self, participant: Participant, reason: "models_pb2.DisconnectReason.ValueType") -> None:
        self._due.pop(participant.id, None)
        if self._snapshot is not None:
            self._snapshot.discard(participant.id)
        if participant.id in self._told:
            self._told.discard(participant.id)
            self._gone[participant.id] = reason

    @property
    def is_due(self) -> bool:
        return bool(self._due or self._gone or self._snapshot is not None)

    def next_message(self) -> bytes:
        """A serialised `CascadeMessage` with the next piece."""
        message = cascade_pb2.RemoteRoom(room=self._room, begins=self._begins)
        for participant_id, reason in self._gone.items():
            message.gone.add(participant_id=participant_id, reason=reason)
        self._gone.clear()
        self._begins = False
        told: list[bytes] = []
        size = 0
        while self._due and size < MAX_PIECE:
            participant_id = next(iter(self._due))
            encoded = self._encode(self._due.pop(participant_id))
            told.append(encoded)
            size += len(encoded)
            self._told.add(participant_id)
            if self._snapshot is not None:
                self._snapshot.discard(participant_id)
        if self._snapshot is not None and not self._snapshot:
            message.completes, self._snapshot = True, None
        return splice.field(_ROOM, message.SerializeToString() + splice.repeated(_PARTICIPANTS, told))
