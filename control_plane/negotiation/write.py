"""Writes what answers and offers have in common."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from control_plane.negotiation.codecs import MIME_TYPES
from control_plane.negotiation.model import Codec, Extension, FecFormats, LocalTransport, Sending

MAX_MESSAGE_SIZE: Final = 262_144
SCTP_PORT: Final = 5_000
# Lists of formats whose lines are remembered: clients with the same software get the same.
CACHED_FORMATS: Final = 256


def session_lines(session_id: int, version: int, bundle: Iterable[str], allow_mixed: bool) -> list[str]:
    """The session part (RFC 9429 section 5.2.1)."""
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 0.0.0.0", "s=-", "t=0 0", "a=ice-lite"]
    lines.append("a=group:BUNDLE " + " ".join(bundle))
    if allow_mixed:
        lines.append("a=extmap-allow-mixed")
    return [*lines, "a=msid-semantic: WMS *"]


def media_line(kind: str, protocol: str, formats: Iterable[str], local: LocalTransport) -> list[str]:
    """The m-line and its address: that of our default candidate (RFC 8839 section 4.2.1.2)."""
    address, port = local.candidates[0] if local.candidates else ("0.0.0.0", 9)  # noqa: S104
    return [f"m={kind} {port} {protocol} {' '.join(formats)}", f"c=IN {_family(address)} {address}"]


@lru_cache
def _family(address: str) -> str:
    """Of an address of ours."""
    return "IP6" if ipaddress.ip_address(address).version == 6 else "IP4"


def transport_lines(local: LocalTransport, setup: str, with_candidates: bool) -> list[str]:
    """ICE and DTLS. Candidates go into the section that the bundle is tagged with (RFC 9143 section 7.1.3)."""
    lines = [f"a=ice-ufrag:{local.ice.ufrag}", f"a=ice-pwd:{local.ice.pwd}"]
    lines += [f"a=fingerprint:sha-256 {local.fingerprint}", f"a=setup:{setup}"]
    if with_candidates:
        lines += [f"a={line}" for line in candidate_lines(local.candidates)]
        lines.append("a=end-of-candidates")
    return lines


def candidate_lines(candidates: Sequence[tuple[str, int]]) -> list[str]:
    """`candidate:…` of each host candidate, preferred first, priorities by RFC 8445 section 5.1.2.1."""
    lines = []
    for index, (address, port) in enumerate(candidates):
        priority = (126 << 24) | ((65_535 - index) << 8) | (256 - 1)
        lines.append(f"candidate:{index + 1} 1 udp {priority} {address} {port} typ host")
    return lines


@lru_cache(CACHED_FORMATS)
def codec_lines(codecs: tuple[Codec, ...]) -> tuple[str, ...]:
    lines = []
    for codec in codecs:
        encoding = f"{MIME_TYPES[codec.name].partition('/')[2]}/{codec.clock_rate}"
        if codec.channels is not None:
            encoding += f"/{codec.channels}"
        lines.append(f"a=rtpmap:{codec.payload_type} {encoding}")
        lines += [f"a=rtcp-fb:{codec.payload_type} {value}" for value in codec.feedback]
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
        if codec.rtx is not None:
            lines += [f"a=rtpmap:{codec.rtx} rtx/{codec.clock_rate}", f"a=fmtp:{codec.rtx} apt={codec.payload_type}"]
    return tuple(lines)


# Of all payload types of a section (RFC 8888 section 6).
STREAM_FEEDBACK: Final = "ack ccfb"


def stream_feedback_lines() -> list[str]:
    """Feedback by stream, for what we send in a section."""
    return [f"a=rtcp-fb:* {STREAM_FEEDBACK}"]


def formats(codecs: Iterable[Codec]) -> list[str]:
    """Payload types of an m-line."""
    return [str(number) for codec in codecs for number in (codec.payload_type, codec.rtx) if number is not None]


def extension_lines(extensions: Iterable[Extension]) -> list[str]:
    return [
        f"a=extmap:{item.id}{'' if item.direction == 'sendrecv' else '/' + item.direction} {item.uri}"
        for item in extensions
    ]


def sending_lines(sending: Sending, codecs: Sequence[Codec], fec: FecFormats) -> list[str]:
    """MSID (RFC 8830) and SSRCs (RFC 5576) of a track that we send."""
    msid = f"{sending.stream_id} {sending.track_id}"
    lines = [f"a=msid:{msid}"]
    ssrcs = [sending.ssrc]
    if any(codec.rtx is not None for codec in codecs):
        ssrcs.append(sending.rtx_ssrc)
        lines.append(f"a=ssrc-group:FID {sending.ssrc} {sending.rtx_ssrc}")
    if fec.flexfec is not None and sending.fec_ssrc:
        # RFC 5956 section 4.3.
        ssrcs.append(sending.fec_ssrc)
        lines.append(f"a=ssrc-group:FEC-FR {sending.ssrc} {sending.fec_ssrc}")
    for ssrc in ssrcs:
        lines += [f"a=ssrc:{ssrc} cname:{sending.participant_id}", f"a=ssrc:{ssrc} msid:{msid}"]
    return lines


def data_lines(mid: str, protocol: str, local: LocalTransport, setup: str, with_candidates: bool) -> list[str]:
    """The data section (RFC 8841)."""
    lines = media_line("application", protocol, ["webrtc-datachannel"], local)
    lines += transport_lines(local, setup, with_candidates)
    return [*lines, f"a=mid:{mid}", f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{MAX_MESSAGE_SIZE}"]


def text(lines: Iterable[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
