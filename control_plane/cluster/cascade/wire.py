"""Participants, tracks and formats as one node tells another. What comes from there is checked like anything else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from control_plane.encodings import MAX_BACKUPS
from control_plane.errors import InvalidArgumentError
from control_plane.negotiation.codecs import MIME_TYPES
from control_plane.negotiation.model import Codec, Negotiated
from control_plane.rooms import (
    KINDS,
    MAX_LAYERS,
    MAX_NAME,
    Participant,
    Track,
    check_attributes,
    check_metadata,
    check_name,
    is_track_id,
)
from control_plane.subscriptions import AllowedSubscriber, SubscriptionRules
from pysfu.v1 import cascade_pb2, models_pb2, signaling_pb2

MAX_ID: Final = 64
MAX_IDENTITY: Final = 1_024
MAX_TRACKS: Final = 256
MAX_CODECS: Final = 64
MAX_LISTED: Final = 4_096
_NAMES: Final = frozenset(MIME_TYPES) | {"red"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where an encoding is at home: the node's id, its handle there, and the worker that has it."""

    node: str
    handle: int
    worker: int


@dataclass(frozen=True, slots=True)
class RemoteEncoding:
    """One encoding as its home tells it. `source` is None while it is not published."""

    source: Source | None
    codec: str
    told: models_pb2.TrackCodec
    negotiated: Negotiated | None
    active: frozenset[int]


# Towards other nodes.


def participant_bytes(participant: Participant, worker_of: Callable[[int], int]) -> bytes:
    """A serialised `RemoteParticipant`."""
    message = cascade_pb2.RemoteParticipant()
    message.info.CopyFrom(participant.info)
    del message.info.tracks[:]
    if not participant.rules.everyone:
        for entry in participant.rules.allowed:
            message.rules.allowed.add(
                identity=entry.identity,
                participant_id=entry.participant_id,
                all_tracks=entry.all_tracks,
                track_ids=sorted(entry.track_ids),
            )
        message.rules.all = False
        message.rules.SetInParent()
    for track in participant.tracks.values():
        if track.announced:
            _add_track(message, track, worker_of)
    return message.SerializeToString()


def _add_track(message: cascade_pb2.RemoteParticipant, track: Track, worker_of: Callable[[int], int]) -> None:
    item = message.tracks.add()
    item.info.CopyFrom(track.info)
    del item.info.layers[:], item.info.codecs[:]
    item.needed.extend(sorted(track.needed_here | track.needed_elsewhere))
    for encoding in track.encodings:
        told = item.encodings.add(codec=encoding.codec, told=encoding.told)
        negotiated = encoding.negotiated
        if encoding.handle is None or negotiated is None:
            continue
        told.handle, told.worker = encoding.handle, worker_of(encoding.handle)
        told.rids.extend(negotiated.rids)
        if len(track.encodings) > 1:
            told.active.extend(sorted(encoding.active))
        for codec in negotiated.codecs:
            told.codecs.add(
                payload_type=codec.payload_type,
                name=codec.name,
                clock_rate=codec.clock_rate,
                channels=codec.channels or 0,
                fmtp=codec.fmtp,
                rtx=codec.rtx,
                feedback=codec.feedback,
            )


# From other nodes. Each raises InvalidArgumentError.


def check_participant(message: cascade_pb2.RemoteParticipant) -> None:
    info = message.info
    if not 0 < len(info.id) <= MAX_ID or not 0 < len(info.identity) <= MAX_IDENTITY:
        raise InvalidArgumentError("a participant without a proper id and identity")
    check_name(info.name)
    check_metadata(info.metadata)
    check_attributes(dict(info.attributes))
    ids = [track.info.id for track in message.tracks]
    if len(ids) > MAX_TRACKS or len(set(ids)) != len(ids) or not all(is_track_id(one) for one in ids):
        raise InvalidArgumentError("too many tracks, or their ids are none")
    for track in message.tracks:
        if track.info.kind not in KINDS or not 0 < len(track.encodings) <= MAX_BACKUPS + 1:
            raise InvalidArgumentError(f"track {track.info.id} is of no kind or has no encoding")
        check_name(track.info.name)
    if len(message.rules.allowed) > MAX_LISTED:
        raise InvalidArgumentError("too many subscribers are allowed by name")


def rules_of(message: cascade_pb2.RemoteParticipant) -> SubscriptionRules:
    if not message.HasField("rules"):
        return SubscriptionRules()
    return SubscriptionRules(message.rules.all, allowed_of(message.rules.allowed))


def allowed_of(
    entries: Iterable[signaling_pb2.SubscriptionPermission.Allowed],
) -> tuple[AllowedSubscriber, ...]:
    return tuple(
        AllowedSubscriber(item.identity, item.participant_id, item.all_tracks, frozenset(item.track_ids))
        for item in entries
    )


def encoding_of(node: str, kind: str, message: cascade_pb2.RemoteEncoding) -> RemoteEncoding:
    told = message.told
    if max(len(told.mid), len(told.cid), len(message.codec)) > MAX_NAME or len(told.layers) > MAX_LAYERS:
        raise InvalidArgumentError("an encoding with too long a description")
    if message.codec not in _NAMES | {""}:
        raise InvalidArgumentError(f"codec {message.codec[:20]!r} is not known")
    if not message.handle:
        return RemoteEncoding(None, message.codec, told, None, frozenset())
    if not 0 < len(message.codecs) <= MAX_CODECS or len(message.rids) > MAX_LAYERS or len(message.active) > MAX_LAYERS:
        raise InvalidArgumentError("an encoding with too many formats or layers, or none")
    negotiated = Negotiated(
        mid=told.mid,
        kind=kind,
        direction="sendonly",
        codecs=tuple(_codec_of(codec) for codec in message.codecs),
        extensions=(),
        rids=tuple(message.rids),
        ssrcs=(),
    )
    source = Source(node, message.handle, message.worker)
    return RemoteEncoding(source, message.codec, told, negotiated, frozenset(message.active))


def _codec_of(message: cascade_pb2.RemoteCodec) -> Codec:
    rtx = message.rtx if message.HasField("rtx") else None
    if message.name not in _NAMES or message.payload_type > 127 or (rtx or 0) > 127 or len(message.fmtp) > MAX_NAME:
        raise InvalidArgumentError(f"format {message.name[:20]!r} {message.payload_type} is none that is forwarded")
    return Codec(
        payload_type=message.payload_type,
        name=message.name,
        clock_rate=message.clock_rate,
        channels=message.channels or None,
        fmtp=message.fmtp,
        rtx=rtx,
        feedback=tuple(message.feedback[:16]),
    )
