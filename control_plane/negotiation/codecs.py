"""Codecs that the core forwards: which formats are the same, and how payload types translate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from aiortc.sdp import H264_PROFILE_PATTERNS, H264Profile

from control_plane.negotiation.model import Codec, ReceiveOptions

MIME_TYPES: Final[Mapping[str, str]] = {
    "opus": "audio/opus",
    "red": "audio/red",
    "vp8": "video/VP8",
    "vp9": "video/VP9",
    "h264": "video/H264",
    "av1": "video/AV1",
}
_NAMES: Final = {mime.lower(): name for name, mime in MIME_TYPES.items()}
CLOCK_RATES: Final[Mapping[str, int]] = {
    name: 48_000 if mime.startswith("audio") else 90_000 for name, mime in MIME_TYPES.items()
}
# Lists of formats whose answers are remembered: clients with the same software offer the same.
CACHED_ANSWERS: Final = 256

FEEDBACK: Final[Mapping[str, frozenset[str]]] = {
    "audio": frozenset({"transport-cc", "nack"}),
    "video": frozenset({"transport-cc", "goog-remb", "nack", "nack pli", "ccm fir"}),
}

# What a subscriber that negotiated the value can decode besides it: a baseline stream is also a main and a high one
# (H.264 annex A.2).
_H264_DECODES: Final[Mapping[H264Profile, frozenset[H264Profile]]] = {
    H264Profile.PROFILE_BASELINE: frozenset({H264Profile.PROFILE_CONSTRAINED_BASELINE}),
    H264Profile.PROFILE_MAIN: frozenset({H264Profile.PROFILE_CONSTRAINED_BASELINE}),
    H264Profile.PROFILE_CONSTRAINED_HIGH: frozenset({H264Profile.PROFILE_CONSTRAINED_BASELINE}),
    H264Profile.PROFILE_HIGH: frozenset(
        {H264Profile.PROFILE_CONSTRAINED_BASELINE, H264Profile.PROFILE_MAIN, H264Profile.PROFILE_CONSTRAINED_HIGH}
    ),
}


@dataclass(frozen=True, slots=True)
class PayloadMap:
    """How a publisher's payload type reaches a subscriber."""

    source: int
    target: int
    rtx: int | None


def name_of(mime_type: str) -> str | None:
    """The core's name for "audio/opus" and the like; None when it cannot forward that."""
    return _NAMES.get(mime_type.lower())


def parameters(fmtp: str) -> dict[str, str]:
    """`a=1;b=2` as a mapping with lower-case keys."""
    pairs = (item.partition("=") for item in fmtp.split(";"))
    return {key.strip().lower(): value.strip() for key, _, value in pairs if key.strip()}


def is_supported(codec: Codec) -> bool:
    """Whether the core can forward this format: one H.264 packetization, Opus at its one rate."""
    if codec.clock_rate != CLOCK_RATES[codec.name]:
        return False
    if codec.name == "h264":
        # Single-NAL mode (0) has its own payload type in every browser; the default of an absent parameter is 0 too.
        return parameters(codec.fmtp).get("packetization-mode") == "1" and h264_profile(codec.fmtp) is not None
    if codec.name in ("opus", "red"):
        return codec.channels == 2
    return True


def h264_profile(fmtp: str) -> H264Profile | None:
    """The profile by `profile_idc` and `profile_iop` of profile-level-id (RFC 6184 section 8.1, table 5)."""
    # Baseline level 1 is what an absent parameter means.
    text = parameters(fmtp).get("profile-level-id", "42000a")
    try:
        value = int(text, 16)
    except ValueError:
        return None
    if len(text) != 6:
        return None
    idc, iop = value >> 16, value >> 8 & 0xFF
    return next(
        (profile for number, pattern, profile in H264_PROFILE_PATTERNS if number == idc and pattern.matches(iop)), None
    )


def same_format(one: Codec, other: Codec) -> bool:
    """Whether two payload types mean the same bitstream (RFC 6184 section 8.2.2, RFC 9628 section 7.2)."""
    if one.name != other.name:
        return False
    if one.name == "h264":
        return h264_profile(one.fmtp) == h264_profile(other.fmtp)
    if one.name == "vp9":
        return parameters(one.fmtp).get("profile-id", "0") == parameters(other.fmtp).get("profile-id", "0")
    if one.name == "av1":
        return parameters(one.fmtp).get("profile", "0") == parameters(other.fmtp).get("profile", "0")
    return True


def decodes(receiver: Codec, sender: Codec) -> bool:
    """Whether a receiver of one format decodes the other though the two differ."""
    if receiver.name != "h264" or sender.name != "h264":
        return False
    theirs, ours = h264_profile(receiver.fmtp), h264_profile(sender.fmtp)
    return theirs is not None and ours in _H264_DECODES.get(theirs, frozenset())


def payload_map(publisher: Sequence[Codec], subscriber: Sequence[Codec]) -> tuple[PayloadMap, ...]:
    """How each of the publisher's payload types reaches the subscriber; those that cannot are left out.

    RED is not among them: the core takes a publisher's apart, and makes its own for subscribers (see `red_payload`).
    """
    found = []
    for codec in publisher:
        if codec.name == "red":
            continue
        matches = [other for other in subscriber if same_format(codec, other)]
        matches += [other for other in subscriber if decodes(other, codec)]
        if matches:
            found.append(PayloadMap(codec.payload_type, matches[0].payload_type, matches[0].rtx))
    return tuple(found)


def red_payload(subscriber: Sequence[Codec]) -> int | None:
    """The subscriber's payload type for RED (RFC 2198 section 5) whose blocks are its Opus; None without."""
    opus = next((str(codec.payload_type) for codec in subscriber if codec.name == "opus"), None)
    red = (codec for codec in subscriber if codec.name == "red" and set(codec.fmtp.split("/")) == {opus})
    return next((codec.payload_type for codec in red), None)


@lru_cache(CACHED_ANSWERS)
def answer_codecs(kind: str, offered: tuple[Codec, ...], options: ReceiveOptions | None) -> tuple[Codec, ...]:
    """What we answer to a section's formats, in the order of the offer but for RED and `preferred_codec`.

    `options` is None for a section in which the client only receives.
    """
    chosen = []
    for codec in offered:
        if codec.name == "red" and options is not None and not options.red:
            continue
        feedback = tuple(value for value in codec.feedback if value in FEEDBACK[kind])
        fmtp = codec.fmtp
        if codec.name == "opus" and options is not None:
            fmtp = _opus_fmtp(fmtp, options)
        chosen.append(replace(codec, feedback=feedback, fmtp=fmtp))
    # RED without Opus has nothing to carry.
    if not any(codec.name == "opus" for codec in chosen):
        chosen = [codec for codec in chosen if codec.name != "red"]
    if options is not None and kind == "audio":
        # A sender takes the first: redundancy, unless its owner declined it.
        chosen.sort(key=lambda codec: codec.name != "red")
    if options is not None and options.preferred_codec:
        wanted = name_of(options.preferred_codec)
        chosen.sort(key=lambda codec: codec.name != wanted)
    return tuple(chosen)


def _opus_fmtp(offered: str, options: ReceiveOptions) -> str:
    """What we ask of an Opus sender (RFC 7587 section 6.1)."""
    wanted = parameters(offered)
    for name, value in (("stereo", options.stereo), ("usedtx", options.dtx)):
        wanted.pop(name, None)
        if value:
            wanted[name] = "1"
    wanted.pop("sprop-stereo", None)
    return ";".join(f"{key}={value}" if value else key for key, value in wanted.items())


_VIDEO_FEEDBACK: Final = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
_H264: Final = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="

# Payload types of our own offers, the same in every section.
OFFERED: Final[Mapping[str, tuple[Codec, ...]]] = {
    "audio": (
        Codec(111, "opus", 48_000, 2, "minptime=10;useinbandfec=1", feedback=("transport-cc",)),
        Codec(63, "red", 48_000, 2, "111/111", feedback=("transport-cc",)),
    ),
    "video": tuple(
        Codec(payload_type, name, 90_000, None, fmtp, payload_type + 1, _VIDEO_FEEDBACK)
        for payload_type, name, fmtp in (
            (96, "vp8", ""),
            (98, "vp9", "profile-id=0"),
            (100, "vp9", "profile-id=2"),
            (102, "h264", _H264 + "42e01f"),
            (104, "h264", _H264 + "42001f"),
            (106, "h264", _H264 + "4d001f"),
            (108, "h264", _H264 + "64001f"),
            (112, "av1", ""),
        )
    ),
}


def offer_codecs(kind: str, publisher: Sequence[Codec]) -> tuple[Codec, ...]:
    """The formats of ours that carry what this publisher may send, its preferred first; of audio all, Opus first."""
    ours = OFFERED[kind]
    if kind == "audio":
        return ours
    matches = [other for codec in publisher for other in ours if same_format(codec, other) or decodes(other, codec)]
    # `dict` keeps the first of each and the order.
    return tuple(dict.fromkeys(matches))
