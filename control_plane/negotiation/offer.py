"""Offers of the subscriber transport in a split layout: a growing list of sending sections, and one for data."""

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.negotiation import codecs, extensions, fec, write
from control_plane.negotiation.agree import agreement
from control_plane.negotiation.model import (
    NO_FEC,
    Agreement,
    Codec,
    Description,
    LocalTransport,
    Negotiated,
    NegotiationError,
    Sending,
)

DATA_MID = "data"
_PROTOCOL = "UDP/TLS/RTP/SAVPF"


@dataclass(frozen=True, slots=True)
class OfferedSection:
    """A section of our offer. Without `sending` it is inactive, kept for the next track of its kind."""

    mid: str
    kind: str
    sending: Sending | None
    publisher_codecs: tuple[Codec, ...]
    """What the track, or the last one here, may come as."""


def offer(
    sections: Sequence[OfferedSection],
    local: LocalTransport,
    *,
    data: bool,
    session_id: int,
    version: int,
    with_fec: bool = True,
) -> str:
    """The data section comes first, so that it tags the bundle and never moves."""
    mids = [*([DATA_MID] if data else []), *(section.mid for section in sections)]
    lines = write.session_lines(session_id, version, mids, allow_mixed=True)
    if data:
        lines += write.data_lines(DATA_MID, "UDP/DTLS/SCTP", local, "actpass", with_candidates=True)
    for section in sections:
        ours = codecs.offer_codecs(section.kind, section.publisher_codecs)
        parity = fec.offered(section.kind, with_fec)
        lines += write.media_line(section.kind, _PROTOCOL, write.formats(ours) + fec.formats(parity), local)
        lines += write.transport_lines(local, "actpass", section.mid == mids[0])
        lines += [f"a=mid:{section.mid}", f"a={'sendonly' if section.sending else 'inactive'}"]
        lines += ["a=rtcp-mux", "a=rtcp-rsize"]
        lines += write.codec_lines(ours)
        lines += fec.lines(parity)
        # Beside transport-wide feedback: the client takes what it has.
        lines += write.stream_feedback_lines()
        lines += write.extension_lines(extensions.OFFERED[section.kind])
        if section.sending is not None:
            lines += write.sending_lines(section.sending, ours, parity)
    return write.text(lines)


def read_answer(answer: Description, sections: Sequence[OfferedSection], *, data: bool) -> Agreement:
    """What the client settled for. Raises NegotiationError when the sections are not those of the offer."""
    expected = [*([DATA_MID] if data else []), *(section.mid for section in sections)]
    if [section.mid for section in answer.sections] != expected:
        raise NegotiationError("the answer's sections are not those of the offer", attribute="mid")
    negotiated = []
    for section, offered in zip(answer.sections[1 if data else 0 :], sections, strict=True):
        if section.kind != offered.kind:
            raise NegotiationError(f"is {section.kind} in the answer, {offered.kind} in the offer", section=section.mid)
        if section.rejected:
            continue
        ours = {codec.payload_type: codec for codec in codecs.OFFERED[offered.kind]}
        # Payload types are those of our offer; one that is not cannot be used (RFC 3264 section 6.1).
        known = tuple(
            codec
            for codec in section.media.codecs
            if (mine := ours.get(codec.payload_type)) and mine.name == codec.name
        )
        direction = section.direction if section.receives else "inactive"
        parity = fec.settled(section.media.fec) if section.kind == "video" else NO_FEC
        negotiated.append(
            Negotiated(section.mid, section.kind, direction, known, section.media.extensions, (), (), "", parity)
        )
    has_data = data and not answer.sections[0].rejected
    return agreement(negotiated, answer.transport, has_data)
