"""Plain values of a negotiation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from control_plane.errors import InvalidArgumentError

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

REVERSED: Final[Mapping[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class NegotiationError(InvalidArgumentError):
    """A session description cannot be used."""

    def __init__(self, reason: str, *, section: str | None = None, attribute: str | None = None) -> None:
        self.reason = reason
        self.section = section
        self.attribute = attribute
        where = [f"section {section}"] if section is not None else []
        where += [f"a={attribute}"] if attribute is not None else []
        super().__init__(": ".join(["session description", *([", ".join(where)] if where else []), reason]))


@dataclass(frozen=True, slots=True)
class IceCredentials:
    ufrag: str
    pwd: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type of a section that the core can forward."""

    payload_type: int
    name: str
    """As the core calls it: "opus", "red", "vp8", "vp9", "h264" or "av1"."""
    clock_rate: int
    channels: int | None = None
    fmtp: str = ""
    rtx: int | None = None
    """Payload type of its retransmission format (RFC 4588)."""
    feedback: tuple[str, ...] = ()
    """Values of `a=rtcp-fb` (RFC 4585), as "nack pli"."""


@dataclass(frozen=True, slots=True)
class Extension:
    """RTP header extension (RFC 8285)."""

    id: int
    uri: str
    direction: Direction = "sendrecv"


@dataclass(frozen=True, slots=True)
class AnnouncedSsrc:
    ssrc: int
    rtx: int | None = None


@dataclass(frozen=True, slots=True)
class FecFormats:
    """Payload types of forward error correction in a section of video; ULPFEC comes in RED alone."""

    flexfec: int | None = None
    red: int | None = None
    red_rtx: int | None = None
    """Of the retransmissions of what came in RED."""
    ulpfec: int | None = None


NO_FEC: Final = FecFormats()

Parity = Literal["off", "flexfec", "any"]


@dataclass(frozen=True, slots=True)
class FecPolicy:
    """Which parity of video is negotiated."""

    send: bool = True
    """Towards subscribers: whatever they take."""
    take: Parity = "any"
    """From publishers: none, FlexFEC alone, or FlexFEC and, of those who do not offer it, ULPFEC."""


USUAL_FEC: Final = FecPolicy()


@dataclass(frozen=True, slots=True)
class Media:
    """What an audio or video section says of RTP. `codecs` are those that the core can forward, in the order given."""

    codecs: tuple[Codec, ...] = ()
    extensions: tuple[Extension, ...] = ()
    ssrcs: tuple[AnnouncedSsrc, ...] = ()
    fec: FecFormats = NO_FEC
    send_rids: tuple[str, ...] = ()
    """RIDs that its writer sends, in the order of `a=simulcast` (RFC 8853)."""
    msid_track: str = ""
    msid_stream: str = ""


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """ICE and DTLS of a section."""

    ice: IceCredentials | None = None
    fingerprints: tuple[bytes, ...] = ()
    """SHA-256 digests, 32 bytes each."""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section. `direction` is its writer's."""

    index: int
    kind: str
    mid: str
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    rejected: bool
    transport: TransportParameters
    media: Media = Media()
    sctp_port: int = 0
    max_message_size: int = 65_536
    """RFC 8841 section 6.1: 64 KiB when absent; 0 is unlimited."""

    @property
    def sends(self) -> bool:
        return not self.rejected and self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        return not self.rejected and self.direction in ("sendrecv", "recvonly")

    @property
    def is_media(self) -> bool:
        return self.kind in ("audio", "video")


@dataclass(frozen=True, slots=True)
class Description:
    """A parsed and validated session description. `transport` is that of the section that the bundle is tagged with."""

    sections: tuple[Section, ...]
    bundle: tuple[str, ...]
    transport: TransportParameters
    extmap_allow_mixed: bool

    def section(self, mid: str) -> Section | None:
        return next((section for section in self.sections if section.mid == mid), None)


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our side of a transport."""

    ice: IceCredentials
    fingerprint: str
    """SHA-256, as `AB:CD:…`."""
    candidates: tuple[tuple[str, int], ...]
    """(address, UDP port), preferred first."""
    begins: bool = False
    """We are the DTLS client: our answers say `a=setup:active`."""

    @property
    def answering(self) -> str:
        """`a=setup` of our answers."""
        return "active" if self.begins else "passive"


@dataclass(frozen=True, slots=True)
class Sending:
    """A track that we send in a section, or may later."""

    participant_id: str
    track_id: str
    ssrc: int
    rtx_ssrc: int
    fec_ssrc: int = 0
    """Of FlexFEC; 0: none."""

    @property
    def stream_id(self) -> str:
        # Native SDKs split it at its only `|`.
        return f"{self.participant_id}|{self.track_id}"


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """How a track that the client sends is to be encoded."""

    preferred_codec: str = ""
    """MIME type, "video/VP9"; empty: the order of the offer."""
    stereo: bool = False
    dtx: bool = False
    red: bool = True


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """What to do with a section of the client's offer. `accept` is whether we take what it sends."""

    accept: bool = True
    receive: ReceiveOptions = ReceiveOptions()
    send: Sending | None = None


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed for one audio or video section."""

    mid: str
    kind: str
    direction: Direction
    """The client's."""
    codecs: tuple[Codec, ...]
    extensions: tuple[Extension, ...]
    rids: tuple[str, ...]
    """RIDs that the client sends, in its order."""
    ssrcs: tuple[AnnouncedSsrc, ...]
    """Announced by the client."""
    msid_track: str = ""
    fec: FecFormats = NO_FEC


@dataclass(frozen=True, slots=True)
class Agreement:
    """A finished negotiation, and what the core has to know of it."""

    sections: Mapping[str, Negotiated]
    """By MID."""
    remote: TransportParameters
    extension_ids: Mapping[str, int]
    """By the core's field names."""
    transport_cc: bool
    remb: bool
    data: bool
    """A data section is part of it."""
