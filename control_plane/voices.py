"""Who speaks in one room, on whatever node: told to everybody as it changes, and to the core for what it is worth."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from control_plane.media import MediaCore
from control_plane.rooms import Track
from control_plane.speakers import Voice, changes, floor, loudest
from pysfu.v1 import models_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

if TYPE_CHECKING:
    from control_plane.live_room import LiveRoom
    from control_plane.session import Session

# Longer costs less, shorter shows sooner who speaks.
INTERVAL: Final = 0.2


class Voices:
    """Of one room."""

    def __init__(self, room: "LiveRoom", core: MediaCore) -> None:
        self._room = room
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._here: dict[str, tuple[Track, int, bool]] = {}
        """By track id."""
        self._elsewhere: dict[str, Voice] = {}
        """By participant id, of those who speak on other nodes."""
        self._told: dict[str, Voice] = {}
        self._floor: tuple[str, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, track: Track, dbov: int, active: bool) -> None:
        """As the core measures it. Of tracks of other nodes the home tells it, also while none comes here."""
        if track.owner.session is not None:
            self._here[track.id] = (track, dbov, active and not track.info.muted)
            self._schedule()

    def told_elsewhere(self, voices: Mapping[str, Voice]) -> None:
        """Changed voices of participants of other nodes, by their ids."""
        now = {**self._elsewhere, **voices}
        self._elsewhere = {participant: voice for participant, voice in now.items() if voice.active}
        self._schedule()

    def forget_elsewhere(self, participant_id: str) -> None:
        """Somebody is not on another node any more."""
        if self._elsewhere.pop(participant_id, None) is not None:
            self._schedule()

    def forget(self, track: Track) -> None:
        """It is not published any more, or another node tells of it."""
        self._here.pop(track.id, None)
        self._schedule()

    def tell(self, session: "Session") -> None:
        """Who speaks now, to one who hears from now on."""
        if self._told:
            session.emit(_speakers_changed(self._told))

    def of_this_node(self) -> dict[str, Voice]:
        """Who speaks of those who are here, as was told last."""
        here = self._people_here()
        return {one: voice for one, voice in self._told.items() if one in here}

    def rank(self, track: Track) -> None:
        """Tells the core whether its owner speaks or spoke before, of which links tell. A screen has its own weight."""
        session = track.owner.session
        if track.info.source != models_pb2.TRACK_SOURCE_CAMERA or session is None:
            return
        owner = track.owner.id
        rank = self._floor.index(owner) if owner in self._floor else None
        if rank != track.rank:
            track.rank = rank
            # Of somebody who moves here the core has mirrors yet: it is told with the track that follows them.
            for handle in () if session.arriving else track.handles():
                self._core.set_speaker(handle, rank)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _people_here(self) -> set[str]:
        return {session.participant.id for session in self._room.room.sessions()}

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL, self._tell_changes)

    def _tell_changes(self) -> None:
        self._timer = None
        by_participant: dict[str, list[tuple[int, bool]]] = {}
        for track, dbov, active in self._here.values():
            by_participant.setdefault(track.owner.id, []).append((dbov, active))
        here = {participant: loudest(voices) for participant, voices in by_participant.items()}
        now = self._elsewhere | here
        self._set_floor(floor(self._floor, now))
        told = changes(self._told, now)
        if not told:
            return
        people = self._people_here()
        self._room.tell_neighbours({participant: voice for participant, voice in told.items() if participant in people})
        self._told = {key: voice for key, voice in (self._told | told).items() if voice.active}
        self._room.broadcast(_speakers_changed(told))

    def _set_floor(self, participants: tuple[str, ...]) -> None:
        if participants == self._floor:
            return
        concerned, self._floor = {*self._floor, *participants}, participants
        for track in self._room.room.tracks():
            if track.owner.id in concerned:
                self.rank(track)


def _speakers_changed(voices: Mapping[str, Voice]) -> SessionResponse:
    speakers = [
        models_pb2.Speaker(participant_id=participant, level=voice.level, active=voice.active)
        for participant, voice in voices.items()
    ]
    return SessionResponse(speakers_changed=signaling_pb2.SpeakersChanged(speakers=speakers))
