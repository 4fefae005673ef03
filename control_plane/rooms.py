"""Rooms, participants and tracks of this node. What others see of them is kept as the messages that tell it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from control_plane import ids
from control_plane.auth import Token
from control_plane.encodings import Encoding, announce, declared, formats
from control_plane.errors import FailedPreconditionError, InvalidArgumentError, LimitExceededError, NotFoundError
from control_plane.negotiation.codecs import name_of
from control_plane.negotiation.model import Codec
from control_plane.subscriptions import SubscriptionRules
from pysfu.v1 import models_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.session import Session

MediaKind = Literal["audio", "video"]

MAX_ROOM_NAME: Final = 256
MAX_NAME: Final = 256
MAX_METADATA_BYTES: Final = 64 * 1024
MAX_ATTRIBUTES: Final = 64
MAX_ATTRIBUTES_BYTES: Final = 64 * 1024
MAX_CID: Final = 256
MAX_LAYERS: Final = 8
DEFAULT_EMPTY_TIMEOUT: Final = 300
DEPARTURE_TIMEOUT: Final = 20
MAX_TIMEOUT: Final = 7 * 24 * 3600
# More versions than a participant has that others have not heard of.
NEWER: Final = 1 << 16

SOURCE_NAMES: Final = {
    models_pb2.TRACK_SOURCE_CAMERA: "camera",
    models_pb2.TRACK_SOURCE_MICROPHONE: "microphone",
    models_pb2.TRACK_SOURCE_SCREEN_SHARE: "screen_share",
    models_pb2.TRACK_SOURCE_SCREEN_SHARE_AUDIO: "screen_share_audio",
}
SOURCES: Final = {name: source for source, name in SOURCE_NAMES.items()}
KINDS: Final[dict[int, MediaKind]] = {models_pb2.MEDIA_KIND_AUDIO: "audio", models_pb2.MEDIA_KIND_VIDEO: "video"}
KIND_VALUES: "Final[dict[str, models_pb2.MediaKind.ValueType]]" = {
    "audio": models_pb2.MEDIA_KIND_AUDIO,
    "video": models_pb2.MEDIA_KIND_VIDEO,
}


@dataclass(eq=False, slots=True)
class Track:
    """A published track. It is announced to others once its section is negotiated."""

    info: models_pb2.Track
    owner: "Participant"
    encodings: list[Encoding] = field(default_factory=list)
    """What it is published in, and behind the first what else it may be: its backup codecs."""
    subscribers: int = 0
    rank: int | None = None
    """Of its owner as a speaker, as the core knows it."""
    muted_by_server: bool = False
    automatic: bool = False
    """No `add_track` announced it."""
    version: int = 0
    """Of what its encodings are."""
    needed_here: set[int] = field(default_factory=set)
    """Backups that somebody on this node cannot do without, and those of other nodes."""
    needed_elsewhere: set[int] = field(default_factory=set)

    @property
    def is_microphone(self) -> bool:
        """One of those of which the loudest are forwarded: a shared screen's sound always is."""
        return self.kind == "audio" and self.info.source != models_pb2.TRACK_SOURCE_SCREEN_SHARE_AUDIO

    @property
    def takes_redundancy(self) -> bool:
        """Former frames may go along with newer ones. Receivers decrypt whole payloads: not of encrypted tracks."""
        return self.kind == "audio" and not self.info.encryption

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def kind(self) -> MediaKind:
        return KINDS[self.info.kind]

    @property
    def first(self) -> Encoding:
        return self.encodings[0]

    @property
    def announced(self) -> bool:
        return self.first.handle is not None

    @property
    def formats(self) -> tuple[Codec, ...]:
        """Everything that it may come as, preferred first."""
        return formats(self.encodings)

    def handles(self) -> list[int]:
        """The core's."""
        return [encoding.handle for encoding in self.encodings if encoding.handle is not None]

    def describe(self) -> None:
        """Puts into what others are told how it is published now."""
        self.version += 1
        info, first = self.info, self.first
        info.mid, info.mime_type = first.told.mid, first.told.mime_type
        info.simulcast = first.negotiated is not None and len(first.negotiated.rids) > 1
        del info.layers[:], info.codecs[:]
        info.layers.extend(first.told.layers)
        info.codecs.extend(encoding.told for encoding in self.encodings if encoding.negotiated is not None)


class Home(Protocol):
    """Where a participant is: its session here, or the node that has it. What a room asks of either."""

    @property
    def ended(self) -> bool: ...
    def leave(
        self, reason: "models_pb2.DisconnectReason.ValueType", message: str = "", can_rejoin: bool = False
    ) -> None:
        """It is to be gone from the room when this returns."""

    def first_subscriber(self, track: Track) -> None:
        """Somebody here subscribes to it, as the first one."""

    def tell_wanted(self, track: Track) -> None:
        """What is of use of the track to those who are here may be new."""

    def release(self, handle: int) -> None:
        """The core need not carry this encoding any more."""


@dataclass(eq=False, slots=True)
class Participant:
    """Someone in a room, for the length of one session."""

    info: models_pb2.Participant
    home: Home
    session: "Session | None" = None
    """None for who is on another node."""
    tracks: dict[str, Track] = field(default_factory=dict)
    rules: SubscriptionRules = field(default_factory=SubscriptionRules)
    _encoded: tuple[int, int, bytes] = (-1, -1, b"")

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def identity(self) -> str:
        return self.info.identity

    @property
    def permission(self) -> models_pb2.Permission:
        return self.info.permission

    @property
    def hidden(self) -> bool:
        return self.info.permission.hidden

    def revise(self) -> None:
        """Something that others see is new. Versions are counted where the participant is."""
        self._encoded = (-1, -1, b"")
        if self.session is not None:
            self.info.version += 1

    def snapshot(self) -> models_pb2.Participant:
        """As others may see it now: with the tracks that are negotiated."""
        del self.info.tracks[:]
        self.info.tracks.extend(track.info for track in self.tracks.values() if track.announced)
        return self.info

    def encoded(self) -> bytes:
        """The snapshot serialised: once for each version, however many are told."""
        version, state, data = self._encoded
        if (version, state) != (self.info.version, self.info.state):
            data = self.snapshot().SerializeToString()
            self._encoded = (self.info.version, self.info.state, data)
        return data

    def track(self, track_id: str) -> Track:
        track = self.tracks.get(track_id)
        if track is None:
            raise NotFoundError(f"participant {self.identity!r} has no track {track_id[:40]!r}")
        return track


@dataclass(eq=False, slots=True)
class Room:
    """A live room. `participants` is by identity."""

    info: models_pb2.Room
    participants: dict[str, Participant] = field(default_factory=dict)
    ended: bool = False
    """It is not on this node any more."""
    finished: bool = False
    """Somebody has ended it, for everyone."""

    @property
    def name(self) -> str:
        return self.info.name

    def snapshot(self) -> models_pb2.Room:
        """Its description with the counts of now."""
        visible = [participant for participant in self.participants.values() if not participant.hidden]
        self.info.num_participants = len(visible)
        self.info.num_publishers = sum(any(t.announced for t in p.tracks.values()) for p in visible)
        return self.info

    @property
    def is_populated(self) -> bool:
        """Somebody is on this node."""
        return any(one.session is not None for one in self.participants.values())

    def sessions(self) -> "list[Session]":
        """Of those who are on this node."""
        return [one.session for one in self.participants.values() if one.session is not None]

    def participant(self, identity: str) -> Participant:
        participant = self.participants.get(identity)
        if participant is None:
            raise NotFoundError(f"room {self.name!r} has no participant {identity[:80]!r}")
        return participant

    def limit(self, node_limit: int) -> int:
        """Participants at most, 0 without one. `node_limit`: of rooms that have none of their own."""
        return self.info.max_participants or node_limit

    def check_capacity(self, joining: str, node_limit: int) -> None:
        """Raises when `joining` would be one too many. Replacing oneself is always possible."""
        limit = self.limit(node_limit)
        if joining not in self.participants and limit and len(self.participants) >= limit:
            raise full(self.name, limit)

    def tracks(self) -> Iterable[Track]:
        """All that are announced."""
        return (t for p in self.participants.values() for t in p.tracks.values() if t.announced)


def full(room: str, limit: int) -> LimitExceededError:
    """What who is one too many is told."""
    return LimitExceededError(f"room {room!r} is full: it holds {limit} participants")


def new_room(name: str, metadata: str = "", max_participants: int = 0, empty_timeout: int | None = None) -> Room:
    """Raises InvalidArgumentError for a bad name or a limit out of range."""
    check_room_name(name)
    check_metadata(metadata)
    timeout = DEFAULT_EMPTY_TIMEOUT if empty_timeout is None else empty_timeout
    if timeout > MAX_TIMEOUT:
        raise InvalidArgumentError(f"empty_timeout_seconds is above {MAX_TIMEOUT}")
    room = models_pb2.Room(id=ids.room_id(), name=name, metadata=metadata)
    room.max_participants = max_participants
    room.empty_timeout_seconds = timeout
    room.created_at.GetCurrentTime()
    return Room(room)


def new_participant(token: Token, join: signaling_pb2.Join, session: "Session") -> Participant:
    """Out of what the token says, and the join where the token is silent or lets the holder change it."""
    if token.grants.can_update_own_metadata:
        name, metadata = join.name or token.name, join.metadata or token.metadata
        attributes = {**token.attributes, **join.attributes}
    else:
        name, metadata = token.name or join.name, token.metadata or join.metadata
        attributes = {**join.attributes, **token.attributes}
    check_name(name)
    check_metadata(metadata)
    check_attributes(attributes)
    info = models_pb2.Participant(id=ids.participant_id(), identity=token.identity, name=name, metadata=metadata)
    info.attributes.update(attributes)
    info.kind = token.kind
    info.version = 1
    info.permission.CopyFrom(permission_of(token))
    info.joined_at.GetCurrentTime()
    return Participant(info, session, session)


def permission_of(token: Token) -> models_pb2.Permission:
    """What the grants allow; unset `can*` are allowed."""
    grants = token.grants
    return models_pb2.Permission(
        can_subscribe=grants.can_subscribe is not False,
        can_publish=grants.can_publish is not False,
        can_publish_data=grants.can_publish_data is not False,
        can_publish_sources=[SOURCES[name] for name in grants.can_publish_sources],
        hidden=grants.hidden,
        recorder=grants.recorder,
        can_update_metadata=grants.can_update_own_metadata is True,
        admin=grants.room_admin,
    )


def new_track(request: signaling_pb2.AddTrack, owner: Participant) -> Track:
    """A track that waits for its section. Raises InvalidArgumentError."""
    check_announced(request)
    if request.kind not in KINDS:
        raise InvalidArgumentError("kind must be audio or video")
    check_name(request.name)
    track_id = request.track_id if is_track_id(request.track_id) else ids.track_id()
    info = models_pb2.Track(id=track_id, kind=request.kind, source=request.source, name=request.name)
    info.muted, info.width, info.height = request.muted, request.width, request.height
    info.backup_codec_policy = request.backup_codec_policy
    info.stereo, info.disable_dtx, info.disable_red = request.stereo, request.disable_dtx, request.disable_red
    info.stream, info.encryption = request.stream[:MAX_NAME], request.encryption[:16]
    info.audio_features.extend(request.audio_features[:16])
    track = Track(info, owner)
    for codec in (name_of(request.preferred_codec) or "", *declared(request)):
        track.encodings.append(Encoding(track, preferred=codec))
        track.encodings[-1].expect(codec)
    announce(track.first, request.cid, request.layers)
    info.layers.extend(track.first.told.layers)
    return track


def automatic_track(kind: MediaKind, cid: str, owner: Participant) -> Track:
    """For a section that no `add_track` announced (WHIP)."""
    taken = {track.info.source for track in owner.tracks.values()}
    first, second = (
        (models_pb2.TRACK_SOURCE_MICROPHONE, models_pb2.TRACK_SOURCE_SCREEN_SHARE_AUDIO)
        if kind == "audio"
        else (models_pb2.TRACK_SOURCE_CAMERA, models_pb2.TRACK_SOURCE_SCREEN_SHARE)
    )
    source = second if first in taken else first
    info = models_pb2.Track(id=ids.track_id(), kind=KIND_VALUES[kind], source=source, disable_dtx=True)
    track = Track(info, owner, automatic=True)
    track.encodings.append(Encoding(track))
    announce(track.first, cid, ())
    return track


def check_announced(request: signaling_pb2.AddTrack) -> None:
    """What any encoding of a track says of itself."""
    if not 0 < len(request.cid) <= MAX_CID:
        raise InvalidArgumentError(f"cid must have 1 to {MAX_CID} characters")
    if len(request.layers) > MAX_LAYERS:
        raise InvalidArgumentError(f"more than {MAX_LAYERS} layers")


def check_may_publish(permission: models_pb2.Permission, source: "models_pb2.TrackSource.ValueType") -> str | None:
    """Why not; None when it is allowed."""
    if not permission.can_publish:
        return "publishing is not allowed"
    if permission.can_publish_sources and source not in permission.can_publish_sources:
        return f"publishing source {SOURCE_NAMES.get(source, 'unspecified')} is not allowed"
    return None


def check_room_name(name: str) -> None:
    if not 0 < len(name) <= MAX_ROOM_NAME:
        raise InvalidArgumentError(f"a room's name must have 1 to {MAX_ROOM_NAME} characters")
    if not name.isprintable():
        raise InvalidArgumentError("a room's name must be printable")


def check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise InvalidArgumentError(f"name is longer than {MAX_NAME} characters")


def check_metadata(metadata: str) -> None:
    if len(metadata.encode()) > MAX_METADATA_BYTES:
        raise InvalidArgumentError(f"metadata is larger than {MAX_METADATA_BYTES} bytes")


def check_attributes(attributes: dict[str, str]) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgumentError(f"more than {MAX_ATTRIBUTES} attributes")
    if sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items()) > MAX_ATTRIBUTES_BYTES:
        raise InvalidArgumentError(f"attributes are larger than {MAX_ATTRIBUTES_BYTES} bytes")


def update_info(
    info: models_pb2.Participant, name: str | None, metadata: str | None, attributes: dict[str, str]
) -> None:
    """Sets what is given and merges attributes, an empty value removing one. All or nothing."""
    merged = {key: value for key, value in {**info.attributes, **attributes}.items() if value}
    check_name(name or "")
    check_metadata(metadata or "")
    check_attributes(merged)
    if name is not None:
        info.name = name
    if metadata is not None:
        info.metadata = metadata
    if attributes:
        info.attributes.clear()
        info.attributes.update(merged)


def check_live(room: Room) -> None:
    if room.ended:
        raise FailedPreconditionError(f"room {room.name!r} has ended")


def is_track_id(text: str) -> bool:
    return text.startswith("TR_") and 3 < len(text) <= 40 and text[3:].isalnum() and text.isascii()
