"""RTP header extensions that we accept, and the ids that we use in our own offers."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from control_plane.negotiation.model import REVERSED, Extension, NegotiationError

MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
TRANSPORT_CC: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

# URI → name in the core's ExtensionIds.
NAMES: Final[Mapping[str, str]] = {
    MID: "mid",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id": "rid",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id": "repaired_rid",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level": "audio_level",
    TRANSPORT_CC: "transport_cc",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time": "abs_send_time",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time": "abs_capture_time",
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension": "dependency_descriptor",
    "urn:3gpp:video-orientation": "video_orientation",
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay": "playout_delay",
}
# Lists of offers that are remembered: clients with the same software offer the same.
CACHED: Final = 256
_URIS: Final = {name: uri for uri, name in NAMES.items()}

# In our own offers. RIDs are left out: we never send simulcast.
OFFERED: Final[Mapping[str, tuple[Extension, ...]]] = {
    "audio": tuple(
        Extension(number, _URIS[name])
        for number, name in (
            (1, "audio_level"),
            (2, "abs_send_time"),
            (3, "transport_cc"),
            (4, "mid"),
            (7, "abs_capture_time"),
        )
    ),
    "video": tuple(
        Extension(number, _URIS[name])
        for number, name in (
            (2, "abs_send_time"),
            (3, "transport_cc"),
            (4, "mid"),
            (5, "playout_delay"),
            (6, "video_orientation"),
            (7, "abs_capture_time"),
            (8, "dependency_descriptor"),
        )
    ),
}


@lru_cache(CACHED)
def accepted(offered: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Those of an offer that we accept, with the direction seen from our side."""
    return tuple(Extension(item.id, item.uri, REVERSED[item.direction]) for item in offered if item.uri in NAMES)


def ids(sections: Iterable[tuple[str, tuple[Extension, ...]]]) -> dict[str, int]:
    """The core's name → id over (MID, extensions) of bundled sections, which must agree (RFC 9143 section 9.3).

    Raises NegotiationError when two sections use one id for two extensions, or two ids for one.
    """
    found: dict[str, int] = {}
    owners: dict[int, str] = {}
    for mid, extensions in sections:
        for extension in extensions:
            name = NAMES.get(extension.uri)
            if name is None:
                continue
            if owners.setdefault(extension.id, name) != name or found.setdefault(name, extension.id) != extension.id:
                reason = f"id {extension.id} of {extension.uri} differs between bundled sections"
                raise NegotiationError(reason, section=mid, attribute="extmap")
    return found
