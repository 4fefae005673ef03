"""A day of a large cluster in seconds: who is placed where, through the costs that nodes place by.

Rooms begin with the time of day of their region, last 45 minutes in the mean and have people of other regions in them.
Load is known late: a batch of placements sees no placement of the same batch. A node that has become full meanwhile
refuses, and whoever was refused is placed again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from control_plane.cluster.placement import FULL, NEAREST_REGIONS, PER_REGION, Candidates, Milliseconds, costs

# Longitude and latitude, degrees, and the share of all rooms.
REGIONS: Final = {
    "us-west": (-122, 38, 0.13),
    "us-east": (-77, 39, 0.19),
    "sao-paulo": (-47, -24, 0.08),
    "london": (0, 51, 0.12),
    "frankfurt": (9, 50, 0.16),
    "mumbai": (73, 19, 0.12),
    "singapore": (104, 1, 0.07),
    "tokyo": (140, 36, 0.07),
    "sydney": (151, -34, 0.04),
    "johannesburg": (28, -26, 0.02),
}
STEP: Final = 5 / 60
"""Hours."""
BATCH: Final = 4_096
HOME: Final = 0.9
"""Share of a room's people who are in its region."""
BUSY: Final = 0.4
"""Mean used share from which on a region's balance counts: of nodes that are nearly empty any one room unbalances."""

Cost = Callable[[Candidates], Milliseconds]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`capacity`: participants of a node. `fails`: region, from hour, to hour."""

    nodes: int = 10_000
    rooms: int = 1_000_000
    capacity: int = 60
    fails: tuple[str, float, float] | None = ("frankfurt", 14.0, 15.0)
    seed: int = 1


@dataclass(slots=True)
class Result:
    """Time series by step, and totals."""

    hours: list[float] = field(default_factory=list)
    used: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Mean used share of each region's open nodes; not a number where none is open."""
    busiest: list[float] = field(default_factory=list)
    imbalance: list[float] = field(default_factory=list)
    """The 99th percentile of the used share over its mean, of the worst busy region; not a number where none is."""
    away: list[float] = field(default_factory=list)
    """Share of those placed in the step that are not in their own region."""
    moves: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Placements of the step that met a node which had become full."""
    fled: dict[str, int] = field(default_factory=dict)
    """Where those went who were on nodes that failed: people by region."""
    participants: int = 0
    placed_away: int = 0
    placed_away_though_open: int = 0
    split_rooms: int = 0
    region_groups: int = 0
    moved: int = 0
    failed: int = 0
    """Participants who were on nodes that failed."""
    refused: int = 0
    asked_again: int = 0
    placements: int = 0
    added_rtt: float = 0.0
    """Milliseconds to the node beyond that to the own region, mean over participants."""


def simulate(
    scenario: Scenario = Scenario(), *, cost: Cost = costs, tell: Callable[[float], None] = lambda _: None
) -> Result:
    """`tell` is told the hour as it passes."""
    return _Day(scenario, cost, tell).run()


def by_name(candidates: Candidates) -> Milliseconds:
    """What placement is compared with: the nearest region, there the node by the room's name, whatever its load."""
    cost = candidates.rtt + np.where(candidates.relayed, 1e6, 0.0) + candidates.spread
    return np.where(candidates.open & (candidates.used < FULL), cost, np.inf)


@dataclass(frozen=True, slots=True)
class Items:
    """People who come together to one node, in order of their coming.

    `anchor`: the item whose node holds their room already, or -1. `level`: what it waits for comes with lower ones.
    """

    room: npt.NDArray[np.int64]
    region: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    level: npt.NDArray[np.int64]
    anchor: npt.NDArray[np.int64]


class _Day:
    def __init__(self, scenario: Scenario, cost: Cost, tell: Callable[[float], None]) -> None:
        self._scenario = scenario
        self._cost = cost
        self._tell = tell
        self._random = np.random.default_rng(scenario.seed)
        self._names = list(REGIONS)
        self._rtt = _round_trips()
        weights = np.array([share for *_, share in REGIONS.values()])
        each = np.maximum(np.round(weights / weights.sum() * scenario.nodes), PER_REGION).astype(np.int64)
        self._first = np.concatenate(([0], np.cumsum(each)))
        self._in_region = each
        self._region_of = np.repeat(np.arange(len(each)), each)
        self._people = np.zeros(self._first[-1])
        self._open = np.ones(self._first[-1], dtype=np.bool_)
        self._items = _items(scenario, self._random, weights)
        self._node = np.full(len(self._items.room), -1)
        self._near = np.argsort(self._rtt, axis=1)
        self._result = Result()

    def run(self) -> Result:
        items, result = self._items, self._result
        steps = round(24 / STEP)
        leaving = np.argsort(items.end, kind="stable")
        leaves = np.searchsorted(items.end[leaving], np.arange(steps + 1))
        comes = np.searchsorted(items.begin, np.arange(steps + 1))
        for step in range(steps):
            self._tell(step * STEP)
            before = result.moved, result.refused, result.asked_again
            if step:
                gone = leaving[leaves[step - 1] : leaves[step]]
                self._leave(gone[self._node[gone] >= 0])
            self._fail(step)
            away = self._place(np.arange(comes[step], comes[step + 1]))
            self._note(step, away, before)
        result.participants = int(items.size.sum())
        groups = np.unique(items.room * len(self._names) + self._region_of[np.maximum(self._node, 0)])
        result.region_groups = len(groups)
        rooms = np.unique(items.room[self._node >= 0] * len(self._people) + self._node[self._node >= 0])
        result.split_rooms = int((np.bincount(rooms // len(self._people)) > 1).sum())
        result.added_rtt /= max(result.participants, 1)
        return result

    def _leave(self, items: npt.NDArray[np.int64]) -> None:
        np.subtract.at(self._people, self._node[items], self._items.size[items])

    def _fail(self, step: int) -> None:
        if self._scenario.fails is None:
            return
        name, begins, ends = self._scenario.fails
        region = self._names.index(name)
        nodes = slice(self._first[region], self._first[region + 1])
        if step == round(begins / STEP):
            self._open[nodes] = False
            self._look(without=region)
            here = np.flatnonzero((self._node >= 0) & (self._items.begin < step) & (self._items.end >= step))
            here = here[self._region_of[self._node[here]] == region]
            self._people[nodes] = 0
            self._result.failed += int(self._items.size[here].sum())
            self._node[here] = -1
            self._place(here)
            moved = here[self._node[here] >= 0]
            self._result.moved += int(self._items.size[moved].sum())
            people = np.bincount(
                self._region_of[self._node[moved]], weights=self._items.size[moved], minlength=len(self._names)
            )
            self._result.fled = {name: int(count) for name, count in zip(self._names, people, strict=True) if count}
        elif step == round(ends / STEP):
            self._open[nodes] = True
            self._look()

    def _look(self, without: int | None = None) -> None:
        """Regions by distance, the one that is away last."""
        rtt = self._rtt.copy()
        if without is not None:
            rtt[:, without] = np.inf
        self._near = np.argsort(rtt, axis=1)

    def _place(self, items: npt.NDArray[np.int64]) -> float:
        """Share of them that went to another region than their own."""
        away = 0
        for level in range(3):
            of_level = items[self._items.level[items] == level]
            for start in range(0, len(of_level), BATCH):
                waiting = of_level[start : start + BATCH]
                while len(waiting):
                    gone, again, nowhere = self._place_batch(waiting, NEAREST_REGIONS)
                    away += gone
                    # Where the nearest are full the next ones are looked at.
                    gone, farther, refused = self._place_batch(nowhere, len(self._names))
                    away += gone
                    self._result.refused += int(self._items.size[refused].sum())
                    waiting = np.concatenate((again, farther))
        total = int(self._items.size[items].sum())
        return away / total if total else 0.0

    def _place_batch(
        self, batch: npt.NDArray[np.int64], reach: int
    ) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Looks at `reach` regions. Who is left: items whose node has become full, and items for whom there was none.

        First of all the number of people who went to another region than their own.
        """
        items = self._items
        room, region, size = items.room[batch], items.region[batch], items.size[batch]
        anchor = np.where(items.anchor[batch] >= 0, self._node[items.anchor[batch]], -1)
        columns = []
        for near in range(reach):
            regions = self._near[region, near]
            columns += [
                self._first[regions] + _hash(room, regions, index) % self._in_region[regions]
                for index in range(PER_REGION)
            ]
        # Where no node holds the room yet the first of the others stands twice.
        columns.append(np.where(anchor >= 0, anchor, columns[0]))
        nodes = np.stack(columns, axis=1)
        regions = self._region_of[nodes]
        anchored = anchor[:, None] >= 0
        rtt = self._rtt[region[:, None], regions]
        cost = self._cost(
            Candidates(
                rtt=rtt,
                relayed=anchored & (nodes != anchor[:, None]),
                relay=self._rtt[regions, self._region_of[np.maximum(anchor, 0)][:, None]],
                used=self._people[nodes] / self._scenario.capacity,
                open=self._open[nodes],
                spread=_hash(room[:, None], nodes, 0) / 2**32,
            )
        )
        best = np.argmin(cost, axis=1)
        rows = np.arange(len(batch))
        possible = np.isfinite(cost[rows, best])
        chosen = nodes[rows, best]
        taken = possible & self._has_room(chosen, size, possible)
        self._node[batch[taken]] = chosen[taken]
        np.add.at(self._people, chosen[taken], size[taken])
        away = taken & (self._region_of[chosen] != region)
        result = self._result
        result.placements += int(possible.sum())
        result.asked_again += int((possible & ~taken).sum())
        result.placed_away += int(size[away].sum())
        result.placed_away_though_open += int(size[away & self._open[self._first[region]]].sum())
        result.added_rtt += float((size * (rtt[rows, best] - self._rtt[region, region]))[taken].sum())
        return int(size[away].sum()), batch[possible & ~taken], batch[~possible]

    def _has_room(
        self, chosen: npt.NDArray[np.int64], size: npt.NDArray[np.int64], possible: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """By arrival: whether the node of each has room after those before it; one always fits."""
        order = np.argsort(chosen, kind="stable")
        sizes = np.where(possible, size, 0)[order]
        total = np.cumsum(sizes)
        starts = np.searchsorted(chosen[order], chosen[order])
        before = total - sizes - (total[starts] - sizes[starts])
        fits = np.empty(len(chosen), dtype=np.bool_)
        fits[order] = self._people[chosen[order]] + before < FULL * self._scenario.capacity
        return fits

    def _note(self, step: int, away: float, before: tuple[int, int, int]) -> None:
        used = self._people / self._scenario.capacity
        by_region = [used[self._region_of == region] for region in range(len(self._names))]
        is_open = [self._open[self._first[region]] for region in range(len(self._names))]
        result = self._result
        result.hours.append(step * STEP)
        result.used.append(np.array([one.mean() if up else np.nan for one, up in zip(by_region, is_open, strict=True)]))
        result.busiest.append(float(used.max()))
        busy = [np.percentile(one, 99) / one.mean() for one in by_region if one.mean() >= BUSY]
        result.imbalance.append(max(busy, default=np.nan))
        result.away.append(away)
        result.moves.append(result.moved - before[0])
        result.refusals.append(result.refused - before[1])
        result.again.append(result.asked_again - before[2])


def _round_trips() -> npt.NDArray[np.float64]:
    """Milliseconds between regions: light in fibre along one and a half great circles, and 5 ms at the ends."""
    longitude, latitude = np.radians(np.array([place[:2] for place in REGIONS.values()])).T
    cosine = np.sin(latitude[:, None]) * np.sin(latitude) + np.cos(latitude[:, None]) * np.cos(latitude) * np.cos(
        longitude[:, None] - longitude
    )
    kilometres = 6_371 * np.arccos(np.clip(cosine, -1, 1))
    return np.asarray(5 + kilometres / 100 * 1.5)


def _items(scenario: Scenario, random: np.random.Generator, weights: npt.NDArray[np.float64]) -> Items:
    count = scenario.rooms
    region = random.choice(len(weights), count, p=weights / weights.sum())
    hours = np.linspace(0, 24, 1_441)
    # Offices: little at night, most at 11 and 15 o'clock.
    busy = (
        0.08
        + np.exp(-(((hours - 11) / 2) ** 2))
        + np.exp(-(((hours - 15) / 2) ** 2))
        + 0.3 * np.exp(-(((hours - 20) / 2) ** 2))
    )
    local = np.interp(random.random(count), np.cumsum(busy) / busy.sum(), hours)
    offset = np.array([place[0] / 15 for place in REGIONS.values()])
    begin = ((local - offset[region]) % 24 / STEP).astype(np.int64)
    end = begin + np.maximum(random.exponential(0.75, count) / STEP, 1).astype(np.int64)
    size = 1 + random.geometric(0.3, count)
    large = random.random(count) < 0.001
    size[large] = random.integers(50, 500, int(large.sum()))
    elsewhere = random.binomial(size - 1, 1 - HOME)
    # People of other regions, gathered by room and region.
    room_of = np.repeat(np.arange(count), elsewhere)
    regions = random.choice(len(weights), len(room_of), p=weights / weights.sum())
    keys, sizes = np.unique(room_of * len(weights) + regions, return_counts=True)
    groups = np.concatenate((np.arange(count) * len(weights) + region, keys))
    group_size = np.concatenate((size - elsewhere, sizes))
    level = np.concatenate((np.zeros(count, dtype=np.int64), np.ones(len(keys), dtype=np.int64)))
    # No more than a sixth of a node at once.
    piece = max(scenario.capacity // 6, 1)
    pieces = -(-group_size // piece)
    group = np.repeat(np.arange(len(groups)), pieces)
    number = np.arange(len(group)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    piece_size = np.where(number == pieces[group] - 1, group_size[group] - number * piece, piece)
    room = groups[group] // len(weights)
    of_level = level[group] + (number > 0)
    order = np.lexsort((of_level, begin[room]))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    first_of_group = place[np.cumsum(pieces) - pieces]
    anchor = np.where(number > 0, first_of_group[group], np.where(level[group] > 0, first_of_group[room], -1))
    return Items(
        room=room[order],
        region=(groups[group] % len(weights))[order],
        size=piece_size[order],
        begin=begin[room][order],
        end=end[room][order],
        level=of_level[order],
        anchor=anchor[order],
    )


def _hash(room: npt.NDArray[np.int64], other: npt.NDArray[np.int64], index: int) -> npt.NDArray[np.int64]:
    """32 bits of room, other and index, mixed (the finalizer of MurmurHash3)."""
    value = room.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + other.astype(np.uint64) * np.uint64(
        0xC2B2AE3D27D4EB4F
    )
    value = value + np.uint64(index + 1) * np.uint64(0x165667B19E3779F9)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: npt.NDArray[np.int64] = (value >> np.uint64(32)).astype(np.int64)
    return mixed
