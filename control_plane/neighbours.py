"""What a node's rooms tell the other nodes that hold them, and what they ask of whoever knows which nodes do."""

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from control_plane.speakers import Voice
from pysfu.v1 import models_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.encodings import Encoding
    from control_plane.live_room import LiveRoom
    from control_plane.rooms import Participant


class Neighbours(Protocol):
    """Of participants of this node alone. Every call returns at once."""

    def opened(self, live: "LiveRoom") -> None:
        """A room is held here from now on."""

    def closed(self, live: "LiveRoom", *, ended: bool) -> None:
        """It is not any more. `ended`: nowhere, by somebody's wish."""

    def changed(self, live: "LiveRoom", participant: "Participant") -> None:
        """Somebody is new, or anything about them."""

    def left(
        self, live: "LiveRoom", participant: "Participant", reason: "models_pb2.DisconnectReason.ValueType"
    ) -> None: ...
    def adopted(self, live: "LiveRoom", participant: "Participant") -> None:
        """Somebody who was on another node is here now, and will be told of once its client is."""

    def came_home(self, live: "LiveRoom", encoding: "Encoding") -> None:
        """What came from another node comes from its client now."""

    def handed_over(self, live: "LiveRoom", participant: "Participant") -> None:
        """Another node tells of somebody who was here."""

    def room_changed(self, live: "LiveRoom") -> None: ...
    def voices(self, live: "LiveRoom", voices: Mapping[str, Voice]) -> None:
        """Those that changed, by participant id."""

    def qualities(self, live: "LiveRoom", updates: Collection[signaling_pb2.ConnectionQualities.Update]) -> None: ...
    def data(
        self,
        live: "LiveRoom",
        message: models_pb2.DataMessage,
        to_ids: Collection[str],
        to_identities: Collection[str],
    ) -> None:
        """A message to participants named or, when none is, to everyone."""

    def link_alive(self, link: int, alive: bool) -> None:
        """The core hears something over a link, or nothing any more."""

    def mirror_ended(self, handle: int) -> None:
        """The core has no such mirror any more."""


class Alone(Neighbours):
    """Of a node that has none."""

    def opened(self, live: "LiveRoom") -> None: ...
    def closed(self, live: "LiveRoom", *, ended: bool) -> None: ...
    def changed(self, live: "LiveRoom", participant: "Participant") -> None: ...
    def left(
        self, live: "LiveRoom", participant: "Participant", reason: "models_pb2.DisconnectReason.ValueType"
    ) -> None: ...
    def adopted(self, live: "LiveRoom", participant: "Participant") -> None: ...
    def came_home(self, live: "LiveRoom", encoding: "Encoding") -> None: ...
    def handed_over(self, live: "LiveRoom", participant: "Participant") -> None: ...
    def room_changed(self, live: "LiveRoom") -> None: ...
    def voices(self, live: "LiveRoom", voices: Mapping[str, Voice]) -> None: ...
    def qualities(self, live: "LiveRoom", updates: Collection[signaling_pb2.ConnectionQualities.Update]) -> None: ...
    def data(
        self,
        live: "LiveRoom",
        message: models_pb2.DataMessage,
        to_ids: Collection[str],
        to_identities: Collection[str],
    ) -> None: ...
    def link_alive(self, link: int, alive: bool) -> None: ...
    def mirror_ended(self, handle: int) -> None: ...


class RoomHolder(Protocol):
    """Agrees with the other nodes on what rooms there are."""

    async def hold(self, room: models_pb2.Room, *, may_create: bool) -> models_pb2.Room:
        """This node holds the room of that name from now on. Returns the room as all nodes have it: with the id of the
        one that there is, else `room`. Raises NotFoundError when there is none and none may be made, UnavailableError
        when the others cannot be asked."""

    def release(self, room: models_pb2.Room, *, ended: bool) -> None:
        """It does not any more. `ended`: no other node shall either."""

    def seat(self, room: str, identity: str, limit: int) -> AbstractAsyncContextManager[bool]:
        """For a join within it. True: all nodes together have a seat for this identity. False: that cannot be found out
        now. Raises LimitExceededError when the room is full."""

    def seats_changed(self, room: str) -> None:
        """Who is on this node in a room with a limit has changed."""
