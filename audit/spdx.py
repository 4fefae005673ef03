"""SPDX licence expressions (SPDX 2.3 annex D), as far as packages use them."""

import re
from collections.abc import Collection
from typing import Final

_TOKEN: Final = re.compile(r"\s*(\(|\)|/|[^\s()/]+)")


def allows(expression: str, allowed: Collection[str]) -> bool:
    """Whether one of the choices that the expression leaves needs no other licence than `allowed`.

    `/` is `OR`, as crates wrote it once. What cannot be read is not allowed.
    """
    tokens: list[str] = _TOKEN.findall(expression)
    try:
        result = _either(tokens, allowed)
    except IndexError:
        return False
    return result and not tokens


def _either(tokens: list[str], allowed: Collection[str]) -> bool:
    result = _both(tokens, allowed)
    while tokens and tokens[0].upper() in ("OR", "/"):
        tokens.pop(0)
        # Both sides are read, whatever the first says.
        result = _both(tokens, allowed) or result
    return result


def _both(tokens: list[str], allowed: Collection[str]) -> bool:
    result = _one(tokens, allowed)
    while tokens and tokens[0].upper() == "AND":
        tokens.pop(0)
        result = _one(tokens, allowed) and result
    return result


def _one(tokens: list[str], allowed: Collection[str]) -> bool:
    name = tokens.pop(0)
    if name == "(":
        result = _either(tokens, allowed)
        return tokens.pop(0) == ")" and result
    if tokens and tokens[0].upper() == "WITH":
        tokens.pop(0)
        return f"{name} WITH {tokens.pop(0)}" in allowed
    return name in allowed
