"""Reads a session description.

`aiortc.sdp` parses formats and extensions of a section. It is given only lines whose shape was checked here, one
section at a time, so that an error names its section. The rest (transport, sources, RIDs, MSID) is read from the lines:
it differs from client to client, and what clients have in common is parsed once.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, cast

from aiortc.sdp import MediaDescription, SessionDescription

from control_plane.negotiation import codecs, fec
from control_plane.negotiation.model import (
    NO_FEC,
    AnnouncedSsrc,
    Codec,
    Description,
    Direction,
    Extension,
    IceCredentials,
    Media,
    NegotiationError,
    Section,
    TransportParameters,
)

MAX_SDP_BYTES: Final = 256 * 1024
MAX_SECTIONS: Final = 2_000
MAX_SECTION_LINES: Final = 2_000
MAX_SSRCS: Final = 64
MAX_RIDS: Final = 8
MAX_FINGERPRINTS: Final = 16
# Formats are mostly the same from one offer to the next, and between clients.
CACHED_SECTIONS: Final = 1_024
MAX_CACHED_CHARACTERS: Final = 16_384
# Whole ones: an offer that comes with a join is read before anything is done for it, and when it is answered.
CACHED_DESCRIPTIONS: Final = 256
MAX_CACHED_DESCRIPTION: Final = 32_768
# Most lines are those of every client with the same software.
CACHED_LINES: Final = 4_096
MAX_CACHED_LINE: Final = 256

_MEDIA_LINE: Final = re.compile(
    r"m=([a-z]{1,16}) (\d{1,5})(?:/\d{1,3})? ([A-Z/]{1,24}) ([!-~]{1,32}(?: [!-~]{1,32}){0,127})"
)
_MEDIA_PROTOCOLS: Final = frozenset({"UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVP"})
_DATA_PROTOCOLS: Final = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})

# The attributes that we read. Others are ignored (RFC 8866 section 5.13).
_PAYLOAD: Final = r"(?:\d{1,2}|1[01]\d|12[0-7])"
_SSRC: Final = r"\d{1,10}"
_EXTENSION: Final = r"(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])"
_ATTRIBUTES: Final = {
    # Given to aiortc: `_RTP_ATTRIBUTES`.
    "rtpmap": re.compile(rf"{_PAYLOAD} [\w.-]{{1,32}}/\d{{1,7}}(?:/\d{{1,2}})?"),
    "fmtp": re.compile(rf"{_PAYLOAD} [ -~]{{1,512}}"),
    "rtcp-fb": re.compile(rf"(?:{_PAYLOAD}|\*) [!-~]{{1,32}}(?: [ -~]{{1,64}})?"),
    "extmap": re.compile(rf"{_EXTENSION}(?:/(?:sendrecv|sendonly|recvonly|inactive))? [!-~]{{1,256}}(?: .{{0,64}})?"),
    # Read here.
    "ssrc": re.compile(rf"{_SSRC} [\w-]{{1,32}}(?::.{{0,512}})?"),
    "ssrc-group": re.compile(rf"[\w-]{{1,16}}(?: {_SSRC}){{1,16}}"),
    "mid": re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,16}"),
    "msid": re.compile(r"[!-~]{1,128}(?: [!-~]{1,128})?"),
    "rid": re.compile(r"[A-Za-z0-9_-]{1,16} (?:send|recv)(?: [ -~]{1,512})?"),
    "simulcast": re.compile(r"(?:send|recv) [~\w,;-]{1,256}(?: (?:send|recv) [~\w,;-]{1,256})?"),
    "ice-ufrag": re.compile(r"[A-Za-z0-9+/=_-]{4,256}"),
    "ice-pwd": re.compile(r"[A-Za-z0-9+/=_-]{22,256}"),
    "fingerprint": re.compile(r"[A-Za-z0-9-]{1,16} [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63}"),
    "setup": re.compile(r"active|passive|actpass|holdconn"),
    "sctp-port": re.compile(r"\d{1,5}"),
    "max-message-size": re.compile(r"\d{1,19}"),
    "group": re.compile(r"[A-Za-z0-9_-]{1,32}(?: [!-~]{1,16})*"),
}
_RTP_ATTRIBUTES: Final = frozenset({"rtpmap", "fmtp", "rtcp-fb", "extmap"})
# RFC 5761 section 4: with RTCP on the same port these would be taken for RTCP.
_RTCP_PAYLOAD_TYPES: Final = range(64, 96)


def parse(sdp: str) -> Description:
    """An offer or answer, validated: everything that is not rejected is bundled, RTCP multiplexed, a SHA-256
    fingerprint given.

    Raises NegotiationError that names section and attribute.
    """
    if len(sdp) > MAX_SDP_BYTES:
        raise NegotiationError(f"longer than {MAX_SDP_BYTES} bytes")
    if not sdp.isascii():
        raise NegotiationError("holds characters outside of ASCII")
    return _parse(sdp) if len(sdp) <= MAX_CACHED_DESCRIPTION else _parse.__wrapped__(sdp)


@lru_cache(CACHED_DESCRIPTIONS)
def _parse(sdp: str) -> Description:
    blocks = _blocks(sdp)
    if len(blocks) - 1 > MAX_SECTIONS:
        raise NegotiationError(f"more than {MAX_SECTIONS} sections")
    session = _read_lines(blocks[0], None)
    sections = tuple(_section(index, lines, session) for index, lines in enumerate(blocks[1:]))
    mids = [section.mid for section in sections]
    if len(set(mids)) != len(mids):
        repeated = next(mid for mid in mids if mids.count(mid) > 1)
        raise NegotiationError("is used by two sections", section=repeated, attribute="mid")
    bundle = _bundle(session, sections)
    tagged = next(
        (section for mid in bundle for section in sections if section.mid == mid and not section.rejected), None
    )
    if tagged is None:
        raise NegotiationError("has no section that is not rejected")
    _check_transport(tagged)
    allow_mixed = session.has("extmap-allow-mixed") or all(
        "a=extmap-allow-mixed" in lines for lines in blocks[1:] if lines[0].startswith(("m=audio", "m=video"))
    )
    return Description(sections, bundle, tagged.transport, allow_mixed)


class _Lines:
    """Attributes of a block: (name, value) in order; flags have an empty value."""

    __slots__ = ("_by_name", "attributes")

    def __init__(self, attributes: list[tuple[str, str]]) -> None:
        self.attributes = attributes
        self._by_name: dict[str, list[str]] = {}
        for name, value in attributes:
            self._by_name.setdefault(name, []).append(value)

    def first(self, name: str) -> str | None:
        values = self._by_name.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return self._by_name.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._by_name


def _blocks(sdp: str) -> list[list[str]]:
    """The session's lines, then those of each section."""
    blocks: list[list[str]] = [[]]
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise NegotiationError(f"line {line[:40]!r} is not of the form x=…")
        if line.startswith("m="):
            blocks.append([])
        blocks[-1].append(line)
        if len(blocks[-1]) > MAX_SECTION_LINES:
            raise NegotiationError(f"a section has more than {MAX_SECTION_LINES} lines")
    if not blocks[0] or blocks[0][0] != "v=0":
        raise NegotiationError("does not begin with v=0")
    if len(blocks) == 1:
        raise NegotiationError("has no media section")
    return blocks


def _read_lines(lines: Sequence[str], where: str | None) -> _Lines:
    try:
        return _Lines(
            [
                _attribute(line) if len(line) <= MAX_CACHED_LINE else _attribute.__wrapped__(line)
                for line in lines
                if line.startswith("a=")
            ]
        )
    except NegotiationError as error:
        raise NegotiationError(error.reason, section=where, attribute=error.attribute) from error


@lru_cache(CACHED_LINES)
def _attribute(line: str) -> tuple[str, str]:
    """Name and value of a line `a=…`."""
    name, _, value = line[2:].partition(":")
    shape = _ATTRIBUTES.get(name)
    value = value.strip()
    if shape is not None and not shape.fullmatch(value):
        raise NegotiationError(f"malformed value {value[:80]!r}", attribute=name)
    return name, value


def _section(index: int, lines: list[str], session: _Lines) -> Section:
    match = _MEDIA_LINE.fullmatch(lines[0].rstrip())
    if match is None:
        raise NegotiationError(f"malformed line {lines[0][:80]!r}", section=f"#{index}")
    kind, port, protocol, formats = match.group(1), int(match.group(2)), match.group(3), tuple(match.group(4).split())
    own = _read_lines(lines[1:], f"#{index}")
    mid = own.first("mid")
    if mid is None:
        raise NegotiationError("is missing", section=f"#{index}", attribute="mid")
    # Port 0 rejects, unless the section only exists in the bundle (RFC 9143 section 6).
    rejected = port == 0 and not own.has("bundle-only")
    direction = next((name for name, _ in reversed(own.attributes) if name in _DIRECTIONS), None)
    direction = direction or next((name for name, _ in session.attributes if name in _DIRECTIONS), "sendrecv")
    section = Section(
        index=index,
        kind=kind,
        mid=mid,
        protocol=protocol,
        formats=formats,
        direction=cast("Direction", direction),
        rejected=rejected,
        transport=_transport(own, session, mid),
    )
    if rejected:
        return section
    if section.is_media and protocol in _MEDIA_PROTOCOLS:
        if not own.has("rtcp-mux"):
            raise NegotiationError("is required", section=mid, attribute="rtcp-mux")
        return replace(section, media=_media(section, lines[0], own))
    if kind == "application" and protocol in _DATA_PROTOCOLS:
        sctp_port = int(own.first("sctp-port") or 5000)
        if not 0 < sctp_port < 65_536:
            raise NegotiationError("is not a port", section=mid, attribute="sctp-port")
        return replace(section, sctp_port=sctp_port, max_message_size=int(own.first("max-message-size") or 65_536))
    return section


def _transport(own: _Lines, session: _Lines, mid: str) -> TransportParameters:
    """Section attributes win over the session's (RFC 8839 section 5.4, RFC 8122 section 5)."""
    ufrag = own.first("ice-ufrag") or session.first("ice-ufrag")
    pwd = own.first("ice-pwd") or session.first("ice-pwd")
    values = own.all("fingerprint") or session.all("fingerprint")
    if len(values) > MAX_FINGERPRINTS:
        raise NegotiationError(f"more than {MAX_FINGERPRINTS}", section=mid, attribute="fingerprint")
    fingerprints = []
    for value in values:
        algorithm, _, digest = value.partition(" ")
        if algorithm.lower() == "sha-256":
            fingerprints.append(bytes.fromhex(digest.replace(":", "")))
            if len(fingerprints[-1]) != 32:
                raise NegotiationError("a SHA-256 digest has 32 bytes", section=mid, attribute="fingerprint")
    return TransportParameters(
        ice=IceCredentials(ufrag, pwd) if ufrag and pwd else None,
        fingerprints=tuple(fingerprints),
        setup=own.first("setup") or session.first("setup") or "",
    )


def _check_transport(section: Section) -> None:
    transport = section.transport
    if transport.ice is None:
        raise NegotiationError("ICE credentials are missing", section=section.mid, attribute="ice-ufrag")
    if not transport.fingerprints:
        raise NegotiationError("no SHA-256 fingerprint", section=section.mid, attribute="fingerprint")
    if transport.setup not in ("active", "actpass"):
        raise NegotiationError(
            f"{transport.setup or 'none'!r}: the client must be able to be active",
            section=section.mid,
            attribute="setup",
        )


def _bundle(session: _Lines, sections: Sequence[Section]) -> tuple[str, ...]:
    groups = [value.split()[1:] for value in session.all("group") if value.split()[0] == "BUNDLE"]
    if len(groups) > 1:
        raise NegotiationError("more than one BUNDLE group", attribute="group")
    bundle = tuple(groups[0]) if groups else ()
    known = {section.mid for section in sections}
    unknown = next((mid for mid in bundle if mid not in known), None)
    if unknown is not None:
        raise NegotiationError(f"BUNDLE names an unknown section {unknown!r}", attribute="group")
    outside = next((section for section in sections if not section.rejected and section.mid not in bundle), None)
    if outside is not None and len(sections) == 1 and not groups:
        # A description with one section is its own bundle.
        return (outside.mid,)
    if outside is not None:
        raise NegotiationError("is not in the BUNDLE group", section=outside.mid, attribute="group")
    return bundle


def _media(section: Section, media_line: str, own: _Lines) -> Media:
    for text in section.formats:
        if not text.isdigit() or int(text) > 127:
            raise NegotiationError(f"payload type {text!r} is not within 0 to 127", section=section.mid)
    formats = " ".join(text for text in section.formats if int(text) not in _RTCP_PAYLOAD_TYPES)
    kept = "\n".join(f"a={name}:{value}" for name, value in own.attributes if name in _RTP_ATTRIBUTES and value)
    try:
        read = _rtp if len(kept) <= MAX_CACHED_CHARACTERS else _rtp.__wrapped__
        media = read(section.kind, formats, kept)
        ssrcs = _ssrcs(own)
    except NegotiationError as error:
        raise NegotiationError(error.reason, section=section.mid, attribute=error.attribute) from error
    stream, _, track = (own.first("msid") or _legacy_msid(own)).partition(" ")
    return replace(media, ssrcs=ssrcs, send_rids=_send_rids(section.mid, own), msid_stream=stream, msid_track=track)


@lru_cache(maxsize=CACHED_SECTIONS)
def _rtp(kind: str, formats: str, attributes: str) -> Media:
    lines = attributes.split("\n") if attributes else []
    mapped = {line[9:].partition(" ")[0] for line in lines if line.startswith("a=rtpmap:")}
    if len(mapped) != sum(line.startswith("a=rtpmap:") for line in lines):
        raise NegotiationError("a payload type is mapped twice", attribute="rtpmap")
    usable = []
    for line in lines:
        name, _, value = line[2:].partition(":")
        payload_type = value.partition(" ")[0]
        if name in ("rtpmap", "fmtp", "rtcp-fb") and payload_type != "*" and payload_type not in mapped:
            continue
        if name == "extmap":
            line = f"a=extmap:{' '.join(value.split()[:2])}"
        usable.append(line)
    text = "\r\n".join(["v=0", f"m={kind} 9 UDP/TLS/RTP/SAVPF {formats or 0}", *usable, ""])
    try:
        parsed = SessionDescription.parse(text).media[0]
    except (ValueError, AssertionError, KeyError, IndexError, StopIteration, AttributeError, TypeError) as error:
        raise NegotiationError(f"cannot be parsed ({type(error).__name__})", attribute="rtpmap") from error
    # aiortc re-orders format parameters and drops the direction of extensions.
    fmtp = dict(line[7:].split(" ", 1) for line in usable if line.startswith("a=fmtp:"))
    extmaps = [line[9:].split(" ")[0].partition("/") for line in usable if line.startswith("a=extmap:")]
    directions = {number: direction for number, _, direction in extmaps if direction}
    numbers = {int(text) for text in formats.split()}
    rtx = _rtx(parsed, fmtp, numbers)
    named: list[tuple[int, str, int]] = [
        (number, item.mimeType.partition("/")[2], item.clockRate)
        for item in parsed.rtp.codecs
        if (number := item.payloadType) is not None and number in numbers
    ]
    return Media(
        codecs=_codecs(parsed, fmtp, numbers, rtx),
        extensions=tuple(
            Extension(item.id, item.uri, cast("Direction", directions.get(str(item.id), "sendrecv")))
            for item in parsed.rtp.headerExtensions
        ),
        fec=fec.read(named, rtx) if kind == "video" else NO_FEC,
    )


def _rtx(parsed: MediaDescription, fmtp: dict[str, str], formats: set[int]) -> dict[int, int]:
    """Payload type → that of its retransmissions (RFC 4588 section 8.1)."""
    found: dict[int, int] = {}
    for item in parsed.rtp.codecs:
        if item.payloadType in formats and item.mimeType.lower().endswith("/rtx"):
            target = codecs.parameters(fmtp.get(str(item.payloadType), "")).get("apt", "")
            if target.isdigit():
                found.setdefault(int(target), item.payloadType)
    return found


def _codecs(
    parsed: MediaDescription, fmtp: dict[str, str], formats: set[int], rtx: dict[int, int]
) -> tuple[Codec, ...]:
    order = {int(payload_type): position for position, payload_type in enumerate(parsed.fmt)}
    found = []
    for item in parsed.rtp.codecs:
        name = codecs.name_of(item.mimeType)
        if name is None or item.payloadType not in formats:
            continue
        text = fmtp.get(str(item.payloadType), "")
        values = (f"{fb.type} {fb.parameter}" if fb.parameter else fb.type for fb in item.rtcpFeedback)
        feedback = tuple(dict.fromkeys(values))
        codec = Codec(item.payloadType, name, item.clockRate, item.channels, text, None, feedback)
        if codecs.is_supported(codec):
            found.append(codec)
    found.sort(key=lambda codec: order[codec.payload_type])
    return tuple(replace(codec, rtx=rtx.get(codec.payload_type)) for codec in found)


def _ssrcs(own: _Lines) -> tuple[AnnouncedSsrc, ...]:
    """Primary SSRCs with their retransmission SSRC (RFC 5576 section 4.2), in the order of a SIM group if any."""
    announced = list(dict.fromkeys(int(value.partition(" ")[0]) for value in own.all("ssrc")))
    if len(announced) > MAX_SSRCS:
        raise NegotiationError(f"more than {MAX_SSRCS}", attribute="ssrc")
    words = [value.split() for value in own.all("ssrc-group")]
    groups = [(semantic, [int(item) for item in items]) for semantic, *items in words]
    if any(not 0 < ssrc < 1 << 32 for ssrc in [*announced, *(item for _, items in groups for item in items)]):
        raise NegotiationError("is not a 32-bit number above 0", attribute="ssrc")
    rtx = {items[0]: items[1] for semantic, items in groups if semantic == "FID" and len(items) == 2}
    other = {ssrc for semantic, items in groups if semantic not in ("SIM", "FID") for ssrc in items[1:]}
    simulcast = next((items for semantic, items in groups if semantic == "SIM"), [])
    primary = [ssrc for ssrc in announced if ssrc not in rtx.values() and ssrc not in other]
    ordered = [*(ssrc for ssrc in simulcast if ssrc in primary), *(ssrc for ssrc in primary if ssrc not in simulcast)]
    return tuple(AnnouncedSsrc(ssrc, rtx.get(ssrc)) for ssrc in ordered)


def _send_rids(mid: str, own: _Lines) -> tuple[str, ...]:
    """RIDs of `a=simulcast:send` in their order; the first of alternatives, paused ones too (RFC 8853 section 5.1)."""
    declared = [value.split()[0] for value in own.all("rid") if value.split()[1] == "send"]
    words = (own.first("simulcast") or "").split()
    listed = next((words[i + 1] for i in range(0, len(words) - 1, 2) if words[i] == "send"), "")
    rids = [stream.split(",")[0].lstrip("~") for stream in listed.split(";") if stream]
    unknown = next((rid for rid in rids if rid not in declared), None)
    if unknown is not None:
        raise NegotiationError(f"{unknown!r} has no a=rid line", section=mid, attribute="simulcast")
    rids = list(dict.fromkeys(rids or declared))
    if len(rids) > MAX_RIDS:
        raise NegotiationError(f"more than {MAX_RIDS} layers", section=mid, attribute="rid")
    return tuple(rids)


def _legacy_msid(own: _Lines) -> str:
    """`a=ssrc:… msid:stream track`, what was written before RFC 8830."""
    for value in own.all("ssrc"):
        _, _, attribute = value.partition(" ")
        if attribute.startswith("msid:"):
            return attribute[5:].strip()
    return ""
