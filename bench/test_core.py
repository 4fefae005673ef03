"""What a command to the core costs the control plane."""

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pysfu import Sfu


@pytest.fixture
def sfu() -> Iterator[Sfu]:
    with Sfu(port=0) as running:
        yield running


def test_add_and_remove_a_peer(benchmark: BenchmarkFixture, sfu: Sfu) -> None:
    def come_and_go() -> None:
        sfu.remove_peer(sfu.add_peer(ice_ufrag="abcd", ice_pwd="x" * 24))

    benchmark(come_and_go)


def test_snapshot(benchmark: BenchmarkFixture, sfu: Sfu) -> None:
    assert len(benchmark(sfu.snapshot).workers) <= 1
