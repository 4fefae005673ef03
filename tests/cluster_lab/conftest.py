"""The programs that the lab runs, built once."""

import pytest

from bench.cluster.lab import namespaces, programs
from bench.cluster.lab.programs import Programs


@pytest.fixture(scope="session")
def built() -> Programs:
    """The load engine and the emulator."""
    return programs.build(release=False)


@pytest.fixture
def paths() -> None:
    """For tests that cut paths: skipped, with the reason, where there can be none."""
    if namespaces.refusal():
        pytest.skip(namespaces.refusal())
