"""What a node's rooms tell the other nodes that hold them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from control_plane.speakers import Voice
from pysfu.v1 import models_pb2, signaling_pb2

if TYPE_CHECKING:
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
