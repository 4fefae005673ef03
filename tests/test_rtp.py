"""The batch RTP reader and writer."""

import struct

import numpy as np
import numpy.typing as npt
import pytest

from pysfu import _rtp


def bounds(*lengths: int) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths]).astype(np.int64)


def test_reads_what_lies_between_the_bounds() -> None:
    plain = struct.pack("!BBHII", 0x80, 0x80 | 96, 7, 90_000, 42) + b"payload"
    # Two contributing sources and one word of extension.
    full = struct.pack("!BBHII", 0xB2, 111, 65_535, 2**32 - 1, 2**32 - 1) + bytes(8) + b"\xbe\xde\x00\x01" + bytes(4)
    rows = _rtp.parse(plain + full, bounds(len(plain), len(full)))
    assert rows["ssrc"].tolist() == [42, 2**32 - 1]
    assert rows["sequence"].tolist() == [7, 65_535]
    assert rows["timestamp"].tolist() == [90_000, 2**32 - 1]
    assert rows["payload_type"].tolist() == [96, 111]
    assert rows["marker"].tolist() == [1, 0]
    assert rows["padding"].tolist() == [0, 1]
    assert rows["payload_offset"].tolist() == [12, 28]
    assert rows["valid"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "packet",
    [b"", bytes(11), bytes(12), b"\x40" + bytes(20), b"\x8f" + bytes(20), b"\x90" + bytes(11), b"\x90" * 20],
    ids=["empty", "short", "version 0", "version 1", "sources cut", "extension cut", "extension too long"],
)
def test_what_is_no_rtp_is_marked(packet: bytes) -> None:
    row = _rtp.parse(packet, bounds(len(packet)))[0]
    assert row["valid"] == 0
    assert row["payload_offset"] == 0


@pytest.mark.parametrize("offsets", [[0, 13], [-1, 12], [5, 3], []], ids=["beyond", "negative", "descending", "none"])
def test_bad_bounds_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        _rtp.parse(bytes(12), np.array(offsets, dtype=np.int64))


def test_random_bytes_never_reach_beyond_a_packet() -> None:
    chance = np.random.default_rng(7)
    lengths = chance.integers(0, 64, 10_000)
    buffer = chance.integers(0, 256, int(lengths.sum()), dtype=np.uint8).tobytes()
    rows = _rtp.parse(buffer, bounds(*lengths))
    assert (rows["payload_offset"] <= lengths).all()
    assert 0 < rows["valid"].sum() < len(rows)


def test_written_headers_are_read_back() -> None:
    headers = np.zeros(100, _rtp.HEADER)
    headers["ssrc"], headers["sequence"] = 7, np.arange(100)
    headers["timestamp"], headers["payload_type"], headers["marker"] = 2**32 - 1, 96, 1
    buffer = bytearray(1_200)
    offsets = bounds(*[12] * 100)
    _rtp.write(buffer, offsets[:-1], headers)
    read = _rtp.parse(buffer, offsets)
    for field in ("ssrc", "sequence", "timestamp", "payload_type", "marker"):
        assert (read[field] == headers[field]).all()
    with pytest.raises(ValueError, match="beyond"):
        _rtp.write(buffer, offsets[1:], headers)
