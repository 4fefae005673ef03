"""Identifiers: a prefix that says of what, then random base62 characters."""

import re
import secrets
import string
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits
ICE_CHARACTERS: Final = ALPHABET + "+/"
# A label of a DNS name (RFC 1035 section 2.3.1), because certificates carry it as one; those ignore case.
_NODE_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def _random(length: int, alphabet: str = ALPHABET) -> str:
    """Every character alike likely: octets that would favour some are left out."""
    even = 256 - 256 % len(alphabet)
    found = ""
    while len(found) < length:
        found += "".join(alphabet[octet % len(alphabet)] for octet in secrets.token_bytes(length + 4) if octet < even)
    return found[:length]


def room_id() -> str:
    return f"RM_{_random(12)}"


def participant_id() -> str:
    return f"PA_{_random(12)}"


def track_id() -> str:
    return f"TR_{_random(12)}"


def node_id() -> str:
    return f"ND_{_random(12)}"


def session_id(node: str) -> str:
    """A secret: who knows it may resume the session. Behind it is the node that has the session."""
    return f"SE_{secrets.token_urlsafe(24)}.{node}"


def node_of_session(session: str) -> str:
    """Empty for what is no session's id."""
    return session.rpartition(".")[2] if session.startswith("SE_") and "." in session else ""


def ssrc() -> int:
    """A random SSRC (RFC 3550 section 8.1); 0 is left out, some receivers take it for "none"."""
    return secrets.randbelow(0xFFFF_FFFE) + 1


def ice_ufrag() -> str:
    """48 bits; RFC 8839 section 5.4 asks for 24 at least."""
    return _random(8, ICE_CHARACTERS)


def ice_pwd() -> str:
    """192 bits; RFC 8839 section 5.4 asks for 128 at least."""
    return _random(32, ICE_CHARACTERS)


def check_node_id(node: str) -> str:
    """Returns the id of a cluster's node. Raises ValueError."""
    if not _NODE_ID.fullmatch(node):
        raise ValueError(
            f"{node[:80]!r} is no node id: 1 to 63 lower-case letters, digits and hyphens, none at its ends"
        )
    return node
