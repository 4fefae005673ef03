"""Who subscribes to what, and up to which layer. Decisions over plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ALL_LAYERS: Final = 255
# What temporal layers of a 30 Hz source run at (three layers, each half of the next).
_TEMPORAL_FPS: Final = (7.5, 15.0)
# Displays ask for odd sizes by rounding; a layer that is this little smaller still covers them.
_COVER: Final = 0.95


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
class Wanted:
    """What a subscriber wants of a track, as the core takes it."""

    paused: bool = False
    max_spatial: int = ALL_LAYERS
    max_temporal: int = ALL_LAYERS


def max_spatial(layers: Sequence[tuple[int, int]], width: int, height: int) -> int:
    """The lowest layer that covers what is shown, in pixels; the highest when none does or sizes are unknown.

    `layers`: (width, height), lowest first. A shown size of 0 means as large as there is. Portrait covers landscape.
    """
    if width <= 0 or height <= 0 or not all(w > 0 and h > 0 for w, h in layers):
        return ALL_LAYERS
    long, short = max(width, height) * _COVER, min(width, height) * _COVER
    for index, layer in enumerate(layers):
        if max(layer) >= long and min(layer) >= short:
            return index
    return ALL_LAYERS


def max_temporal(fps: int) -> int:
    """The lowest temporal layer that reaches `fps`; all for 0."""
    if fps <= 0:
        return ALL_LAYERS
    return next((index for index, rate in enumerate(_TEMPORAL_FPS) if fps <= rate), ALL_LAYERS)
