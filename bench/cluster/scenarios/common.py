"""What scenarios share: a world of regions, who meets in it, and how gaps are told."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from bench.cluster.lab.clients import Clients, Meeting, Report, Told
from bench.cluster.lab.mesh import Route
from bench.cluster.lab.nodes import Node
from bench.cluster.lab.world import Lab, Plan

REGIONS = {"a": "eu", "b": "us", "c": "ap", "d": "sa", "e": "af"}
"""Node name to region."""
RTT_MS = {
    ("eu", "us"): 140,
    ("us", "ap"): 180,
    ("eu", "ap"): 250,
    ("us", "sa"): 150,
    ("eu", "sa"): 200,
    ("ap", "sa"): 250,
    ("eu", "af"): 140,
    ("us", "af"): 220,
    ("ap", "af"): 230,
    ("sa", "af"): 250,
}
"""So far that who is near a node is placed there, though the room is elsewhere already (`placement.costs`)."""
LOSS = {
    ("eu", "us"): 0.01,
    ("us", "ap"): 0.02,
    ("eu", "ap"): 0.03,
    ("us", "sa"): 0.02,
    ("eu", "sa"): 0.02,
    ("ap", "sa"): 0.05,
    ("eu", "af"): 0.01,
    ("us", "af"): 0.02,
    ("ap", "af"): 0.03,
    ("sa", "af"): 0.05,
}
"""Share of packets lost each way."""

Tell = Callable[[str], None]


def plan(
    nodes: int = 3,
    *,
    loss: bool = True,
    delay: bool = True,
    clients: bool = True,
    settings: Mapping[str, str] | None = None,
    environments: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 1,
) -> Plan:
    """A node in each region, with its clients. The bus is in the first region."""
    regions = dict(list(REGIONS.items())[:nodes])
    paths = {
        frozenset(pair): Route(delay_ms=RTT_MS[pair] / 2 if delay else 0.0, loss=LOSS[pair] if loss else 0.0)
        for pair in RTT_MS
        if set(pair) <= set(regions.values())
    }
    return Plan(
        regions=regions,
        paths=paths,
        clients=list(regions.values()) if clients else [],
        settings=settings or {},
        environments=environments or {},
        seed=seed,
    )


def gateways(lab: Lab, first: str) -> list[Node]:
    """Of all nodes, that of `first` first."""
    return [lab.nodes[first], *(node for name, node in lab.nodes.items() if name != first)]


class Gathering:
    """A room that spans nodes, or many: so many members at each. An async context manager; inside everyone is in."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        per_node: int | Mapping[str, int],
        rooms: int = 1,
        speakers: int | None = None,
        cameras: int = 0,
        rate: float = 50.0,
    ) -> None:
        """Members are numbered from node to node; the first `speakers` (default: all) and `cameras` of them publish.

        `per_node`: how many at each node, or by its name.
        """
        counts = {node: per_node if isinstance(per_node, int) else per_node.get(node, 0) for node in lab.nodes}
        self.size = sum(counts.values())
        speakers = self.size if speakers is None else speakers
        self.clients: dict[str, Clients] = {}
        self._stack = AsyncExitStack()
        begin = 0
        for node, count in counts.items():
            if not count:
                continue
            meeting = Meeting(
                name, range(rooms), range(begin, begin + count), speakers=speakers, cameras=cameras, rate=rate
            )
            self.clients[node] = Clients(lab, lab.nodes[node].region, meeting, gateways(lab, node))
            begin += count
        self.speakers, self.cameras = speakers, cameras

    async def __aenter__(self) -> "Gathering":
        try:
            for clients in self.clients.values():
                await self._stack.enter_async_context(clients)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    async def reports(self) -> dict[str, Report]:
        """Of everyone's time since the last one, by node."""
        return {node: await clients.report() for node, clients in self.clients.items()}

    async def looks(self) -> dict[str, Report]:
        """The same, but the time of the next reports goes on."""
        return {node: await clients.look() for node, clients in self.clients.items()}

    def is_whole(self, reports: Mapping[str, Report]) -> bool:
        """Everyone is in, and sees, hears and watches everyone else who is to be."""
        return not self.missing(reports)

    def missing(self, reports: Mapping[str, Report]) -> list[str]:
        """What lacks, one line for each participant that lacks something."""
        found = []
        for one in people(reports.values()):
            member = int(one.name.rpartition("-")[2])
            audio = self.speakers - (member < self.speakers)
            video = self.cameras - (member < self.cameras)
            has = (one.present, len(one.others), one.audio.streams, one.video.streams)
            if has != (True, self.size - 1, audio, video):
                found.append(
                    f"{one.name}: present {one.present}, {len(one.others)} of {self.size - 1} others, "
                    f"{one.audio.streams} of {audio} voices, {one.video.streams} of {video} cameras {one.error}"
                )
        return found


def people(reports: Iterable[Report]) -> list[Told]:
    """All participants of them."""
    return [one for report in reports for one in report.participants]


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95, p99 and the largest, by nearest rank; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1)

    return {"p50": rank(0.5), "p95": rank(0.95), "p99": rank(0.99), "max": round(ordered[-1], 1)}
