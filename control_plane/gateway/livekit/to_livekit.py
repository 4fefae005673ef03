"""Our messages as LiveKit's. Pure functions."""

import json
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from pysfu.v1 import models_pb2, signaling_pb2

PING_INTERVAL: Final = 5
PING_TIMEOUT: Final = 15
# SDKs gate features on it.
PROTOCOL: Final = 16
# Participants that were translated last, and up to which size one is kept: more serve more rooms at a time.
KEPT: Final = 4_096
MAX_KEPT_OCTETS: Final = 2_048
PUBLISH_CODECS: Final = ("video/VP8", "video/H264", "video/VP9", "video/AV1", "audio/opus", "audio/red")

_REASONS: Final = {
    models_pb2.DISCONNECT_REASON_CLIENT_INITIATED: lm.CLIENT_INITIATED,
    models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY: lm.DUPLICATE_IDENTITY,
    models_pb2.DISCONNECT_REASON_SERVER_SHUTDOWN: lm.SERVER_SHUTDOWN,
    models_pb2.DISCONNECT_REASON_PARTICIPANT_REMOVED: lm.PARTICIPANT_REMOVED,
    models_pb2.DISCONNECT_REASON_ROOM_ENDED: lm.ROOM_DELETED,
    models_pb2.DISCONNECT_REASON_CONNECTION_TIMEOUT: lm.CONNECTION_TIMEOUT,
    models_pb2.DISCONNECT_REASON_MEDIA_FAILURE: lm.MEDIA_FAILURE,
    models_pb2.DISCONNECT_REASON_STATE_MISMATCH: lm.STATE_MISMATCH,
}
_STATES: Final = {
    models_pb2.Participant.STATE_JOINING: lm.ParticipantInfo.JOINING,
    models_pb2.Participant.STATE_JOINED: lm.ParticipantInfo.JOINED,
    models_pb2.Participant.STATE_ACTIVE: lm.ParticipantInfo.ACTIVE,
    models_pb2.Participant.STATE_DISCONNECTED: lm.ParticipantInfo.DISCONNECTED,
}
_KINDS: Final = {"ingress": "INGRESS", "egress": "EGRESS", "sip": "SIP", "agent": "AGENT"}
_ENCRYPTION: Final = {"gcm": lm.Encryption.GCM, "custom": lm.Encryption.CUSTOM}
_QUALITIES: Final = {
    signaling_pb2.ConnectionQualities.QUALITY_LOST: lm.LOST,
    signaling_pb2.ConnectionQualities.QUALITY_POOR: lm.POOR,
    signaling_pb2.ConnectionQualities.QUALITY_GOOD: lm.GOOD,
    signaling_pb2.ConnectionQualities.QUALITY_EXCELLENT: lm.EXCELLENT,
}
_POLICIES: Final = {
    models_pb2.BACKUP_CODEC_POLICY_REGRESSION: lm.BackupCodecPolicy.PREFER_REGRESSION,
    models_pb2.BACKUP_CODEC_POLICY_SIMULCAST: lm.BackupCodecPolicy.SIMULCAST,
}
_RID_QUALITIES: Final = {"q": lm.LOW, "h": lm.MEDIUM, "f": lm.HIGH}
_SUBSCRIPTION_ERRORS: Final = {
    signaling_pb2.SubscriptionFailed.REASON_NOT_FOUND: lm.SE_TRACK_NOTFOUND,
    signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC: lm.SE_CODEC_UNSUPPORTED,
}
_REQUEST_ERRORS: Final = {
    signaling_pb2.RequestFailed.CODE_NOT_FOUND: lr.RequestResponse.NOT_FOUND,
    signaling_pb2.RequestFailed.CODE_PERMISSION_DENIED: lr.RequestResponse.NOT_ALLOWED,
    signaling_pb2.RequestFailed.CODE_LIMIT_EXCEEDED: lr.RequestResponse.LIMIT_EXCEEDED,
}


def join(joined: signaling_pb2.Joined, *, subscriber_primary: bool) -> lr.SignalResponse:
    """The first message of a session."""
    info = server_info(joined)
    return lr.SignalResponse(
        join=lr.JoinResponse(
            room=room(joined.room),
            participant=participant(joined.participant),
            other_participants=[participant(other) for other in joined.others],
            server_version=info.version,
            server_info=info,
            subscriber_primary=subscriber_primary,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            enabled_publish_codecs=[lm.Codec(mime=mime) for mime in PUBLISH_CODECS],
            # Without it Firefox waits for a track before it negotiates.
            fast_publish=True,
        )
    )


def reconnect(joined: signaling_pb2.Joined, last_sequence: int) -> lr.SignalResponse:
    """The first message of a resumed session."""
    return lr.SignalResponse(
        reconnect=lr.ReconnectResponse(server_info=server_info(joined), last_message_seq=last_sequence)
    )


def server_info(joined: signaling_pb2.Joined) -> lm.ServerInfo:
    # SDKs compare the version with that of LiveKit's server in which a feature came.
    return lm.ServerInfo(version="1.9.0", protocol=PROTOCOL, node_id=joined.node_id, debug_info=joined.server_version)


def leave(left: signaling_pb2.Left) -> lr.SignalResponse:
    action = lr.LeaveRequest.RECONNECT if left.can_rejoin else lr.LeaveRequest.DISCONNECT
    reason = _REASONS.get(left.reason, lm.UNKNOWN_REASON)
    return lr.SignalResponse(leave=lr.LeaveRequest(reason=reason, action=action, can_reconnect=left.can_rejoin))


def unknown_session() -> lr.SignalResponse:
    """A client that tries to resume what is gone must join anew."""
    return lr.SignalResponse(
        leave=lr.LeaveRequest(reason=lm.STATE_MISMATCH, action=lr.LeaveRequest.RECONNECT, can_reconnect=True)
    )


def participants(many: Any) -> lr.SignalResponse:
    return lr.SignalResponse(update=lr.ParticipantUpdate(participants=[participant(one) for one in many]))


def response(message: signaling_pb2.SessionResponse) -> lr.SignalResponse | None:
    """What tells the client the same; `None` for what LiveKit has no word for."""
    kind = message.WhichOneof("message")
    translate = _TRANSLATIONS.get(kind or "")
    return translate(getattr(message, kind)) if translate is not None and kind else None


def room(info: models_pb2.Room) -> lm.Room:
    return lm.Room(
        sid=info.id,
        name=info.name,
        metadata=info.metadata,
        max_participants=info.max_participants,
        empty_timeout=info.empty_timeout_seconds,
        num_participants=info.num_participants,
        num_publishers=info.num_publishers,
        creation_time=info.created_at.seconds,
        creation_time_ms=info.created_at.ToMilliseconds(),
    )


def participant(info: models_pb2.Participant) -> lm.ParticipantInfo:
    """Not to be changed: everybody in a room is told of the same participants, so that they are translated once."""
    content = info.SerializeToString()
    return _kept_participant(content) if len(content) <= MAX_KEPT_OCTETS else _participant(info)


@lru_cache(KEPT)
def _kept_participant(content: bytes) -> lm.ParticipantInfo:
    return _participant(models_pb2.Participant.FromString(content))


def _participant(info: models_pb2.Participant) -> lm.ParticipantInfo:
    return lm.ParticipantInfo(
        sid=info.id,
        identity=info.identity,
        name=info.name,
        metadata=info.metadata,
        attributes=dict(info.attributes),
        state=_STATES.get(info.state, lm.ParticipantInfo.JOINING),
        tracks=[track(one) for one in info.tracks],
        permission=permission(info.permission),
        version=info.version,
        joined_at=info.joined_at.seconds,
        joined_at_ms=info.joined_at.ToMilliseconds(),
        is_publisher=bool(info.tracks),
        kind=_KINDS.get(info.kind, "STANDARD"),
    )


def permission(info: models_pb2.Permission) -> lm.ParticipantPermission:
    return lm.ParticipantPermission(
        can_subscribe=info.can_subscribe,
        can_publish=info.can_publish,
        can_publish_data=info.can_publish_data,
        can_publish_sources=[lm.TrackSource.Name(source) for source in info.can_publish_sources],
        hidden=info.hidden,
        recorder=info.recorder,
        can_update_metadata=info.can_update_metadata,
    )


def track(info: models_pb2.Track) -> lm.TrackInfo:
    codecs = [
        lm.SimulcastCodecInfo(mime_type=codec.mime_type, mid=codec.mid, cid=codec.cid, layers=_layers(codec.layers))
        for codec in info.codecs
    ]
    return lm.TrackInfo(
        sid=info.id,
        type=lm.VIDEO if info.kind == models_pb2.MEDIA_KIND_VIDEO else lm.AUDIO,
        source=lm.TrackSource.Name(int(info.source)),
        name=info.name,
        muted=info.muted,
        width=info.width,
        height=info.height,
        layers=_layers(info.layers),
        mime_type=info.mime_type,
        codecs=codecs,
        backup_codec_policy=_POLICIES.get(info.backup_codec_policy, lm.BackupCodecPolicy.PREFER_REGRESSION),
        mid=info.mid,
        stereo=info.stereo,
        disable_dtx=info.disable_dtx,
        disable_red=info.disable_red,
        simulcast=info.simulcast,
        stream=info.stream,
        encryption=_ENCRYPTION.get(info.encryption, lm.Encryption.NONE),
        audio_features=list(info.audio_features),
    )


def _layers(layers: Iterable[models_pb2.VideoLayer]) -> list[lm.VideoLayer]:
    return [
        lm.VideoLayer(
            quality=lm.VideoQuality.Name(min(layer.spatial, 2)),
            width=layer.width,
            height=layer.height,
            bitrate=layer.bitrate_bps,
            spatial_layer=layer.spatial,
            rid=layer.rid,
        )
        for layer in layers
    ]


def _description(kind: str, description: signaling_pb2.SessionDescription) -> lr.SessionDescription:
    return lr.SessionDescription(
        type=kind, sdp=description.sdp, id=description.id, mid_to_track_id=dict(description.mid_to_track_id)
    )


def _answer(description: signaling_pb2.SessionDescription) -> lr.SignalResponse:
    return lr.SignalResponse(answer=_description("answer", description))


def _offer(description: signaling_pb2.SessionDescription) -> lr.SignalResponse:
    return lr.SignalResponse(offer=_description("offer", description))


def _candidate(candidate: signaling_pb2.IceCandidate) -> lr.SignalResponse:
    target = lr.SUBSCRIBER if candidate.transport == signaling_pb2.TRANSPORT_SUBSCRIBER else lr.PUBLISHER
    init = {
        "candidate": candidate.candidate,
        "sdpMid": candidate.sdp_mid,
        "sdpMLineIndex": candidate.sdp_mline_index,
        "usernameFragment": candidate.username_fragment,
    }
    return lr.SignalResponse(trickle=lr.TrickleRequest(candidateInit=json.dumps(init), target=target))


def _sections(required: signaling_pb2.MediaSectionsRequired) -> lr.SignalResponse:
    requirement = lr.MediaSectionsRequirement(num_audios=required.audio, num_videos=required.video)
    return lr.SignalResponse(media_sections_requirement=requirement)


def _published(published: signaling_pb2.TrackPublished) -> lr.SignalResponse:
    return lr.SignalResponse(track_published=lr.TrackPublishedResponse(cid=published.cid, track=track(published.track)))


def _unpublished(unpublished: signaling_pb2.TrackUnpublished) -> lr.SignalResponse:
    return lr.SignalResponse(track_unpublished=lr.TrackUnpublishedResponse(track_sid=unpublished.track_id))


def _mute(changed: signaling_pb2.MuteChanged) -> lr.SignalResponse:
    return lr.SignalResponse(mute=lr.MuteTrackRequest(sid=changed.track_id, muted=changed.muted))


def _speakers(changed: signaling_pb2.SpeakersChanged) -> lr.SignalResponse:
    speakers = [lm.SpeakerInfo(sid=s.participant_id, level=s.level, active=s.active) for s in changed.speakers]
    return lr.SignalResponse(speakers_changed=lr.SpeakersChanged(speakers=speakers))


def _quality(qualities: signaling_pb2.ConnectionQualities) -> lr.SignalResponse:
    updates = [
        lr.ConnectionQualityInfo(
            participant_sid=update.participant_id, quality=_QUALITIES.get(update.quality, lm.GOOD), score=update.score
        )
        for update in qualities.updates
    ]
    return lr.SignalResponse(connection_quality=lr.ConnectionQualityUpdate(updates=updates))


def _streams(states: signaling_pb2.StreamStates) -> lr.SignalResponse:
    infos = [
        lr.StreamStateInfo(
            participant_sid=state.participant_id,
            track_sid=state.track_id,
            state=lr.PAUSED if state.paused else lr.ACTIVE,
        )
        for state in states.states
    ]
    return lr.SignalResponse(stream_state_update=lr.StreamStateUpdate(stream_states=infos))


def _layers_wanted(wanted: signaling_pb2.LayersWanted) -> lr.SignalResponse:
    """Of all codecs together: clients take a codec that is not named for one that nobody has asked about."""
    qualities = _quality_levels(wanted.layers)
    update = lr.SubscribedQualityUpdate(track_sid=wanted.track_id, subscribed_qualities=qualities)
    codecs = [(wanted.mime_type, qualities)]
    codecs += [(backup.mime_type, _quality_levels(backup.layers)) for backup in wanted.backups]
    for mime_type, of_codec in codecs:
        if mime_type:
            codec = mime_type.partition("/")[2].lower()
            update.subscribed_codecs.append(lr.SubscribedCodec(codec=codec, qualities=of_codec))
    return lr.SignalResponse(subscribed_quality_update=update)


def _quality_levels(layers: Iterable[signaling_pb2.LayersWanted.Layer]) -> list[lr.SubscribedQuality]:
    """Qualities are those of the SDKs' RIDs. One that the track lacks goes with the layer below it."""
    levels = [(_RID_QUALITIES.get(layer.rid, min(layer.spatial, lm.HIGH)), layer.wanted) for layer in layers]
    top = max((level for level, _ in levels), default=lm.LOW)
    highest = max((level for level, is_wanted in levels if is_wanted), default=-1)
    if highest == top:
        highest = lm.HIGH
    return [
        lr.SubscribedQuality(quality=quality, enabled=quality <= highest) for quality in (lm.LOW, lm.MEDIUM, lm.HIGH)
    ]


def _permission_changed(changed: signaling_pb2.SubscriptionPermissionChanged) -> lr.SignalResponse:
    return lr.SignalResponse(
        subscription_permission_update=lr.SubscriptionPermissionUpdate(
            participant_sid=changed.participant_id, track_sid=changed.track_id, allowed=changed.allowed
        )
    )


def _subscription_failed(failed: signaling_pb2.SubscriptionFailed) -> lr.SignalResponse:
    error = _SUBSCRIPTION_ERRORS.get(failed.reason, lm.SE_UNKNOWN)
    return lr.SignalResponse(subscription_response=lr.SubscriptionResponse(track_sid=failed.track_id, err=error))


def _request_failed(failed: signaling_pb2.RequestFailed) -> lr.SignalResponse:
    reason = _REQUEST_ERRORS.get(failed.code, lr.RequestResponse.UNCLASSIFIED_ERROR)
    return lr.SignalResponse(request_response=lr.RequestResponse(reason=reason, message=failed.message))


def pong(ping: lr.Ping) -> lr.SignalResponse:
    now = int(time.time() * 1000)
    return lr.SignalResponse(pong_resp=lr.Pong(last_ping_timestamp=ping.timestamp, timestamp=now))


_TRANSLATIONS: Final[dict[str, Any]] = {
    "offer": _offer,
    "answer": _answer,
    "candidate": _candidate,
    "media_sections_required": _sections,
    "track_published": _published,
    "track_unpublished": _unpublished,
    "mute_changed": _mute,
    "participants_changed": lambda changed: participants(changed.participants),
    "room_changed": lambda changed: lr.SignalResponse(room_update=lr.RoomUpdate(room=room(changed))),
    "speakers_changed": _speakers,
    "connection_qualities": _quality,
    "subscription_failed": _subscription_failed,
    "stream_states": _streams,
    "layers_wanted": _layers_wanted,
    "subscription_permission_changed": _permission_changed,
    "request_failed": _request_failed,
    "first_subscriber": lambda first: lr.SignalResponse(track_subscribed=lr.TrackSubscribed(track_sid=first.track_id)),
    "left": leave,
}
