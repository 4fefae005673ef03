"""The programs that the lab runs, built once."""

import os

import pytest

from bench.cluster.lab import namespaces, programs
from bench.cluster.lab.programs import Programs


@pytest.fixture(scope="session")
def built() -> Programs:
    """The load engine and the emulator."""
    return programs.build(release=False)


@pytest.fixture
def paths() -> None:
    """For tests that cut paths: where there can be none they are skipped with the reason; with `CI` set they fail."""
    why = namespaces.refusal()
    if why and os.environ.get("CI"):
        pytest.fail(why)
    if why:
        pytest.skip(why)
