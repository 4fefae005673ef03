"""The engine without sockets: one packet in, to 1, 10, 100 or 1,000 subscriptions, by codec."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Self

import pytest

from bench.instructions import build

PACKETS = 20_000


class Lab:
    """A `pysfu-lab serve` process."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        return self.read()


@pytest.fixture(scope="module")
def program() -> str:
    return str(build())


@pytest.fixture
def lab(program: str) -> Iterator[Lab]:
    with Lab(program) as lab:
        yield lab


def forward(benchmark: Any, lab: Lab, codec: str, subscriptions: int) -> None:
    profile = lab.ask(setup={"codec": codec, "subscriptions": subscriptions, "feedback": True})["profile"]
    lab.ask(forward=PACKETS)
    lab.read()
    packets: list[int] = []

    def ready() -> None:
        if packets:
            lab.read()  # packets for the next round are made, outside of what is timed

    def once() -> None:
        packets.append(lab.ask(forward=PACKETS)["packets_out"])

    benchmark.pedantic(once, setup=ready, rounds=8)
    lab.read()
    benchmark.extra_info["profile"] = profile
    benchmark.extra_info["ns_per_packet"] = benchmark.stats.stats.median * 1e9 / packets[-1]
    assert min(packets) >= PACKETS


@pytest.mark.parametrize("subscriptions", [1, 10, 100, 1_000])
def test_video_to_many(benchmark: Any, lab: Lab, subscriptions: int) -> None:
    forward(benchmark, lab, "vp8", subscriptions)


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "opus"])
def test_codecs(benchmark: Any, lab: Lab, codec: str) -> None:
    forward(benchmark, lab, codec, 100)
