"""LiveKit's requests as ours. Pure functions; what is malformed raises BadRequestError that names it."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from pysfu.v1 import models_pb2, signaling_pb2

DATA_LABELS: Final = ("_reliable", "_lossy")
# RIDs of the SDKs, lowest layer first.
RIDS: Final = ("q", "h", "f")
_POLICIES: Final = {lm.BackupCodecPolicy.SIMULCAST: models_pb2.BACKUP_CODEC_POLICY_SIMULCAST}
_ENCRYPTION: Final = {lm.Encryption.GCM: "gcm", lm.Encryption.CUSTOM: "custom"}


class BadRequestError(Exception):
    """A message of the client that has no meaning."""


def join(request: lr.JoinRequest, *, split: bool, resume: str) -> signaling_pb2.Join:
    """`split`: protocol version 0 with its two peer connections. `resume`: secret of the session to take over."""
    info, settings = request.client_info, request.connection_settings
    message = signaling_pb2.Join(
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
        layout=signaling_pb2.Join.LAYOUT_SPLIT if split else signaling_pb2.Join.LAYOUT_SINGLE,
        data_mode=signaling_pb2.Join.DATA_MODE_SIGNALING,
        auto_subscribe=settings.auto_subscribe,
        resume_session_id=resume,
        data_channels=DATA_LABELS if split else (),
        add_tracks=[add_track(track) for track in request.add_track_requests],
        client=f"livekit-{lm.ClientInfo.SDK.Name(info.sdk).lower()} {info.version}"[:64],
    )
    if request.HasField("publisher_offer"):
        message.offer.CopyFrom(_description(request.publisher_offer, signaling_pb2.TRANSPORT_PUBLISHER))
    return message


def requests(request: lr.SignalRequest) -> list[signaling_pb2.SessionRequest]:
    """What it asks of the node; empty for what concerns the gateway alone or has no meaning here."""
    kind = request.WhichOneof("message")
    translate = _TRANSLATIONS.get(kind or "")
    if translate is None or kind is None:
        return []
    return [signaling_pb2.SessionRequest(**fields) for fields in translate(getattr(request, kind))]


def add_track(request: lr.AddTrackRequest) -> signaling_pb2.AddTrack:
    video = request.type == lm.VIDEO
    codecs = list(request.simulcast_codecs) if video else []
    # Layers of a backup codec are said with it.
    own = codecs[0].layers if codecs and codecs[0].layers else request.layers
    ordered = sorted(own, key=lambda layer: (layer.quality, layer.width))
    rids = RIDS if len(ordered) > 1 else ("",)
    layers = [
        models_pb2.VideoLayer(
            spatial=index, width=layer.width, height=layer.height, bitrate_bps=layer.bitrate, rid=layer.rid or rid
        )
        for index, (layer, rid) in enumerate(zip(ordered, rids, strict=False))
    ]
    return signaling_pb2.AddTrack(
        cid=request.cid,
        kind=models_pb2.MEDIA_KIND_VIDEO if video else models_pb2.MEDIA_KIND_AUDIO,
        source=request.source,  # type: ignore[arg-type]  # the numbers agree
        name=request.name,
        muted=request.muted,
        width=request.width,
        height=request.height,
        layers=layers,
        stereo=request.stereo,
        disable_dtx=request.disable_dtx,
        disable_red=request.disable_red,
        stream=request.stream,
        encryption=_ENCRYPTION.get(request.encryption, ""),
        track_id=request.sid,
        audio_features=[lm.AudioTrackFeature.Name(feature) for feature in request.audio_features],
        preferred_codec=_mime(codecs[0]) if codecs else "",
        backup_codecs=[_mime(codec) for codec in codecs[1:]],
        backup_codec_policy=_POLICIES.get(request.backup_codec_policy, models_pb2.BACKUP_CODEC_POLICY_REGRESSION),
    )


def _mime(codec: lr.SimulcastCodec) -> str:
    return f"video/{codec.codec}" if codec.codec else ""


def _description(
    description: lr.SessionDescription, transport: "signaling_pb2.Transport.ValueType"
) -> signaling_pb2.SessionDescription:
    return signaling_pb2.SessionDescription(transport=transport, sdp=description.sdp, id=description.id)


def _trickle(request: lr.TrickleRequest) -> list[dict[str, Any]]:
    try:
        init = json.loads(request.candidateInit or "{}")
    except json.JSONDecodeError as error:
        raise BadRequestError(f"trickle: candidateInit is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError("trickle: candidateInit is too deep, or holds too large a number") from error
    if not isinstance(init, dict):
        raise BadRequestError("trickle: candidateInit is not a JSON object")
    split = request.target == lr.SUBSCRIBER
    index = init.get("sdpMLineIndex")
    candidate = signaling_pb2.IceCandidate(
        transport=signaling_pb2.TRANSPORT_SUBSCRIBER if split else signaling_pb2.TRANSPORT_PUBLISHER,
        candidate=str(init.get("candidate") or ""),
        sdp_mid=str(init.get("sdpMid") or ""),
        sdp_mline_index=index if isinstance(index, int) and 0 <= index < 2**16 else 0,
        username_fragment=str(init.get("usernameFragment") or ""),
    )
    return [{"candidate": candidate}]


def _subscription(request: lr.UpdateSubscription) -> list[dict[str, Any]]:
    tracks = [*request.track_sids, *_nested(request.participant_tracks)]
    update = signaling_pb2.UpdateSubscription(track_ids=dict.fromkeys(tracks), subscribe=request.subscribe)
    return [{"update_subscription": update}]


def _nested(groups: Iterable[Any]) -> list[str]:
    return [sid for group in groups for sid in group.track_sids]


def _track_setting(request: lr.UpdateTrackSettings) -> list[dict[str, Any]]:
    settings = signaling_pb2.UpdateTrackSettings(
        track_ids=request.track_sids,
        disabled=request.disabled or request.quality == lm.OFF,
        width=request.width,
        height=request.height,
        fps=request.fps,
        priority=request.priority,
    )
    # HIGH is the best there is, and what clients say that ask for nothing.
    if not request.width and not request.disabled and request.quality < lm.HIGH:
        settings.max_spatial = int(request.quality)
    return [{"update_track_settings": settings}]


def _permission(request: lr.SubscriptionPermission) -> list[dict[str, Any]]:
    allowed = [
        signaling_pb2.SubscriptionPermission.Allowed(
            identity=one.participant_identity,
            participant_id=one.participant_sid,
            all_tracks=one.all_tracks,
            track_ids=one.track_sids,
        )
        for one in request.track_permissions
    ]
    permission = signaling_pb2.SubscriptionPermission(all=request.all_participants, allowed=allowed)
    return [{"subscription_permission": permission}]


def _metadata(request: lr.UpdateParticipantMetadata) -> list[dict[str, Any]]:
    update = signaling_pb2.UpdateParticipant(attributes=dict(request.attributes))
    if request.metadata:
        update.metadata = request.metadata
    if request.name:
        update.name = request.name
    return [{"request_id": request.request_id, "update_participant": update}]


def _sync(request: lr.SyncState) -> list[dict[str, Any]]:
    found = _ORIGIN.search(request.offer.sdp)
    session, version = (int(number) for number in found.groups()) if found is not None else (0, 0)
    state = signaling_pb2.ClientState(track_ids=[one.track.sid for one in request.publish_tracks])
    if max(session, version) < 1 << 64:
        state.sdp_session_id, state.sdp_version = session, version
    return [{"client_state": state}]


# RFC 8866 section 5.2.
_ORIGIN: Final = re.compile(r"^o=\S+ (\d{1,20}) (\d{1,20}) ", re.MULTILINE | re.ASCII)

_TRANSLATIONS: Final[dict[str, Any]] = {
    "offer": lambda m: [{"request_id": m.id, "offer": _description(m, signaling_pb2.TRANSPORT_PUBLISHER)}],
    "answer": lambda m: [{"answer": _description(m, signaling_pb2.TRANSPORT_SUBSCRIBER)}],
    "trickle": _trickle,
    "add_track": lambda m: [{"add_track": add_track(m)}],
    "mute": lambda m: [{"mute": signaling_pb2.Mute(track_id=m.sid, muted=m.muted)}],
    "subscription": _subscription,
    "track_setting": _track_setting,
    "subscription_permission": _permission,
    "update_metadata": _metadata,
    "leave": lambda m: [{"leave": signaling_pb2.Leave()}],
    "sync_state": _sync,
}
