"""Which receiving section of a client's offer carries which track (single layout)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assignment:
    bound: Mapping[str, str]
    """MID → track id."""
    missing: Mapping[str, int]
    """Kind → how many sections more are needed."""


def assign(
    sections: Sequence[tuple[str, str]],
    bound: Mapping[str, str],
    wanted: Sequence[tuple[str, str]],
) -> Assignment:
    """Keeps what is bound, gives free sections to the rest in their order.

    `sections`: (MID, kind) of those that can receive. `bound`: MID → track id from before. `wanted`: (track id, kind),
    oldest first. A section whose track is no longer wanted stays free in this round: it must be answered inactive
    once before it carries another track, or the client would see no new one (W3C WebRTC section 4.4.1.5, "process the
    addition of a remote track").
    """
    kinds = dict(sections)
    wanted_kinds = dict(wanted)
    result = {mid: track for mid, track in bound.items() if mid in kinds and wanted_kinds.get(track) == kinds[mid]}
    freed = set(bound) - set(result)
    free = [(mid, kind) for mid, kind in sections if mid not in result and mid not in freed]
    placed = set(result.values())
    missing: Counter[str] = Counter()
    by_kind = {kind: iter([mid for mid, other in free if other == kind]) for kind in ("audio", "video")}
    for track, kind in wanted:
        if track in placed:
            continue
        mid = next(by_kind[kind], None)
        if mid is None:
            missing[kind] += 1
        else:
            result[mid] = track
    return Assignment(result, dict(missing))
