"""Who subscribes to what, and up to which layer. Decisions over plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pysfu.v1 import signaling_pb2

ALL_LAYERS: Final = 255
# What temporal layers of a 30 Hz source run at (three layers, each half of the next).
_TEMPORAL_FPS: Final = (7.5, 15.0)
# More pixels than any picture has; the core takes 16 bits.
_MAX_SIDE: Final = 65_535
_MAX_PRIORITY_STEPS: Final = 6


@dataclass(frozen=True, slots=True)
class AllowedSubscriber:
    """One entry of a publisher's permission: by identity or participant id."""

    identity: str = ""
    participant_id: str = ""
    all_tracks: bool = False
    track_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SubscriptionRules:
    """Who may subscribe to a publisher's tracks."""

    everyone: bool = True
    allowed: tuple[AllowedSubscriber, ...] = ()

    def allows(self, identity: str, participant_id: str, track_id: str) -> bool:
        if self.everyone:
            return True
        return any(
            (entry.identity == identity if entry.identity else entry.participant_id == participant_id)
            and (entry.all_tracks or track_id in entry.track_ids)
            for entry in self.allowed
        )


def allowed_subscribers(permission: signaling_pb2.SubscriptionPermission) -> tuple[AllowedSubscriber, ...]:
    """Whom a publisher names."""
    return tuple(
        AllowedSubscriber(item.identity, item.participant_id, item.all_tracks, frozenset(item.track_ids))
        for item in permission.allowed
    )


@dataclass(slots=True)
class Choices:
    """What one subscriber asked for."""

    automatic: bool = False
    only_identity: str = ""
    explicit: dict[str, bool] = field(default_factory=dict)
    """Track id → subscribe or not; wins over `automatic`."""

    def wants(self, track_id: str, publisher_identity: str) -> bool:
        return wants(self.automatic, self.only_identity, self.explicit, track_id, publisher_identity)


def wants(
    automatic: bool, only_identity: str, explicit: Mapping[str, bool], track_id: str, publisher_identity: str
) -> bool:
    """An explicit choice wins; else automatic, for one publisher alone where one is named."""
    choice = explicit.get(track_id)
    if choice is not None:
        return choice
    return automatic and only_identity in ("", publisher_identity)


@dataclass(frozen=True, slots=True)
class View:
    """How a subscriber shows a video: pixels, 0 is as large as there is; each step of `priority` doubles its worth."""

    width: int = 0
    height: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscriber wants of a track, as the core takes it."""

    paused: bool = False
    max_spatial: int = ALL_LAYERS
    max_temporal: int = ALL_LAYERS
    view: View = View()


def wanted_of(settings: signaling_pb2.UpdateTrackSettings) -> Wanted:
    """What a client asked for. The layer that covers a size is for the core to find: it knows what sizes are sent."""
    explicit = settings.HasField("max_spatial")
    sized = not explicit and settings.width > 0 and settings.height > 0
    view = View(
        min(settings.width, _MAX_SIDE) if sized else 0,
        min(settings.height, _MAX_SIDE) if sized else 0,
        priority_steps(settings.priority),
    )
    spatial = min(settings.max_spatial, ALL_LAYERS) if explicit else ALL_LAYERS
    return Wanted(settings.disabled, spatial, max_temporal(settings.fps), view)


def priority_steps(priority: int) -> int:
    """Doublings of the worth: 0 for 0 (not told) and 1, six for 64 and above."""
    return min(max(priority, 1).bit_length() - 1, _MAX_PRIORITY_STEPS)


def max_temporal(fps: int) -> int:
    """The lowest temporal layer that reaches `fps`; all for 0."""
    if fps <= 0:
        return ALL_LAYERS
    return next((index for index, rate in enumerate(_TEMPORAL_FPS) if fps <= rate), ALL_LAYERS)
