"""The engine's SRTP beside libsrtp (PyPI `pylibsrtp`): each reads what the other wrote."""

import struct

import pytest
from pylibsrtp import Policy, Session

from pysfu import Srtp, SrtpError

PROFILES = {
    "aead_aes_128_gcm": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "aead_aes_256_gcm": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "aes_128_cm_hmac_sha1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}
SSRC = 0x1234_5678


def contexts(profile: str, direction: int) -> tuple[Srtp, Session]:
    """Ours and libsrtp's, under one key."""
    theirs, key_length, salt_length = PROFILES[profile]
    key, salt = bytes(range(key_length)), bytes(range(100, 100 + salt_length))
    policy = Policy(key=key + salt, ssrc_type=direction, srtp_profile=theirs)
    return Srtp(profile, key, salt), Session(policy)


def rtp(sequence: int) -> bytes:
    """With an extension, whose place the cipher must respect."""
    header = struct.pack("!BBHII", 0x90, 96, sequence & 0xFFFF, sequence * 3_000 & 0xFFFF_FFFF, SSRC)
    return header + b"\xbe\xde\x00\x01\x10\x30\x00\x00" + bytes([sequence & 0xFF]) * (sequence % 1_100)


def rtcp(number: int) -> bytes:
    return struct.pack("!BBHIIII", 0x81, 206, 3, SSRC, number, 0, 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_libsrtp_reads_our_packets_over_a_wrap(profile: str) -> None:
    ours, theirs = contexts(profile, Policy.SSRC_ANY_INBOUND)
    for index in range(65_000, 66_200):
        packet = rtp(index)
        assert theirs.unprotect(ours.protect_rtp(packet, index >> 16)) == packet
    for number in range(20):
        assert theirs.unprotect_rtcp(ours.protect_rtcp(rtcp(number))) == rtcp(number)


@pytest.mark.parametrize("profile", PROFILES)
def test_we_read_libsrtps_packets_over_a_wrap(profile: str) -> None:
    ours, theirs = contexts(profile, Policy.SSRC_ANY_OUTBOUND)
    for index in range(65_000, 66_200):
        packet = rtp(index)
        assert ours.unprotect_rtp(theirs.protect(packet)) == packet
    for number in range(20):
        assert ours.unprotect_rtcp(theirs.protect_rtcp(rtcp(number))) == rtcp(number)


@pytest.mark.parametrize("profile", PROFILES)
def test_replays_and_forgeries_are_refused(profile: str) -> None:
    ours, theirs = contexts(profile, Policy.SSRC_ANY_OUTBOUND)
    protected = theirs.protect(rtp(1))
    forged = protected[:-1] + bytes([protected[-1] ^ 1])
    for bad in (forged, protected[:13], b"", b"\x80"):
        with pytest.raises(SrtpError):
            ours.unprotect_rtp(bad)
    assert ours.unprotect_rtp(protected) == rtp(1)
    with pytest.raises(SrtpError):
        ours.unprotect_rtp(protected)


def test_wrong_key_lengths_are_refused() -> None:
    with pytest.raises(SrtpError):
        Srtp("aead_aes_128_gcm", bytes(15), bytes(12))
    with pytest.raises(ValueError, match="rot13"):
        Srtp("rot13", bytes(16), bytes(14))
