"""Participants that stay whatever happens: `pysfu-load meet`, and what they heard."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from bench.cluster.lab.answering import Answering
from bench.cluster.lab.nodes import KEY, SECRET, Node
from bench.cluster.lab.processes import LabError
from bench.cluster.lab.world import Lab, clients_of

GATHER_SECONDS = 60.0
ANSWER_SECONDS = 20.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Meeting:
    """Who meets. Rooms are called `name-NUMBER`; members are numbered, too, and may come from several places.

    The first `speakers` members of a room publish audio, the first `cameras` publish video (50 and 25 frames a second);
    everyone receives all of it, but for those who `publish_only`.
    """

    name: str
    rooms: range = range(1)
    members: range = range(2)
    speakers: int = 2
    cameras: int = 0
    publish_only: bool = False
    rate: float = 50.0
    """Joins per second."""

    @property
    def size(self) -> int:
        return len(self.rooms) * len(self.members)


@dataclass
class Heard:
    """Of one kind of media since the last report.

    `gap_ms`: the longest time without any packet; `stream_gap_ms`: of one of the streams that are there; `silent_ms`:
    since the last packet; `streams`: that had a packet within a second.
    """

    packets: int
    streams: int
    gap_ms: float
    gap_at_ms: float
    silent_ms: float
    stream_gap_ms: float


@dataclass
class Told:
    """One participant, as `pysfu-load meet` tells. Counts of `rejoins`, `resumes` and `failures` are since it came."""

    name: str
    room: str
    present: bool
    rejoins: int
    resumes: int
    failures: int
    error: str
    away_ms: float | None
    others: list[str]
    audio: Heard
    video: Heard


@dataclass
class Report:
    """What everyone heard since the last report, and the load engine's counts (`bench/loadgen/README.md`)."""

    at_ms: float
    participants: list[Told]
    counts: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: "Report") -> "Report":
        """Of two processes: their participants; the counts are lost."""
        return Report(max(self.at_ms, other.at_ms), self.participants + other.participants)


class Clients:
    """One process of participants, in a place of the lab. An async context manager: inside it everyone is in."""

    def __init__(
        self,
        lab: Lab,
        place: str,
        meeting: Meeting,
        gateways: Sequence[Node],
        *,
        protocol: int = 1,
        direct: bool = False,
        must_gather: bool = True,
    ) -> None:
        """`place`: a region that has clients, or the name of a node (beside it, without any path between).

        `gateways`: who is asked, the first one first; who loses one takes the next. `direct`: only the first, over
        gRPC, which nobody assigns to another; who loses it has left.
        """
        self.meeting = meeting
        address, space = lab.places[clients_of(place) if clients_of(place) in lab.places else place]
        hosts = ",".join(node.http.removeprefix("http://") for node in gateways)
        command = [str(lab.programs.load), "meet"]
        livekit = f"livekit+ws://{KEY}:{SECRET}@{hosts}?protocol={protocol}"
        url = f"pysfu://{KEY}:{SECRET}@{gateways[0].grpc}" if direct else livekit
        command += ["--server", url, "--address", address]
        command += ["--room", meeting.name, "--rooms", _range(meeting.rooms), "--members", _range(meeting.members)]
        command += ["--speakers", str(meeting.speakers), "--cameras", str(meeting.cameras)]
        command += ["--rate", str(meeting.rate), *(["--publish-only"] if meeting.publish_only else [])]
        # Small buffers: there may be hundreds.
        command += ["--receive-buffer", "262144", "--json", "/dev/null"]
        self._child = Answering(f"meet-{place}", command, space)
        self._must_gather = must_gather

    async def __aenter__(self) -> Self:
        told = await self._child.come(GATHER_SECONDS)
        try:
            gathered = _answer(told, "gathered")
            if self._must_gather and gathered["present"] < gathered["participants"]:
                raise LabError(f"not everyone came: {gathered}")
        except BaseException:
            await self._child.leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._child.leave()

    @property
    def log(self) -> str:
        return self._child.log

    async def report(self) -> Report:
        """Since the last one, or since everyone came."""
        return await self._ask("report")

    async def look(self) -> Report:
        """The same, but the time of the next report goes on. Without counts."""
        return await self._ask("look")

    async def _ask(self, order: str) -> Report:
        told = _answer(await self._child.ask(order, ANSWER_SECONDS), "report")
        people = [
            Told(**{**one, "audio": Heard(**one["audio"]), "video": Heard(**one["video"])})
            for one in told["participants"]
        ]
        return Report(told["at_ms"], people, told["counts"] or {})

    async def until(self, holds: Callable[[Report], bool], seconds: float = 20.0) -> Report:
        """The first look of which it holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                report = await self.look()
                if holds(report):
                    return report
                await asyncio.sleep(POLL_SECONDS)


def heard(report: Report) -> bool:
    """Everyone is there and hears somebody."""
    return all(one.present and one.audio.streams for one in report.participants)


def _answer(told: dict[str, Any], what: str) -> dict[str, Any]:
    if what not in told:
        raise LabError(f"clients told of {list(told)} where {what} was expected")
    answer: dict[str, Any] = told[what]
    return answer


def _range(numbers: range) -> str:
    return f"{numbers.start}..{numbers.stop}"
