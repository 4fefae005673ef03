"""Answers a client's offer (RFC 9429 section 5.3.1) as an ICE-lite end, DTLS-passive unless the transport says else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.negotiation import codecs, extensions, fec, write
from control_plane.negotiation.agree import agreement, bundled
from control_plane.negotiation.model import (
    NO_FEC,
    REVERSED,
    USUAL_FEC,
    Agreement,
    Codec,
    Description,
    Direction,
    FecFormats,
    FecPolicy,
    LocalTransport,
    Negotiated,
    NegotiationError,
    Section,
    SectionPlan,
)

_DATA_FORMAT: Final = ("webrtc-datachannel",)
_NO_PLAN: Final = SectionPlan()


@dataclass(frozen=True, slots=True)
class Answer:
    sdp: str
    agreement: Agreement


def answer(
    offer: Description,
    local: LocalTransport,
    plans: Mapping[str, SectionPlan],
    *,
    session_id: int,
    version: int,
    fec_policy: FecPolicy = USUAL_FEC,
) -> Answer:
    """The answer, and what it settles.

    `plans` says per MID what to take and what to send; a section without one is taken as it is. Sections keep
    their order and MID; what we cannot serve is rejected with port 0. Raises NegotiationError when nothing is left.
    """
    accepted = [section.mid for section in offer.sections if _usable(section)]
    bundle = bundled(offer.bundle, accepted)
    if not bundle:
        raise NegotiationError("no section has a format that is supported here")
    lines = write.session_lines(session_id, version, bundle, offer.extmap_allow_mixed)
    negotiated = []
    data = False
    sends = any(section.sends for section in offer.sections if section.is_media)
    for section in offer.sections:
        tagged = section.mid == bundle[0]
        if section.mid not in bundle:
            lines += _rejected(section)
        elif section.is_media:
            plan = plans.get(section.mid, _NO_PLAN)
            result = _negotiate(section, plan, fec_policy)
            negotiated.append(result)
            lines += _media(section, plan, result, local, tagged)
            if not sends and _wants_stream_feedback(section, result):
                lines += write.stream_feedback_lines()
        else:
            data = True
            lines += write.data_lines(section.mid, section.protocol, local, local.answering, tagged)
    # The offerer's tag may sit in a section that we reject; then ours is the next one's (RFC 9143 section 7.3.1).
    remote = next(section.transport for section in offer.sections if section.mid == bundle[0])
    if remote.ice is None or not remote.fingerprints:
        remote = offer.transport
    return Answer(write.text(lines), agreement(negotiated, remote, data))


def _usable(section: Section) -> bool:
    if section.rejected:
        return False
    if section.is_media:
        return bool(codecs.answer_codecs(section.kind, section.media.codecs, None))
    return section.kind == "application" and section.formats == _DATA_FORMAT and section.sctp_port > 0


def _rejected(section: Section) -> list[str]:
    lines = [f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}", "c=IN IP4 0.0.0.0"]
    return [*lines, f"a=mid:{section.mid}", "a=inactive"]


def _negotiate(section: Section, plan: SectionPlan, fec_policy: FecPolicy) -> Negotiated:
    receives = section.sends and plan.accept
    sends = section.receives and plan.send is not None
    accepted = _codecs(section, plan)
    ours: Direction = ("sendrecv" if sends else "recvonly") if receives else ("sendonly" if sends else "inactive")
    return Negotiated(
        mid=section.mid,
        kind=section.kind,
        direction=REVERSED[ours],
        codecs=accepted,
        extensions=extensions.accepted(section.media.extensions),
        rids=section.media.send_rids if receives else (),
        ssrcs=section.media.ssrcs if receives else (),
        msid_track=section.media.msid_track,
        fec=_parity(section, fec_policy, accepted[0].name if receives else None),
    )


def _parity(section: Section, policy: FecPolicy, published: str | None) -> FecFormats:
    """`published`: the codec of what the client sends, None when it sends nothing."""
    if published is not None:
        return fec.published(section.media.fec, policy.take, published)
    return section.media.fec if policy.send else NO_FEC


def _codecs(section: Section, plan: SectionPlan) -> tuple[Codec, ...]:
    # An Opus sender looks at our format parameters, a receiver at its own: only what it sends is shaped.
    options = plan.receive if section.sends and plan.accept else None
    return codecs.answer_codecs(section.kind, section.media.codecs, options)


def _wants_stream_feedback(section: Section, result: Negotiated) -> bool:
    """RFC 8888 where it is offered alone. Not where the client sends as well: publishers get transport-wide feedback
    from us, and one transport has one kind (RFC 8888 section 6)."""
    offered = any(write.STREAM_FEEDBACK in codec.feedback for codec in section.media.codecs)
    return offered and not any("transport-cc" in codec.feedback for codec in result.codecs)


def _media(section: Section, plan: SectionPlan, result: Negotiated, local: LocalTransport, tagged: bool) -> list[str]:
    ours = REVERSED[result.direction]
    formats = write.formats(result.codecs) + fec.formats(result.fec)
    lines = write.media_line(section.kind, section.protocol, formats, local)
    lines += write.transport_lines(local, local.answering, tagged)
    lines += [f"a=mid:{section.mid}", f"a={ours}", "a=rtcp-mux", "a=rtcp-rsize"]
    lines += write.codec_lines(result.codecs)
    lines += fec.lines(result.fec)
    lines += write.extension_lines(result.extensions)
    if plan.send is not None and ours in ("sendrecv", "sendonly"):
        lines += write.sending_lines(plan.send, result.codecs, result.fec)
    if result.rids:
        # RFC 8853 section 5.3.2: the answer mirrors what it takes.
        lines += [f"a=rid:{rid} recv" for rid in result.rids]
        lines.append(f"a=simulcast:recv {';'.join(result.rids)}")
    return lines
