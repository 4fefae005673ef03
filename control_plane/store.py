"""Where live rooms are looked up by name."""

from collections.abc import Iterable
from typing import Protocol

from control_plane.rooms import Room


class RoomStore(Protocol):
    """Rooms by name, each name at most once."""

    def get(self, name: str) -> Room | None: ...
    def add(self, room: Room) -> Room:
        """Returns the one that is there already, else `room`, now stored."""

    def remove(self, room: Room) -> None:
        """Forgets it, unless another room has its name by now."""

    def all(self) -> Iterable[Room]: ...


class InProcessStore:
    """For a single node."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    def get(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def add(self, room: Room) -> Room:
        return self._rooms.setdefault(room.name, room)

    def remove(self, room: Room) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]

    def all(self) -> Iterable[Room]:
        return list(self._rooms.values())
