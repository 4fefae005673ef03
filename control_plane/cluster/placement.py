"""Which node a participant goes to: a pure function of what is known of nodes, rooms and paths.

Costs are in milliseconds of round trip, so that every other wish is weighed against delay: what somebody would wait
longer for. All functions work element by element, so that one placement and a million are the same code.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Milliseconds = npt.NDArray[np.float64]

# A node that does not hold the room yet gets all that is subscribed to over a link. Higher gathers a room on fewer
# nodes, lower brings each participant nearer to its node.
NEW_NODE: Final = 30.0
# What a millisecond between nodes counts. Less than one: links are wide and repaired, last miles are not, so that far
# participants are better off at a near node. Lower builds more links, higher longer last miles.
RELAY: Final = 0.6
# What the whole of a node's capacity costs: of nodes equally near the emptiest is taken.
BALANCE: Final = 15.0
# From this share of a node's capacity on, load costs more. Lower spreads earlier and splits more rooms.
COMFORT: Final = 0.5
# Beyond this share nobody is sent there: what is left is for those who are there already.
FULL: Final = 0.9
# The cost of a node that is nearly full: who is farther away than this fills it up first.
LOAD: Final = 150.0
# Among nodes alike rooms are spread by their names.
SPREAD: Final = 2.0
# Nodes that are looked at in each of the nearest regions. More balances better and costs more.
PER_REGION: Final = 8
NEAREST_REGIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Candidates:
    """Arrays of one shape, an element for each node.

    `rtt`: from the participant. `relayed`: the room is elsewhere and not here, so that a link would bring it.
    `relay`: round trip to the nearest node that holds the room. `used`: the largest used share of what the node has,
    reservations included. `open`: it takes participants: alive, not draining, of a version that fits.
    `spread`: from 0 to 1, by room and node (see the function).
    """

    rtt: Milliseconds
    relayed: npt.NDArray[np.bool_]
    relay: Milliseconds
    used: npt.NDArray[np.float64]
    open: npt.NDArray[np.bool_]
    spread: npt.NDArray[np.float64]


def costs(candidates: Candidates) -> Milliseconds:
    """Milliseconds that each node is worth avoiding; infinite where it cannot be."""
    excess = np.clip((candidates.used - COMFORT) / (FULL - COMFORT), 0.0, 1.0)
    cost = candidates.rtt + np.where(candidates.relayed, RELAY * candidates.relay + NEW_NODE, 0.0)
    cost = cost + BALANCE * candidates.used + LOAD * excess**2 + SPREAD * candidates.spread
    return np.where(candidates.open & (candidates.used < FULL), cost, np.inf)


def spread(room: str, node: str) -> float:
    """From 0 to 1, the same for ever for a room and a node (rendezvous hashing)."""
    digest = hashlib.blake2b(f"{room}\0{node}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class NodeView:
    """What is known of a node. `load`: used shares of capacity by name (cpu, packets, egress, participants)."""

    id: str
    region: str
    load: Mapping[str, float]
    open: bool = True
    reserved: float = 0.0
    """Share that was promised since the load was measured."""

    @property
    def used(self) -> float:
        return max(self.load.values(), default=0.0) + self.reserved


@dataclass(frozen=True, slots=True)
class Paths:
    """Round trips in milliseconds. What has not been measured is told by `unknown`."""

    regions: Mapping[tuple[str, str], float]
    """Between regions, either way."""
    measured: Mapping[str, float]
    """From this participant to nodes, by node id."""
    unknown: float = 150.0
    within: float = 10.0

    def between(self, one: str, other: str) -> float:
        if one == other:
            return self.within
        return self.regions.get((one, other), self.regions.get((other, one), self.unknown))


def place(room: str, region: str, nodes: Sequence[NodeView], holders: Sequence[str], paths: Paths) -> list[str]:
    """Ids of nodes that can take a participant of `region`, best first; empty when none can.

    `holders`: ids of the nodes that hold the room already. Of large regions a few nodes are looked at, chosen by the
    room's name, so that everyone who places looks at the same.
    """
    looked_at = _looked_at(room, region, nodes, frozenset(holders), paths)
    if not looked_at:
        return []
    there = [holder for holder in looked_at if holder.id in holders]
    cost = costs(
        Candidates(
            rtt=np.array([paths.measured.get(node.id, paths.between(region, node.region)) for node in looked_at]),
            relayed=np.array([bool(there) and node.id not in holders for node in looked_at]),
            relay=np.array(
                [
                    min((paths.between(node.region, holder.region) for holder in there), default=0.0)
                    for node in looked_at
                ]
            ),
            used=np.array([node.used for node in looked_at]),
            open=np.array([node.open for node in looked_at]),
            spread=np.array([spread(room, node.id) for node in looked_at]),
        )
    )
    order = np.argsort(cost, kind="stable")
    return [looked_at[index].id for index in order if np.isfinite(cost[index])]


def _looked_at(
    room: str, region: str, nodes: Sequence[NodeView], holders: frozenset[str], paths: Paths
) -> list[NodeView]:
    by_region: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.open and node.id not in holders:
            by_region.setdefault(node.region, []).append(node)
    nearest = sorted(by_region, key=lambda other: (paths.between(region, other), other))
    # Where the nearest are full the next ones are looked at, so that nobody is refused who could be taken.
    found = [node for node in nodes if node.id in holders]
    regions = 0
    for name in nearest:
        there = sorted(by_region[name], key=lambda node: spread(room, node.id))[:PER_REGION]
        found += there
        regions += any(node.used < FULL for node in there)
        if regions >= NEAREST_REGIONS:
            break
    return found
