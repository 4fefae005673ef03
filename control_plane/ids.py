"""Identifiers: a prefix that says of what, then random base62 characters."""

import secrets
import string
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits
ICE_CHARACTERS: Final = ALPHABET + "+/"


def _random(length: int, alphabet: str = ALPHABET) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def room_id() -> str:
    return f"RM_{_random(12)}"


def participant_id() -> str:
    return f"PA_{_random(12)}"


def track_id() -> str:
    return f"TR_{_random(12)}"


def node_id() -> str:
    return f"ND_{_random(12)}"


def session_id() -> str:
    """A secret: who knows it may resume the session."""
    return f"SE_{secrets.token_urlsafe(24)}"


def ssrc() -> int:
    """A random SSRC (RFC 3550 section 8.1); 0 is left out, some receivers take it for "none"."""
    return secrets.randbelow(0xFFFF_FFFE) + 1


def ice_ufrag() -> str:
    """48 bits; RFC 8839 section 5.4 asks for 24 at least."""
    return _random(8, ICE_CHARACTERS)


def ice_pwd() -> str:
    """192 bits; RFC 8839 section 5.4 asks for 128 at least."""
    return _random(32, ICE_CHARACTERS)
