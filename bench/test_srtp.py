"""SRTP by cipher: what protecting one packet costs, through the Python binding."""

import os
import struct

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pysfu._core import Srtp

KEYS = {"aead_aes_128_gcm": (16, 12), "aead_aes_256_gcm": (32, 12), "aes_128_cm_hmac_sha1_80": (16, 14)}


@pytest.mark.parametrize("payload", [120, 1_150])
@pytest.mark.parametrize("profile", KEYS)
def test_protect(benchmark: BenchmarkFixture, profile: str, payload: int) -> None:
    key, salt = (os.urandom(size) for size in KEYS[profile])
    srtp = Srtp(profile, key, salt)
    packet = struct.pack("!BBHII", 0x80, 96, 1, 0, 7) + os.urandom(payload)
    protected = benchmark(srtp.protect_rtp, packet, 0)
    assert len(protected) > len(packet)
