"""SDP fragments of trickled candidates (RFC 8840 section 9), as WHIP's PATCH carries them."""

from dataclasses import dataclass
from typing import Final

MAX_CANDIDATES: Final = 64


class FragmentError(Exception):
    """The text is no such fragment; names the line."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """`candidates` as "candidate:…", without the `a=`."""

    ufrag: str = ""
    pwd: str = ""
    mid: str = ""
    candidates: tuple[str, ...] = ()


def parse_fragment(text: str) -> Fragment:
    """Raises FragmentError."""
    values = {"ice-ufrag": "", "ice-pwd": "", "mid": ""}
    candidates: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise FragmentError(f"line {number} is no SDP line")
        name, _, value = line[2:].partition(":")
        if line[0] == "a" and name == "candidate":
            candidates.append(line[2:])
        elif line[0] == "a" and name in values and not values[name]:
            values[name] = value.strip()
    if len(candidates) > MAX_CANDIDATES:
        raise FragmentError(f"more than {MAX_CANDIDATES} candidates")
    return Fragment(values["ice-ufrag"], values["ice-pwd"], values["mid"], tuple(candidates))


def write_fragment(fragment: Fragment) -> str:
    lines = [f"a=ice-ufrag:{fragment.ufrag}", f"a=ice-pwd:{fragment.pwd}"]
    lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{fragment.mid or '0'}"]
    lines += [f"a={candidate.removeprefix('a=')}" for candidate in fragment.candidates]
    return "\r\n".join([*lines, "a=end-of-candidates", ""])
