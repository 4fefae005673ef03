"""What reading RTP headers costs from Python: the Cython batch reader beside a loop over `struct`."""

import struct

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pysfu import _rtp

COUNT = 10_000
LENGTH = 1_200


@pytest.fixture(scope="module")
def packets() -> tuple[bytes, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    """One buffer of packets, and their bounds."""
    header = struct.Struct("!BBHII")
    parts = [header.pack(0x80, 96, i & 0xFFFF, 3_000 * i, 42) + bytes(LENGTH - 12) for i in range(COUNT)]
    return b"".join(parts), np.arange(0, (COUNT + 1) * LENGTH, LENGTH, dtype=np.int64)


def test_batch_reader(
    benchmark: BenchmarkFixture, packets: tuple[bytes, "np.ndarray[tuple[int], np.dtype[np.int64]]"]
) -> None:
    buffer, offsets = packets
    rows = benchmark(_rtp.parse, buffer, offsets)
    assert rows["valid"].all()
    assert (rows["sequence"] == np.arange(COUNT)).all()


def test_struct_loop(
    benchmark: BenchmarkFixture, packets: tuple[bytes, "np.ndarray[tuple[int], np.dtype[np.int64]]"]
) -> None:
    buffer, offsets = packets
    header = struct.Struct("!BBHII")

    def read() -> list[tuple[int, ...]]:
        return [header.unpack_from(buffer, offset) for offset in offsets[:-1].tolist()]

    assert len(benchmark(read)) == COUNT
