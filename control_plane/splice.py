"""Messages put together from parts that are serialised already (Protocol Buffers encoding: a message is the
concatenation of its fields, and a field is its key, its length and its content)."""

from collections.abc import Iterable
from typing import Final

_LENGTH_DELIMITED: Final = 2


def varint(value: int) -> bytes:
    """Base 128, least significant group first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def field(number: int, content: bytes) -> bytes:
    """A field of type message, string or bytes."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def repeated(number: int, contents: Iterable[bytes]) -> bytes:
    """A repeated field of such a type."""
    key = varint(number << 3 | _LENGTH_DELIMITED)
    parts: list[bytes] = []
    for content in contents:
        parts += (key, varint(len(content)), content)
    return b"".join(parts)
