"""A live session as a message: all that another node needs to go on with it."""

from typing import TYPE_CHECKING, Final

from control_plane.rooms import Track
from control_plane.subscriptions import SubscriptionRules
from pysfu.v1 import moving_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.encodings import Encoding
    from control_plane.session import Session

FORMAT: Final = 1
State = moving_pb2.SessionState


def session_state(session: "Session", session_id: str) -> moving_pb2.SessionState:
    """Changes nothing of the session. `session_id`: the secret by which the other node is to know it."""
    participant, pending = session.participant, session.publications.pending
    waiting = [encoding.track for encoding in pending.values()]
    tracks = dict.fromkeys([*participant.tracks.values(), *waiting])
    state = State(
        format=FORMAT,
        session_id=session_id,
        room=session.room.room.snapshot(),
        participant=participant.snapshot(),
        join=session.as_join(),
        publications=[_publication(track, session) for track in tracks],
        choices=[State.Choice(track_id=key, subscribe=value) for key, value in session.choices.explicit.items()],
        settings=[State.Settings(track_id=key, settings=value) for key, value in session.settings.items()],
        sdp_session_id=session.sdp_session_id,
        client_offered=session.publisher.state(),
        data_channels=_channels(session),
        server_offered=session.subscriber.state() if session.subscriber is not None else None,
    )
    if participant.rules != SubscriptionRules():
        state.subscription_permission.CopyFrom(_permission(participant.rules))
    return state


def _channels(session: "Session") -> list[moving_pb2.SessionState.DataChannel]:
    return [
        State.DataChannel(
            transport=offers.transport,
            stream=stream,
            label=label,
            ordered=ordered,
            max_retransmits=max_retransmits,
            max_lifetime_ms=max_lifetime,
        )
        for offers in session.transports()
        if offers.peer is not None
        for stream, label, ordered, max_retransmits, max_lifetime in offers.peer.channels.values()
    ]


def _publication(track: Track, session: "Session") -> moving_pb2.SessionState.Publication:
    return State.Publication(
        track=track.info,
        muted_by_server=track.muted_by_server,
        automatic=track.automatic,
        forms=[_form(encoding, session) for encoding in track.encodings],
    )


def _form(encoding: "Encoding", session: "Session") -> moving_pb2.SessionState.Form:
    return State.Form(
        told=encoding.told,
        preferred=encoding.preferred,
        codec=encoding.codec,
        section=session.publisher.section_of(encoding),
        pending=encoding in session.publications.pending.values(),
    )


def _permission(rules: SubscriptionRules) -> signaling_pb2.SubscriptionPermission:
    return signaling_pb2.SubscriptionPermission(
        all=rules.everyone,
        allowed=[
            signaling_pb2.SubscriptionPermission.Allowed(
                identity=entry.identity,
                participant_id=entry.participant_id,
                all_tracks=entry.all_tracks,
                track_ids=sorted(entry.track_ids),
            )
            for entry in rules.allowed
        ],
    )
