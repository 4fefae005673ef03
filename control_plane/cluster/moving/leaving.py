"""A live session as a message: all that another node needs to go on with it."""

from typing import TYPE_CHECKING, Final

from control_plane.encodings import ordered_rids
from control_plane.measure import Rows, rows_of
from control_plane.rooms import Track
from control_plane.subscriptions import SubscriptionRules
from pysfu.v1 import moving_pb2, signaling_pb2

if TYPE_CHECKING:
    from control_plane.encodings import Encoding
    from control_plane.session import Session

FORMAT: Final = 1
State = moving_pb2.SessionState


def session_state(session: "Session", session_id: str, layers: Rows) -> moving_pb2.SessionState:
    """Changes nothing of the session. `session_id`: the secret by which the other node is to know it. `layers`: the
    rows of the core's snapshot."""
    participant, pending = session.participant, session.publications.pending
    waiting = [encoding.track for encoding in pending.values()]
    tracks = dict.fromkeys([*participant.tracks.values(), *waiting])
    state = State(
        format=FORMAT,
        session_id=session_id,
        room=session.room.room.snapshot(),
        participant=participant.snapshot(),
        join=session.as_join(),
        publications=[_publication(track, session, layers) for track in tracks],
        choices=[State.Choice(track_id=key, subscribe=value) for key, value in session.choices.explicit.items()],
        settings=[State.Settings(track_id=key, settings=value) for key, value in session.settings.items()],
        sdp_session_id=session.sdp_session_id,
        client_offered=session.publisher.state(),
        data_channels=_channels(session),
        server_offered=session.subscriber.state() if session.subscriber is not None else None,
        rebuilt=session.arriving,
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
        for stream, label, ordered, max_retransmits, max_lifetime in offers.channels
    ]


def _publication(track: Track, session: "Session", layers: Rows) -> moving_pb2.SessionState.Publication:
    return State.Publication(
        track=track.info,
        muted_by_server=track.muted_by_server,
        automatic=track.automatic,
        forms=[_form(encoding, session, layers) for encoding in track.encodings],
    )


def _form(encoding: "Encoding", session: "Session", layers: Rows) -> moving_pb2.SessionState.Form:
    return State.Form(
        told=encoding.told,
        preferred=encoding.preferred,
        codec=encoding.codec,
        section=session.publisher.section_of(encoding),
        pending=encoding in session.publications.pending.values(),
        sources=_sources(encoding, layers, is_arriving=session.arriving),
    )


def _sources(encoding: "Encoding", layers: Rows, *, is_arriving: bool) -> list[moving_pb2.SessionState.Source]:
    """Of one that arrives they are what they were said to be: nothing comes from its client yet."""
    found = {}
    if encoding.negotiated is not None and encoding.handle is not None and not is_arriving:
        rids = ordered_rids(encoding.negotiated.rids, encoding.told.layers)
        for row in rows_of(layers, "track", [encoding.handle]):
            if row["ssrc"] and row["layer"] < len(rids):
                rid = rids[int(row["layer"])]
                found[rid] = State.Source(rid=rid, ssrc=int(row["ssrc"]), rtx_ssrc=int(row["rtx_ssrc"]) or None)
    # So are layers that rest since it came here.
    for rid, (ssrc, rtx) in encoding.sources.items():
        if ssrc and rid not in found:
            found[rid] = State.Source(rid=rid, ssrc=ssrc, rtx_ssrc=rtx)
    return list(found.values())


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
