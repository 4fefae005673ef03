"""The formats in which one track is published: what each is, who can decode it, and what others are told of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from control_plane.demand import EVERYTHING, Highest
from control_plane.negotiation.codecs import MIME_TYPES, OFFERED, name_of, payload_map
from control_plane.negotiation.model import Codec, Negotiated
from pysfu.v1 import models_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.rooms import Track

MAX_BACKUPS: Final = 2
# LiveKit's names of layers, lowest first.
_RID_ORDER: Final = ("q", "h", "f")


@dataclass(eq=False, slots=True)
class Encoding:
    """A track in one format, as one section of its publisher carries it: in the core a track of its own.

    A backup that is declared and not published has neither `cid` nor `handle`.
    """

    track: "Track"
    preferred: str = ""
    """The core's name of the codec that it is to come in, "vp9"; empty: the order of the offer."""
    codec: str = ""
    """In which it comes, as far as is known."""
    told: models_pb2.TrackCodec = field(default_factory=models_pb2.TrackCodec)
    """What others are told of it. Its layers are those announced until some are negotiated."""
    handle: int | None = None
    """The core's; None until negotiated."""
    negotiated: Negotiated | None = None
    wanted: Highest | None = None
    """The highest layers that those who receive it can use, as the core says."""
    awaited: bool = False
    """Somebody here waits for it to flow."""
    awaited_by: set[str] = field(default_factory=set)
    """Other nodes on which somebody does, by their ids, and on which somebody cannot do without it."""
    needed_by: set[str] = field(default_factory=set)
    active: set[int] = field(default_factory=set)
    """Layers that flow."""
    sources: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """SSRC and RTX SSRC by RID, as another node has learned them: the client does not name RIDs any more."""

    @property
    def cid(self) -> str:
        return self.told.cid

    @property
    def is_first(self) -> bool:
        return self.track.encodings[0] is self

    @property
    def demand(self) -> Highest | None:
        """What its publisher is asked to send."""
        return EVERYTHING if (self.awaited or self.awaited_by) and self.wanted is None else self.wanted

    def announced_sources(self, rids: Sequence[str]) -> list[tuple[int, int | None]]:
        """What is known of the layers' SSRCs before their packets come, in the order of `rids`; 0: not known."""
        negotiated = self.negotiated
        if negotiated is None or (rids and not self.sources):
            return []
        if rids:
            return [self.sources.get(rid, (0, None)) for rid in rids]
        return [(item.ssrc, item.rtx) for item in negotiated.ssrcs]

    def negotiate(self, negotiated: Negotiated) -> None:
        """Takes what a negotiation settled."""
        first, before = _first(negotiated), _first(self.negotiated)
        self.negotiated = negotiated
        if first != before:
            self.expect(first)
        self.told.mid = negotiated.mid
        rids = ordered_rids(negotiated.rids, self.told.layers)
        if rids and not self.told.layers:
            self.told.layers.extend(models_pb2.VideoLayer(spatial=index, rid=rid) for index, rid in enumerate(rids))

    def expect(self, codec: str) -> None:
        """It comes in this format."""
        self.codec = codec
        self.told.mime_type = MIME_TYPES.get(codec, "")

    def withdraw(self) -> None:
        """It is not published any more, and may be again."""
        self.handle, self.negotiated, self.wanted = None, None, None
        self.codec = self.preferred
        self.told = models_pb2.TrackCodec(mime_type=self.told.mime_type)
        self.active.clear()

    def is_decoded_by(self, receiver: Sequence[Codec]) -> bool:
        """Whether a receiver of these formats can decode it, once it is published. Senders send their first format."""
        if self.negotiated is None:
            return any(codec.name == self.codec for codec in receiver)
        sent = self.negotiated.codecs
        if self.negotiated.kind == "video":
            sent = tuple(codec for codec in sent if codec.name == self.codec)
        return bool(payload_map(sent, receiver))


def _first(negotiated: Negotiated | None) -> str:
    """The codec that a sender takes."""
    codecs = negotiated.codecs if negotiated is not None else ()
    return next((codec.name for codec in codecs if codec.name != "red"), "")


def declared(request: signaling_pb2.AddTrack) -> Iterator[str]:
    """Names of the backup codecs that the core can forward."""
    names = dict.fromkeys(name for mime in request.backup_codecs if (name := name_of(mime)) is not None)
    names.pop(name_of(request.preferred_codec) or "", None)
    if request.kind == models_pb2.MEDIA_KIND_VIDEO:
        yield from (name for name in list(names)[:MAX_BACKUPS] if MIME_TYPES[name].startswith("video/"))


def added_backup(track: "Track", request: signaling_pb2.AddTrack) -> Encoding | None:
    """The declared backup that a client begins to publish; None when the request is for something else."""
    codec = name_of(request.preferred_codec)
    if request.cid == track.encodings[0].cid or not request.cid:
        return None
    waiting = (encoding for encoding in track.encodings[1:] if encoding.negotiated is None)
    return next((encoding for encoding in waiting if encoding.codec == codec), None)


def announce(encoding: Encoding, cid: str, layers: Iterable[models_pb2.VideoLayer]) -> None:
    """Its section is to come."""
    encoding.told.cid = cid
    del encoding.told.layers[:]
    encoding.told.layers.extend(sorted(layers, key=lambda layer: layer.spatial))


def formats(encodings: Iterable[Encoding]) -> tuple[Codec, ...]:
    """Everything that a track may come as, declared backups included."""
    found: list[Codec] = []
    for encoding in encodings:
        if encoding.negotiated is not None:
            found += encoding.negotiated.codecs
        else:
            found += (codec for codec in OFFERED["video"] if codec.name == encoding.codec)
    return tuple(found)


def ordered_rids(rids: tuple[str, ...], layers: Iterable[models_pb2.VideoLayer]) -> tuple[str, ...]:
    """RIDs from the lowest layer to the highest: as announced, else by LiveKit's names, else as offered."""
    announced = [layer.rid for layer in layers]
    for order in (announced, _RID_ORDER):
        if all(rid in order for rid in rids):
            return tuple(sorted(rids, key=order.index))
    return rids
