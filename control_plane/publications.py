"""What one session publishes: what it has announced, and what has its section."""

from typing import TYPE_CHECKING, Final

from control_plane import demand, ids
from control_plane.demand import EVERYTHING
from control_plane.encodings import Encoding, added_backup, announce
from control_plane.errors import LimitExceededError, PermissionDeniedError
from control_plane.negotiation.model import Negotiated
from control_plane.rooms import Track, check_announced, check_may_publish, new_track
from pysfu.v1 import signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

if TYPE_CHECKING:
    from control_plane.session import Session

MAX_PENDING: Final = 64


class Publications:
    """Of one session."""

    def __init__(self, session: "Session") -> None:
        self.pending: dict[str, Encoding] = {}
        """What waits for its section, by the client's id."""
        self._session = session

    def add(self, request: signaling_pb2.AddTrack, request_id: int) -> None:
        """Takes a track, or a backup codec of one. What is known already is told again. Raises ControlError."""
        session = self._session
        refusal = check_may_publish(session.participant.permission, request.source)
        if refusal is not None:
            raise PermissionDeniedError(refusal)
        known = session.participant.tracks.get(request.track_id)
        waiting = self.pending.get(request.cid)
        encoding = None
        if waiting is not None:
            known = waiting.track
        else:
            encoding = self._new_track(request) if known is None else self._new_backup(known, request)
        track = encoding.track if encoding is not None else known
        published = signaling_pb2.TrackPublished(cid=request.cid, track=track.info if track is not None else None)
        session.emit(SessionResponse(request_id=request_id, track_published=published))
        if encoding is not None and not session.publisher.claim_late(encoding):
            self.pending[encoding.cid] = encoding

    def find(self, track_id: str) -> Track:
        """One's own, also while it waits. Raises NotFoundError."""
        pending = (encoding.track for encoding in self.pending.values() if encoding.track.id == track_id)
        return next(pending, None) or self._session.participant.track(track_id)

    def publish(self, encoding: Encoding, handle: int) -> None:
        """It has its section: from now on others may know it."""
        track, former = encoding.track, encoding.handle
        encoding.handle, encoding.wanted = handle, EVERYTHING
        self.pending.pop(encoding.cid, None)
        if former is not None:
            self._session.room.rehomed(encoding, former)
            return
        if track.automatic:
            published = signaling_pb2.TrackPublished(cid=encoding.cid, track=track.info)
            self._session.emit(SessionResponse(track_published=published))
        self._session.participant.tracks[track.id] = track
        self._session.room.published(encoding)

    def renegotiate(self, encoding: Encoding, negotiated: Negotiated) -> None:
        """Its section was negotiated again."""
        self._session.room.renegotiated(encoding, negotiated)

    def end(self, encoding: Encoding) -> None:
        """Its section carries it no more. With its first encoding a track ends."""
        if encoding.is_first:
            self.remove(encoding.track)
        elif encoding.handle is not None:
            self._session.room.withdrawn(encoding)

    def remove(self, track: Track, *, tell_owner: bool = True) -> None:
        """It is not published any more, and does not wait any more."""
        session = self._session
        session.publisher.unpublished(track)
        self.pending = {cid: encoding for cid, encoding in self.pending.items() if encoding.track is not track}
        if session.participant.tracks.pop(track.id, None) is not None:
            session.room.unpublished(track)
        if tell_owner:
            session.emit(SessionResponse(track_unpublished=signaling_pb2.TrackUnpublished(track_id=track.id)))

    def mute(self, track: Track, muted: bool, *, by_server: bool = False) -> None:
        """A client stops sending by itself; what the server has muted is dropped until it is unmuted."""
        session = self._session
        if by_server or (track.muted_by_server and not muted):
            track.muted_by_server = muted
            session.room.set_muted(track, muted)
        if by_server:
            changed = signaling_pb2.MuteChanged(track_id=track.id, muted=muted)
            session.emit(SessionResponse(mute_changed=changed))
        if track.info.muted != muted:
            track.info.muted = muted
            if track.announced:
                session.room.changed(session.participant)

    def tell_wanted(self, track: Track) -> None:
        """Tells the client which layers of its track anybody can use."""
        backups = [(encoding.told, encoding.demand) for encoding in track.encodings[1:]]
        wanted = demand.layers_wanted(track.info, track.first.demand, backups)
        self._session.emit(SessionResponse(layers_wanted=wanted))

    def _new_track(self, request: signaling_pb2.AddTrack) -> Encoding:
        self._check_room()
        track = new_track(request, self._session.participant)
        if self._session.room.track(track.id) is not None:
            track.info.id = ids.track_id()
        return track.first

    def _new_backup(self, track: Track, request: signaling_pb2.AddTrack) -> Encoding | None:
        encoding = added_backup(track, request)
        if encoding is not None:
            self._check_room()
            check_announced(request)
            self.pending = {cid: other for cid, other in self.pending.items() if other is not encoding}
            announce(encoding, request.cid, request.layers)
        return encoding

    def _check_room(self) -> None:
        if len(self.pending) >= MAX_PENDING:
            raise LimitExceededError(f"more than {MAX_PENDING} tracks wait for their section")
