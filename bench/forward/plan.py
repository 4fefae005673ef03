"""What is measured, how often and for how long."""

from dataclasses import dataclass
from typing import Literal

Media = Literal["video", "audio"]

# Bytes of RTP payload and packets per frame; frames per second are what is varied.
VIDEO_PAYLOAD, VIDEO_PACKETS, VIDEO_SUBSCRIBERS = 1_200, 5, 100
# Everyone to everyone else; packets per second of each are what is varied.
AUDIO_PAYLOAD, AUDIO_PARTICIPANTS, AUDIO_RATE = 120, 30, 50.0

# Of the ceiling's saturation: the load at which CPU per packet is compared.
COMPARE_AT = 0.4
# Of a peer's saturation: the load at which it is compared with us.
PEER_AT = 0.8
LATENCY_AT = 0.5
# Of the ceiling's saturation: the load of one worker against two, the second of which may share the CPU of the load.
WORKERS_AT = 0.25
# Shares of a server's own saturation, as last estimated, that each round tries.
LADDER = (LATENCY_AT, 0.75, 0.88, 0.94, 1.0, 1.06, 1.12)
PEER_LADDER = (LATENCY_AT, 0.75, 0.9, 1.0, 1.1)
# Each round shifts the upper steps a little, so that medians are finer than the steps.
DITHER = 0.01


@dataclass(frozen=True)
class Shape:
    """Who sends what to whom, as arguments of `pysfu-load fanout`."""

    arguments: tuple[str, ...]
    # Packets per second out at a rate of 1.
    per_rate: float

    def rate(self, pps: float) -> float:
        """The rate (frames, or packets of audio, per second of each publisher) for so many packets per second out."""
        return pps / self.per_rate


def shape(media: Media, *, small: bool = False) -> Shape:
    """The headline's shapes; `small` ones prove that everything works together."""
    if media == "video":
        subscribers = 10 if small else VIDEO_SUBSCRIBERS
        people = ("--publishers", "1", "--subscribers", str(subscribers))
        return Shape((*people, "--video", f"{VIDEO_PAYLOAD}x{VIDEO_PACKETS}"), VIDEO_PACKETS * subscribers)
    count = 5 if small else AUDIO_PARTICIPANTS
    return Shape(("--publishers", str(count), "--mesh", "--audio", str(AUDIO_PAYLOAD)), count * (count - 1))


@dataclass(frozen=True)
class Plan:
    """Seconds, counts and rounds of one run."""

    name: str
    # Measured rounds; one more comes first and is dropped.
    rounds: int
    warmup: float
    seconds: float
    # Whether the round that is dropped searches for saturation; else the ladders begin at a guess.
    search: bool
    # Of each step of the search for saturation.
    search_warmup: float
    search_seconds: float
    small: bool
    worker_rounds: int
    joins: int
    joins_per_second: float
    storm_joins: int
    storm_per_second: float
    storm_rounds: int
    memory_viewers: int
    memory_publishers: tuple[int, ...]


FULL = Plan(
    name="full",
    rounds=6,
    warmup=0.5,
    seconds=2.5,
    search=True,
    search_warmup=0.3,
    search_seconds=1.0,
    small=False,
    worker_rounds=3,
    joins=300,
    joins_per_second=20,
    storm_joins=1_000,
    storm_per_second=100,
    storm_rounds=2,
    memory_viewers=50,
    memory_publishers=(2, 8, 14, 20),
)
QUICK = Plan(
    name="quick",
    rounds=1,
    warmup=0.2,
    seconds=0.5,
    search=False,
    search_warmup=0.1,
    search_seconds=0.2,
    small=True,
    worker_rounds=1,
    joins=20,
    joins_per_second=20,
    storm_joins=50,
    storm_per_second=50,
    storm_rounds=1,
    memory_viewers=10,
    memory_publishers=(2, 4, 6),
)


def ladder(shares: tuple[float, ...], saturation: float, turn: int) -> list[float]:
    """Packets per second of a round's steps. The first (of latency) is the same in each round, the others move."""
    shift = DITHER * (turn % 5 - 2)
    return [saturation * (share if index == 0 else share + shift) for index, share in enumerate(shares)]
