"""Who is in a room on other nodes: told by them, shown here like anybody else."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

import structlog

from control_plane.cluster.cascade import wire
from control_plane.cluster.cascade.mirrors import Mirrors
from control_plane.demand import EVERYTHING
from control_plane.encodings import Encoding
from control_plane.errors import InvalidArgumentError
from control_plane.live_room import LiveRoom
from control_plane.rooms import NEWER, Participant, Track
from control_plane.session import Session
from control_plane.speakers import QUIET, Voice
from pysfu.v1 import cascade_pb2, models_pb2, signaling_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage
from pysfu.v1.signaling_pb2 import SessionResponse

log = structlog.get_logger(__name__)

# Of one room on one other node. More than any room has; a node that tells of more is not believed.
MAX_PARTICIPANTS: Final = 100_000

Say = Callable[[str, CascadeMessage], None]
"""Says something to a node, if it can be reached."""


class RemoteHome:
    """The node that a participant is on."""

    def __init__(self, node: str, room: "RemoteRoom") -> None:
        self.node = node
        self.ended = False
        self.participant: Participant
        self._room = room
        self._wishes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        """By track id: encodings that are awaited here, and backups that are needed here."""

    def leave(
        self, reason: "models_pb2.DisconnectReason.ValueType", message: str = "", can_rejoin: bool = False
    ) -> None:
        """Is gone here at once, and soon there."""
        self._room.dismiss(self.participant, self.node, reason, message)

    def first_subscriber(self, track: Track) -> None:
        told = cascade_pb2.RemoteSubscribed(room=self._room.name, track_id=track.id)
        self._room.say(self.node, CascadeMessage(subscribed=told))

    def tell_wanted(self, track: Track) -> None:
        awaited = tuple(index for index, encoding in enumerate(track.encodings) if encoding.awaited)
        wishes = awaited, tuple(sorted(track.needed_here))
        if wishes != self._wishes.get(track.id, ((), ())):
            self._wishes[track.id] = wishes
            self._tell_wishes(track.id)

    def tell_again(self) -> None:
        """What a new stream is to know."""
        for track in self.participant.tracks.values():
            if track.subscribers:
                self.first_subscriber(track)
            if track.id in self._wishes:
                self._tell_wishes(track.id)

    def forget(self, track: Track) -> None:
        self._wishes.pop(track.id, None)

    def release(self, handle: int) -> None:
        self._room.mirrors.release(handle)

    def _tell_wishes(self, track_id: str) -> None:
        awaited, needed = self._wishes[track_id]
        told = cascade_pb2.RemoteAwaited(room=self._room.name, track_id=track_id, encodings=awaited, needed=needed)
        self._room.say(self.node, CascadeMessage(awaited=told))


class RemoteRoom:
    """Of one room that is live here. Of those with one identity the newest is shown."""

    def __init__(self, live: LiveRoom, mirrors: Mirrors, say: Say) -> None:
        self.live: Final = live
        self.name: Final = live.name
        self.mirrors: Final = mirrors
        self.say: Final = say
        self._known: dict[str, dict[str, cascade_pb2.RemoteParticipant]] = {}
        """By node and participant id."""
        self._by_identity: dict[str, set[tuple[str, str]]] = {}
        """(node, participant id) of all that have it."""
        self._unconfirmed: dict[str, set[str]] = {}
        """Of a node whose snapshot comes: who is not part of it so far."""
        self._dismissed: dict[str, set[str]] = {}
        """Told to leave and heard of since, by node."""
        self._shown: dict[str, tuple[str, cascade_pb2.RemoteParticipant]] = {}
        """By participant id: the node, and what is shown of it."""
        self._told: dict[Encoding, wire.RemoteEncoding] = {}
        """Of encodings that are published at home."""
        self._moving: dict[Encoding, wire.Source | None] = {}
        """Of encodings whose participant has moved: where they come from until they come from there; None: here."""

    # What other nodes tell.

    def receive(self, node: str, message: cascade_pb2.RemoteRoom) -> None:
        """A piece of a snapshot, or changes."""
        if message.begins:
            self._unconfirmed[node] = set(self._known.get(node, ()))
        for gone in message.gone:
            self._remove(node, gone.participant_id, gone.reason)
        for participant in message.participants:
            try:
                wire.check_participant(participant)
                self._put(node, participant)
            except InvalidArgumentError as error:
                log.warning("a participant of another node is refused", node=node, room=self.name, reason=str(error))
        if message.completes:
            for participant_id in self._unconfirmed.pop(node, ()):
                self._remove(node, participant_id, models_pb2.DISCONNECT_REASON_UNSPECIFIED)

    def forget(self, node: str) -> None:
        """The room is not there any more, or the node is dead."""
        for participant_id in list(self._known.get(node, ())):
            self._remove(node, participant_id, models_pb2.DISCONNECT_REASON_UNSPECIFIED)
        self._known.pop(node, None)
        self._unconfirmed.pop(node, None)
        self._dismissed.pop(node, None)
        # Of those who are here by now, and have not offered yet: what comes from there ends with its links, and who
        # receives it is to know that before it is given to them from here.
        for encoding in [one for one, told in self._told.items() if told.source and told.source.node == node]:
            self._end_encoding(encoding)
        # Nor does what has moved from there, and does not come from elsewhere yet.
        for encoding in [one for one, former in self._moving.items() if former and former.node == node]:
            self._end_move(encoding)
            self._withdraw(encoding)

    def voices(self, node: str, speakers: Iterable[models_pb2.Speaker]) -> None:
        heard = {
            one.participant_id: Voice(min(max(one.level, 0.0), 1.0), one.active) if one.active else QUIET
            for one in speakers
            if self._is_seen(node, one.participant_id)
        }
        self.live.voices.told_elsewhere(heard)

    def hush(self, node: str) -> None:
        """Nothing is heard of that node: nobody there speaks, as far as is known."""
        self.live.voices.told_elsewhere(dict.fromkeys(self._known.get(node, ()), QUIET))

    def qualities(self, node: str, updates: Iterable[signaling_pb2.ConnectionQualities.Update]) -> None:
        told = {update.participant_id: update for update in updates if self._is_seen(node, update.participant_id)}
        self.live.qualities_elsewhere.update(told)
        if told:
            message = signaling_pb2.ConnectionQualities(updates=told.values())
            self.live.broadcast(SessionResponse(connection_qualities=message))

    def knows(self, node: str, participant_id: str) -> bool:
        return participant_id in self._known.get(node, ())

    def tell_again(self, node: str) -> None:
        """A stream to that node is new."""
        for participant_id, (home, _) in self._shown.items():
            participant = self._participant(participant_id)
            if home == node and participant is not None and isinstance(participant.home, RemoteHome):
                participant.home.tell_again()

    # What happens here.

    def left(self, participant: Participant) -> None:
        """Somebody here has left: who had that identity elsewhere is seen again."""
        for encoding in [one for one in self._told if one.track.owner is participant]:
            self.came_home(encoding)
        self._settle(participant.identity)

    def adopted(self, participant: Participant) -> None:
        """Who was elsewhere is here now. What it publishes comes from there until it comes from its client."""
        self._shown.pop(participant.id, None)

    def came_home(self, encoding: Encoding) -> None:
        """It comes from its client now."""
        told = self._told.pop(encoding, None)
        if told is not None and told.source is not None:
            self.mirrors.forget(told.source)
        self._end_move(encoding)

    def has_receivers(self, node: str, ids: Collection[str], identities: Collection[str]) -> bool:
        """Whether a message to those named, or to everyone, concerns anybody there."""
        known = self._known.get(node, {})
        if not ids and not identities:
            return bool(known)
        named = ((there, one) for identity in identities for there, one in self._by_identity.get(identity, ()))
        return any(one in known for one in ids) or any(there == node for there, _ in named)

    def dismiss(
        self, participant: Participant, node: str, reason: "models_pb2.DisconnectReason.ValueType", message: str
    ) -> None:
        """It is to leave there, and is not shown here any more."""
        self._dismissed.setdefault(node, set()).add(participant.id)
        self._tell_dismissed(node, participant.id, reason, message)
        self._remove(node, participant.id, reason)

    def close(self) -> None:
        """The room is not live here any more."""
        for participant_id in list(self._shown):
            self._hide(participant_id, models_pb2.DISCONNECT_REASON_ROOM_ENDED)
        self._told.clear()

    # Who is shown.

    def _put(self, node: str, told: cascade_pb2.RemoteParticipant) -> None:
        info = told.info
        if info.id in self._dismissed.get(node, ()):
            # It was told before it heard, or the stream broke in between.
            self._tell_dismissed(node, info.id, models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY, "")
            return
        known = self._known.setdefault(node, {})
        former = known.get(info.id)
        if former is None and len(known) >= MAX_PARTICIPANTS:
            raise InvalidArgumentError("too many participants")
        if former is not None and former.info.identity != info.identity:
            raise InvalidArgumentError("a participant with another identity than before")
        known[info.id] = told
        self._by_identity.setdefault(info.identity, set()).add((node, info.id))
        self._unconfirmed.get(node, set()).discard(info.id)
        self._settle(info.identity)

    def _remove(self, node: str, participant_id: str, reason: "models_pb2.DisconnectReason.ValueType") -> None:
        self._unconfirmed.get(node, set()).discard(participant_id)
        told = self._known.get(node, {}).pop(participant_id, None)
        if told is None:
            self._dismissed.get(node, set()).discard(participant_id)
            return
        same = self._by_identity[told.info.identity]
        same.discard((node, participant_id))
        if not same:
            del self._by_identity[told.info.identity]
        self._settle(told.info.identity, reason)

    def _settle(
        self, identity: str, reason: "models_pb2.DisconnectReason.ValueType" = models_pb2.DISCONNECT_REASON_UNSPECIFIED
    ) -> None:
        """Shows the newest of an identity, here or elsewhere."""
        candidates = [(node, self._known[node][one]) for node, one in self._by_identity.get(identity, ())]
        best = max(candidates, key=lambda item: (_newness(item[1].info), item[0]), default=None)
        shown = self.live.room.participants.get(identity)
        if shown is not None and shown.session is not None:
            if best is not None and best[1].info.id == shown.id and _has_taken(shown.session, *best):
                self._hand_over(shown.session, *best)
                return
            if best is None or best[1].info.id == shown.id or _newness(best[1].info) < _newness(shown.info):
                return
            shown.session.leave(
                models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY, "the same identity joined on another node"
            )
            # Which has settled it again.
            return
        if shown is not None and (best is None or best[1].info.id != shown.id):
            self._hide(shown.id, reason)
        if best is not None:
            self._show(*best)

    def _show(self, node: str, told: cascade_pb2.RemoteParticipant) -> None:
        before = self._shown.get(told.info.id)
        self._shown[told.info.id] = (node, told)
        participant = self._participant(told.info.id)
        if before is None or participant is None:
            participant = self._appear(node, told)
        elif before != (node, told):
            home = participant.home
            if isinstance(home, RemoteHome):
                home.node = node
            version = participant.info.version
            participant.info.CopyFrom(told.info)
            participant.info.version = max(version, told.info.version)
            rules = wire.rules_of(told)
            if participant.rules != rules:
                participant.rules = rules
                self.live.permissions_changed(participant)
            self.live.changed(participant)
        else:
            return
        self._bring_tracks(participant, node, told)

    def _appear(self, node: str, told: cascade_pb2.RemoteParticipant) -> Participant:
        info = models_pb2.Participant()
        info.CopyFrom(told.info)
        home = RemoteHome(node, self)
        participant = home.participant = Participant(info, home, rules=wire.rules_of(told))
        self.live.join(participant)
        return participant

    def _hand_over(self, session: Session, node: str, told: cascade_pb2.RemoteParticipant) -> None:
        """That node has taken the session: what it tells of the participant counts, and nobody notices."""
        info = models_pb2.Participant()
        info.CopyFrom(told.info)
        home, before = RemoteHome(node, self), session.participant
        participant = home.participant = Participant(info, home, tracks=before.tracks, rules=wire.rules_of(told))
        for track in participant.tracks.values():
            track.owner = participant
            here = (one for one in track.encodings if one.handle is not None and one not in self._told)
            self._moving.update((encoding, None) for encoding in here)
        self._shown[info.id] = (node, told)
        self.live.adopt(participant)
        self._bring_tracks(participant, node, told)
        session.hand_over()

    def _hide(self, participant_id: str, reason: "models_pb2.DisconnectReason.ValueType") -> None:
        participant = self._participant(participant_id)
        self._shown.pop(participant_id, None)
        if participant is None or not isinstance(participant.home, RemoteHome):
            return
        participant.home.ended = True
        for track in list(participant.tracks.values()):
            self._end_track(participant, track)
        self.live.leave(participant, reason)

    def _participant(self, participant_id: str) -> Participant | None:
        shown = self._shown.get(participant_id)
        found = self.live.room.participants.get(shown[1].info.identity) if shown is not None else None
        return found if found is not None and found.id == participant_id else None

    def _is_seen(self, node: str, participant_id: str) -> bool:
        """It is shown as that node's, and not hidden."""
        home, told = self._shown.get(participant_id, ("", None))
        return home == node and told is not None and not told.info.permission.hidden

    def _tell_dismissed(
        self, node: str, participant_id: str, reason: "models_pb2.DisconnectReason.ValueType", message: str
    ) -> None:
        dismissal = cascade_pb2.RemoteDismissal(
            room=self.name, participant_id=participant_id, reason=reason, message=message
        )
        self.say(node, CascadeMessage(dismissal=dismissal))

    # Tracks.

    def _bring_tracks(self, participant: Participant, node: str, told: cascade_pb2.RemoteParticipant) -> None:
        ids = {item.info.id for item in told.tracks}
        for track in list(participant.tracks.values()):
            if track.id not in ids:
                self._end_track(participant, track)
        for item in told.tracks:
            try:
                self._bring_track(participant, node, item)
            except InvalidArgumentError as error:
                log.warning("a track of another node is refused", node=node, track=item.info.id, reason=str(error))

    def _bring_track(self, participant: Participant, node: str, item: cascade_pb2.RemoteTrack) -> None:
        kind = "audio" if item.info.kind == models_pb2.MEDIA_KIND_AUDIO else "video"
        encodings = [wire.encoding_of(node, kind, encoding) for encoding in item.encodings]
        track = participant.tracks.get(item.info.id)
        if track is None:
            known = self.live.track(item.info.id)
            if known is not None:
                raise InvalidArgumentError("its id is that of a track of somebody else")
            info = models_pb2.Track()
            info.CopyFrom(item.info)
            track = participant.tracks[info.id] = Track(info, participant)
        elif track.info.kind != item.info.kind or len(encodings) < len(track.encodings):
            raise InvalidArgumentError("it is of another kind than before, or has fewer encodings")
        else:
            track.info.CopyFrom(item.info)
        while len(track.encodings) < len(encodings):
            track.encodings.append(Encoding(track))
        for encoding, remote in zip(track.encodings, encodings, strict=True):
            self._bring_encoding(encoding, remote)
        track.describe()
        needed = set(item.needed) & set(range(1, len(encodings)))
        if needed != track.needed_elsewhere:
            track.needed_elsewhere = needed
            self.live.serving.changed(track)

    def _bring_encoding(self, encoding: Encoding, told: wire.RemoteEncoding) -> None:
        former = self._told.get(encoding)
        if former is not None and told.source != former.source:
            if _has_moved(former.source, told.source) and encoding.handle is not None:
                self._moving.setdefault(encoding, former.source)
            else:
                self._end_encoding(encoding)
            former = None
        if told.source is None or told.negotiated is None:
            encoding.codec, encoding.told = told.codec, told.told
            return
        before, came_in = encoding.negotiated, encoding.codec
        self._told[encoding] = told
        encoding.told = told.told
        encoding.negotiate(told.negotiated)
        encoding.codec = told.codec
        if encoding.active != told.active:
            encoding.active = set(told.active)
            self.live.serving.changed(encoding.track)
        if former is None:
            self._want(encoding, told.source)
        elif before is not None and encoding.handle is not None and (before, came_in) != (told.negotiated, told.codec):
            self.live.reformatted(encoding, before, came_in)

    def _want(self, encoding: Encoding, source: wire.Source) -> None:
        group = self.live.microphones if encoding.track.is_microphone else None
        told = partial(self._mirrored, encoding, source)
        self.mirrors.want(source, encoding.track.kind, self.name, group, told)

    def _mirrored(self, encoding: Encoding, source: wire.Source, handle: int | None) -> None:
        """The core has it by this handle now, or has it no more."""
        told, former = self._told.get(encoding), encoding.handle
        if told is None or told.source != source:
            if handle is None and told is not None and self._moving.get(encoding) == source:
                # Where it came from has died before it came from elsewhere.
                self._end_move(encoding)
                self._withdraw(encoding)
            # Else it has moved, and comes from elsewhere soon.
            return
        if handle is None:
            self._withdraw(encoding)
        elif former is not None and encoding in self._moving:
            encoding.handle = handle
            self.live.rehomed(encoding, former)
            self._end_move(encoding)
        elif former is not None and self.mirrors.carries(former):
            encoding.handle = handle
            self.live.rehomed(encoding, former)
        elif former is not None:
            self.live.replaced(encoding, handle)
        else:
            encoding.handle, encoding.wanted = handle, EVERYTHING
            if encoding.is_first:
                for one in encoding.track.encodings:
                    self.live.published(one)
            elif encoding.track.announced:
                self.live.published(encoding)

    def _withdraw(self, encoding: Encoding) -> None:
        """What it is stays known."""
        if encoding.handle is None:
            return
        if not encoding.is_first:
            negotiated, told, codec = encoding.negotiated, encoding.told, encoding.codec
            self.live.withdrawn(encoding)
            encoding.negotiated, encoding.told, encoding.codec = negotiated, told, codec
            return
        backups = [one for one in encoding.track.encodings[1:] if one.handle is not None]
        self.live.unpublished(encoding.track)
        for backup in backups:
            source = self._told[backup].source
            if source is not None:
                self._want(backup, source)

    def _end_move(self, encoding: Encoding) -> None:
        former = self._moving.pop(encoding, None)
        if former is not None:
            self.mirrors.forget(former)

    def _end_encoding(self, encoding: Encoding) -> None:
        told = self._told.pop(encoding)
        self._end_move(encoding)
        if encoding.handle is not None and encoding.is_first:
            self._withdraw(encoding)
        elif encoding.handle is not None:
            self.live.withdrawn(encoding)
        if told.source is not None:
            self.mirrors.forget(told.source)

    def _end_track(self, participant: Participant, track: Track) -> None:
        participant.tracks.pop(track.id, None)
        if track.announced:
            self.live.unpublished(track)
        for encoding in track.encodings:
            self.came_home(encoding)
        if isinstance(participant.home, RemoteHome):
            participant.home.forget(track)


def _has_taken(session: Session, node: str, told: cascade_pb2.RemoteParticipant) -> bool:
    """That node goes on with the session: it was given it, or took this one for dead."""
    newer = told.info.version - session.participant.info.version
    # The node from which it comes goes on telling of it until its client is here, or has gone back.
    least = NEWER // 2 if session.arriving and node == session.came_from else 0
    return session.goes_to == node or newer > least


def _has_moved(former: wire.Source | None, now: wire.Source | None) -> bool:
    """To another node, with its participant."""
    return former is not None and now is not None and former.node != now.node


def _newness(info: models_pb2.Participant) -> tuple[int, str, int]:
    """Of two with one identity the later join counts, by the clocks of their nodes."""
    return info.joined_at.ToNanoseconds(), info.id, info.version
