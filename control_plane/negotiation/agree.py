"""What both sides agreed, out of the sections that each accepted."""

from collections.abc import Iterable, Sequence

from control_plane.negotiation import extensions
from control_plane.negotiation.model import Agreement, Negotiated, TransportParameters


def agreement(sections: Sequence[Negotiated], remote: TransportParameters, data: bool) -> Agreement:
    """Raises NegotiationError when bundled sections contradict each other."""
    transport_cc = any(
        any(item.uri == extensions.TRANSPORT_CC for item in section.extensions) and _feedback(section, "transport-cc")
        for section in sections
    )
    return Agreement(
        sections={section.mid: section for section in sections},
        remote=remote,
        extension_ids=extensions.ids((section.mid, section.extensions) for section in sections),
        transport_cc=transport_cc,
        # The transport-wide estimate is the better one where both were negotiated.
        remb=not transport_cc and any(_feedback(section, "goog-remb") for section in sections),
        data=data,
    )


def _feedback(section: Negotiated, value: str) -> bool:
    return any(value in codec.feedback for codec in section.codecs)


def bundled(order: Iterable[str], accepted: Iterable[str]) -> list[str]:
    """The accepted ones of a BUNDLE group, in its order."""
    kept = set(accepted)
    return [mid for mid in order if mid in kept]
