"""A session that comes from another node: made of what that node said of it, waiting for its client to resume."""

from typing import TYPE_CHECKING, Final

from control_plane.cluster.moving.leaving import FORMAT
from control_plane.encodings import MAX_BACKUPS, Encoding
from control_plane.errors import FailedPreconditionError, InvalidArgumentError
from control_plane.media import ChannelRow
from control_plane.negotiation.model import FecPolicy
from control_plane.rooms import KINDS, MAX_LAYERS, NEWER, Participant, Track
from control_plane.session import Session
from control_plane.subscriptions import SubscriptionRules, allowed_subscribers
from pysfu.v1 import models_pb2, moving_pb2

if TYPE_CHECKING:
    from control_plane.live_room import LiveRoom

# Of one session. More than any client has.
MAX_SECTIONS: Final = 512


def check(state: moving_pb2.SessionState) -> None:
    """Raises ControlError for a state that cannot be gone on with: other nodes mean well, and may be wrong."""
    if state.format > FORMAT:
        raise FailedPreconditionError(f"the session is described in format {state.format}, this node reads {FORMAT}")
    if not (state.session_id and state.participant.id and state.participant.identity and state.room.name):
        raise InvalidArgumentError("a session without its id, its participant or its room")
    if max(len(state.publications), len(state.server_offered.slots), len(state.client_offered.bound)) > MAX_SECTIONS:
        raise InvalidArgumentError(f"more than {MAX_SECTIONS} tracks or sections")
    for publication in state.publications:
        if not 0 < len(publication.forms) <= MAX_BACKUPS + 1 or publication.track.kind not in KINDS:
            raise InvalidArgumentError(f"track {publication.track.id[:40]!r} has no usable form")
    if any(slot.kind not in KINDS for slot in state.server_offered.slots):
        raise InvalidArgumentError("a section that is neither audio nor video")


def revive(state: moving_pb2.SessionState, live: "LiveRoom", fec: FecPolicy, *, rebuilt: bool = False) -> Session:
    """The session in `live`, with all that it publishes and subscribes to. Nobody is told. Call `check` before.

    `rebuilt`: its node is dead, or seems to be, and may have known more of it.
    """
    session = Session(live, state.join, fec=fec)
    session.id, session.arriving, session.is_rebuilt = state.session_id, True, rebuilt
    session.sdp_session_id = state.sdp_session_id or session.sdp_session_id
    info = models_pb2.Participant()
    info.CopyFrom(state.participant)
    # What it was seen with is told anew from here: the higher version wins.
    info.version += NEWER if rebuilt else 1
    participant = session.participant = Participant(info, session, session)
    if state.HasField("subscription_permission"):
        permission = state.subscription_permission
        participant.rules = SubscriptionRules(permission.all, allowed_subscribers(permission))
    session.choices.explicit.update((choice.track_id, choice.subscribe) for choice in state.choices)
    session.settings.update((item.track_id, item.settings) for item in state.settings)
    former = live.room.participants.get(info.identity)
    if former is not None and former.id != info.id:
        former = None
    expected: dict[str, Encoding] = {}
    for publication in state.publications:
        track = _track(publication, participant, former)
        for form, encoding in zip(publication.forms, track.encodings, strict=False):
            if form.section:
                expected[form.section] = encoding
            elif form.pending:
                session.publications.pending[encoding.cid] = encoding
    live.adopt(participant)
    session.publisher.restore(state.client_offered, expected, _channels(state, session.publisher.transport))
    if rebuilt:
        # Nobody sends from there any more.
        state.server_offered.fingerprint = ""
    if session.subscriber is not None:
        session.subscriber.restore(state.server_offered, _channels(state, session.subscriber.transport))
    return session


def _channels(state: moving_pb2.SessionState, transport: int) -> list[ChannelRow]:
    return [
        (
            channel.stream,
            channel.label,
            channel.ordered,
            channel.max_retransmits if channel.HasField("max_retransmits") else None,
            channel.max_lifetime_ms if channel.HasField("max_lifetime_ms") else None,
        )
        for channel in state.data_channels
        if channel.transport == transport
    ]


def _track(publication: moving_pb2.SessionState.Publication, owner: Participant, former: Participant | None) -> Track:
    """The track as those who are here know it already, mirrors of its encodings included; else a new one."""
    info = models_pb2.Track()
    info.CopyFrom(publication.track)
    known = former.tracks.get(info.id) if former is not None else None
    track = known or Track(info, owner)
    track.info, track.owner = info, owner
    track.muted_by_server, track.automatic = publication.muted_by_server, publication.automatic
    for index, form in enumerate(publication.forms):
        if index == len(track.encodings):
            track.encodings.append(Encoding(track))
        encoding = track.encodings[index]
        encoding.preferred, encoding.codec = form.preferred, form.codec
        encoding.told = models_pb2.TrackCodec()
        encoding.told.CopyFrom(form.told)
        encoding.sources = {
            item.rid: (item.ssrc, item.rtx_ssrc if item.HasField("rtx_ssrc") else None)
            for item in form.sources[:MAX_LAYERS]
        }
    if any(form.section for form in publication.forms):
        owner.tracks[track.id] = track
    return track
