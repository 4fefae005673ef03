"""Forward error correction of video in session descriptions: FlexFEC, and ULPFEC (RFC 5109) in RED (RFC 2198).

FlexFEC is the draft that browsers implement, draft-ietf-payload-flexible-fec-scheme-03, not RFC 8627.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.negotiation.model import NO_FEC, FecFormats, Parity

_CLOCK_RATE: Final = 90_000
# Codecs whose pictures have numbers of their own. Of others nobody can tell whether a missing packet was parity, which
# takes numbers of the stream (RFC 5109 section 14.1): senders leave ULPFEC out beside NACK.
_NUMBERED: Final = frozenset({"vp8", "vp9"})
_NAMES: Final = {"flexfec-03": "flexfec", "red": "red", "ulpfec": "ulpfec"}
# How long parity is waited for, microseconds: browsers ask for 10 s, and heed nothing of it.
_REPAIR_WINDOW: Final = "repair-window=10000000"

# Payload types of our own offers.
OFFERED: Final = FecFormats(flexfec=118, red=114, red_rtx=115, ulpfec=116)


def read(codecs: Iterable[tuple[int, str, int]], rtx: Mapping[int, int]) -> FecFormats:
    """Those among a section's formats: (payload type, encoding name, clock rate), the first of each counts. `rtx`:
    payload type → that of its retransmissions."""
    found: dict[str, int] = {}
    for payload_type, encoding, clock_rate in codecs:
        name = _NAMES.get(encoding.lower())
        if name is not None and clock_rate == _CLOCK_RATE:
            found.setdefault(name, payload_type)
    if "red" not in found or "ulpfec" not in found:
        # One is of no use without the other.
        return FecFormats(flexfec=found.get("flexfec"))
    return FecFormats(**found, red_rtx=rtx.get(found["red"]))


def settled(answered: FecFormats) -> FecFormats:
    """Those of our offer that were answered with our payload types (RFC 3264 section 6.1)."""
    red = (answered.red, answered.ulpfec) == (OFFERED.red, OFFERED.ulpfec)
    return FecFormats(
        flexfec=OFFERED.flexfec if answered.flexfec == OFFERED.flexfec else None,
        red=OFFERED.red if red else None,
        red_rtx=OFFERED.red_rtx if red and answered.red_rtx == OFFERED.red_rtx else None,
        ulpfec=OFFERED.ulpfec if red else None,
    )


def published(offered: FecFormats, taken: Parity, codec: str) -> FecFormats:
    """What a client may send us beside video in `codec`, the one that is preferred. FlexFEC goes first, for it has a
    stream of its own; both would be parity twice."""
    if taken == "off" or offered.flexfec is not None:
        return NO_FEC if taken == "off" else FecFormats(flexfec=offered.flexfec)
    return offered if taken == "any" and codec in _NUMBERED else NO_FEC


def formats(fec: FecFormats) -> list[str]:
    """Payload types of an m-line."""
    return [str(number) for number in (fec.red, fec.red_rtx, fec.ulpfec, fec.flexfec) if number is not None]


def lines(fec: FecFormats) -> list[str]:
    written = []
    if fec.red is not None:
        written.append(f"a=rtpmap:{fec.red} red/{_CLOCK_RATE}")
    if fec.red_rtx is not None:
        written += [f"a=rtpmap:{fec.red_rtx} rtx/{_CLOCK_RATE}", f"a=fmtp:{fec.red_rtx} apt={fec.red}"]
    if fec.ulpfec is not None:
        written.append(f"a=rtpmap:{fec.ulpfec} ulpfec/{_CLOCK_RATE}")
    if fec.flexfec is not None:
        written.append(f"a=rtpmap:{fec.flexfec} flexfec-03/{_CLOCK_RATE}")
        written.append(f"a=fmtp:{fec.flexfec} {_REPAIR_WINDOW}")
    return written


def offered(kind: str, wanted: bool) -> FecFormats:
    """What our offers of a section have."""
    return OFFERED if wanted and kind == "video" else NO_FEC
