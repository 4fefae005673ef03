"""One signaling session: requests and core events in, responses out. Survives the loss of its stream for a while."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import structlog

from control_plane import data, ids
from control_plane.claim import is_claimed
from control_plane.client_offers import ClientOffers
from control_plane.demand import EVERYTHING
from control_plane.errors import (
    ControlError,
    FailedPreconditionError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
)
from control_plane.limits import TokenBucket
from control_plane.media import MediaPeer
from control_plane.negotiation.model import USUAL_FEC, FecPolicy, IceCredentials
from control_plane.negotiation.write import candidate_lines
from control_plane.outbox import Outbox
from control_plane.publications import Publications
from control_plane.rooms import NEWER, Participant, Track, update_info
from control_plane.server_offers import ServerOffers
from control_plane.serving import Place, Subscription, is_decodable
from control_plane.status import request_failed
from control_plane.subscriptions import (
    Choices,
    SubscriptionRules,
    Wanted,
    allowed_subscribers,
    wanted_of,
)
from pysfu.v1 import models_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse

if TYPE_CHECKING:
    from control_plane.live_room import LiveRoom

log = structlog.get_logger(__name__)

MAX_DATA_CHANNELS: Final = 16
MAX_LISTED: Final = 4_096
# Offers cost most; nobody needs many requests per second for long. Data has a budget of its own.
REQUEST_RATE: Final = 50.0
REQUEST_BURST: Final = 500.0
DATA_RATE: Final = 1_000.0
DATA_BURST: Final = 4_000.0
# Lets changes that come together be told together: longer saves offers, shorter shows tracks sooner.
SECTIONS_DELAY: Final = 0.01
# A track that ended needs no hurry, its end was told already.
RELEASE_DELAY: Final = 0.5
# LiveKit's client drops what it hears of speakers before it is connected in its own eyes, later than its transport is.
# One that speaks on alike would not be told again.
SPEAKERS_DELAY: Final = 1.0
# A client that was asked to offer and did not is asked again.
OFFER_PATIENCE: Final = 5.0
# After it was handed over. A client that has got the other node's description leaves by itself.
LINGER: Final = 5.0
_CHANGE_NOTHING: Final = frozenset({"send_data", "candidate", "client_state"})


class Session:
    """State of one session. Every method runs on the event loop and returns at once."""

    def __init__(self, room: "LiveRoom", join: signaling_pb2.Join, *, fec: FecPolicy = USUAL_FEC) -> None:
        self.id = ids.session_id(room.node_id)
        self.room = room
        self.fec = fec
        self.client = join.client[:256]
        self.data_mode = join.data_mode
        self.split = join.layout == signaling_pb2.Join.LAYOUT_SPLIT
        self.choices = Choices(join.auto_subscribe, join.subscribe_identity)
        self.subscriptions: dict[str, Subscription] = {}
        self.sdp_session_id = secrets.randbits(62)
        self.participant: Participant
        self.publications = Publications(self)
        self.outbox = Outbox()
        self.ended = False
        self.came_from = ""
        """The node where its client has transports; empty: this one alone."""
        self.came_as = ""
        """The secret by which its client knows it from there, until it has heard of another."""
        self.arriving = False
        """It has come from another node, which tells of its participant until its client is here."""
        self.is_rebuilt = False
        """From what another node kept of it: its own has died."""
        self.is_handed_over = False
        self.goes_to = ""
        """The node that goes on with it; empty: none. It is served here until that node tells of its participant."""
        self.resume_as = ""
        """The secret by which that node is to know it."""
        self.settings: dict[str, signaling_pb2.UpdateTrackSettings] = {}
        """How it wants each track that it said something of."""
        self._changes = 0
        self._undecodable: set[str] = set()
        self._requests = TokenBucket(REQUEST_RATE, REQUEST_BURST)
        self._data = TokenBucket(DATA_RATE, DATA_BURST)
        if len(join.data_channels) > MAX_DATA_CHANNELS:
            raise InvalidArgumentError(f"more than {MAX_DATA_CHANNELS} data channels")
        for label in join.data_channels:
            data.check_message(label, b"")
        self.publisher = ClientOffers(
            self,
            signaling_pb2.TRANSPORT_PUBLISHER if self.split else signaling_pb2.TRANSPORT_UNSPECIFIED,
            receives=not self.split,
            reserve=join.reserve_sections,
            auto_publish=join.auto_publish,
        )
        self.subscriber = ServerOffers(self, join.data_channels) if self.split else None
        self._settle: asyncio.TimerHandle | None = None
        self._settle_at = 0.0
        self._asked_at: float | None = None
        self._loop = asyncio.get_running_loop()

    def as_join(self) -> signaling_pb2.Join:
        """What would make a session like this one, tracks and choices aside."""
        return signaling_pb2.Join(
            layout=signaling_pb2.Join.LAYOUT_SPLIT if self.split else signaling_pb2.Join.LAYOUT_SINGLE,
            data_mode=self.data_mode,
            auto_subscribe=self.choices.automatic,
            subscribe_identity=self.choices.only_identity,
            auto_publish=self.publisher.auto_publish,
            reserve_sections=self.publisher.reserve,
            data_channels=self.subscriber.labels if self.subscriber is not None else (),
            client=self.client,
        )

    @property
    def revision(self) -> tuple[int, ...]:
        """Another one when another node would need other things to go on with it."""
        info, offers = self.participant.info, [offers.revision for offers in self.transports()]
        channels = sum(len(one.peer.channels) for one in self.transports() if one.peer is not None)
        return self._changes, info.version, info.state, channels, *offers

    # Signaling stream.

    def emit(self, message: SessionResponse | bytes) -> None:
        """Puts a message on its way. While the stream is away it is dropped: who resumes is told the present state."""
        self.outbox.put(message)

    def attach(self) -> None:
        """A new stream takes over; the old one ends."""
        self.outbox.close()
        self.outbox = Outbox()
        if self.goes_to:
            # Its client has come back before it was at the other node, which is told so by the version.
            self.goes_to = ""
            self.participant.info.version += 2 * NEWER
            self.room.changed(self.participant)

    def resumed(self) -> None:
        """Called after the present state was told. What went by while the stream was away is told again."""
        self._asked_at = None
        self.room.voices.tell(self)
        paused = [subscription for subscription in self.subscriptions.values() if subscription.paused]
        if paused:
            self.emit(_stream_states(paused))
        for track in self.participant.tracks.values():
            if track.first.demand != EVERYTHING or len(track.encodings) > 1:
                self.publications.tell_wanted(track)
        if self.subscriber is not None:
            self.subscriber.restart()
        if not any(offers.is_negotiated for offers in self.transports()):
            # It has no media that could come later.
            self.arrived()
        self.settle()

    def handle(self, request: signaling_pb2.SessionRequest) -> None:
        """Answers a request; one that is refused does not end the session."""
        kind = request.WhichOneof("message")
        if self.ended:
            return
        try:
            bucket = self._data if kind == "send_data" else self._requests
            if not bucket.take(self._loop.time()):
                raise LimitExceededError("too many requests")
            handler = self._HANDLERS.get(kind or "")
            if handler is None:
                raise InvalidArgumentError(f"unexpected request {kind!r}" if kind else "a request without a message")
            self._changes += kind not in _CHANGE_NOTHING
            handler(self, getattr(request, kind or ""), request.request_id)
        except ControlError as error:
            self.emit(SessionResponse(request_id=request.request_id, request_failed=request_failed(error)))
        except Exception as error:
            log.exception("request failed", request=kind, participant=self.participant.id)
            self.emit(SessionResponse(request_id=request.request_id, request_failed=request_failed(error)))

    def is_it(self, session_id: str, participant_id: str) -> bool:
        """Whether a client of its identity means this one: by its participant, or else by its secret."""
        names = (self.id, self.resume_as, self.came_as)
        return is_claimed(session_id, participant_id, self.participant.id, names)

    def leave(
        self, reason: "models_pb2.DisconnectReason.ValueType", message: str = "", can_rejoin: bool = False
    ) -> None:
        """Ends the session and frees everything. May be called twice."""
        if self.ended:
            return
        self.ended = True
        left = signaling_pb2.Left(reason=reason, message=message, can_rejoin=can_rejoin)
        self.emit(SessionResponse(left=left))
        self.outbox.close()
        if self._settle is not None:
            self._settle.cancel()
        for track in list(self.participant.tracks.values()):
            self.publications.remove(track, tell_owner=False)
        for offers in self.transports():
            if offers.peer is not None:
                self.close_peer(offers.peer)
        for subscription in list(self.subscriptions.values()):
            self.drop_subscription(subscription.track)
        self.room.leave(self.participant, reason)
        log.info("left", room=self.room.name, participant=self.participant.id, reason=reason)

    @property
    def is_movable(self) -> bool:
        """Its client can negotiate again. Those of WHIP and WHEP cannot."""
        return not self.publisher.auto_publish and not self.publisher.reserve

    def arrived(self) -> None:
        """Its client has its media here: from now on this node tells of its participant."""
        if self.arriving and not self.publisher.is_expecting:
            self.arriving = False
            self.room.changed(self.participant)
            log.info("moved here", room=self.room.name, participant=self.participant.id)

    def hand_over(self) -> None:
        """Another node tells of its participant now. Ends here without a word to anybody. Media goes on until the
        client leaves its transports: what it has not heard of yet must not end under it."""
        if self.ended:
            return
        self.ended = self.is_handed_over = True
        self.outbox.close()
        if self._settle is not None:
            self._settle.cancel()
        self.room.handed_over(self)
        self._loop.call_later(LINGER, self._free)
        log.info("handed over", room=self.room.name, participant=self.participant.id)

    @property
    def has_transports(self) -> bool:
        """Its client has not left them."""
        return any(offers.peer is not None and not offers.peer.lost for offers in self.transports())

    def _free(self) -> None:
        for subscription in list(self.subscriptions.values()):
            self.drop_subscription(subscription.track)
        for offers in self.transports():
            if offers.peer is not None:
                self.close_peer(offers.peer)

    # What its room asks of it for its participant.

    def first_subscriber(self, track: Track) -> None:
        self.emit(SessionResponse(first_subscriber=signaling_pb2.FirstSubscriber(track_id=track.id)))

    def tell_wanted(self, track: Track) -> None:
        self.publications.tell_wanted(track)

    def release(self, handle: int) -> None:
        peer = self.publisher.peer
        if peer is not None and not peer.lost:
            self.room.unpublish(handle)

    # Requests.

    def _on_offer(self, offer: signaling_pb2.SessionDescription, request_id: int) -> None:
        if offer.transport == signaling_pb2.TRANSPORT_SUBSCRIBER:
            raise InvalidArgumentError("the server offers the subscriber transport")
        sdp, mids = self.publisher.negotiate(offer.sdp)
        answer = signaling_pb2.SessionDescription(
            transport=self.publisher.transport, sdp=sdp, id=offer.id, mid_to_track_id=mids
        )
        self.emit(SessionResponse(request_id=request_id, answer=answer))
        self._asked_at = None
        self.publisher.start_sending()
        self.arrived()
        self.settle()

    def _on_answer(self, answer: signaling_pb2.SessionDescription, _: int) -> None:
        if self.subscriber is None:
            raise InvalidArgumentError("the client offers in a single layout")
        self.subscriber.receive_answer(answer.sdp, answer.id)
        self.settle()

    def _on_candidate(self, candidate: signaling_pb2.IceCandidate, _: int) -> None:
        # ICE-lite (RFC 8445 section 2.5): the client checks us, and its address is learnt from its checks.
        text = candidate.candidate
        if text and (not text.startswith("candidate:") or len(text) > 1_024 or len(text.split()) < 8):
            raise InvalidArgumentError("candidate is not of the form `candidate:… typ …`")

    def _on_restart_ice(self, request: signaling_pb2.RestartIce, request_id: int) -> None:
        if request.transport == signaling_pb2.TRANSPORT_SUBSCRIBER and self.subscriber is not None:
            self.subscriber.restart()
            self.settle()
            return
        peer = self.publisher.peer
        if peer is None:
            raise FailedPreconditionError("nothing is negotiated yet")
        if not 4 <= len(request.ufrag) <= 256 or not 22 <= len(request.pwd) <= 256:
            raise InvalidArgumentError("ufrag must have 4 to 256 characters, pwd 22 to 256")
        local = peer.restart(IceCredentials(request.ufrag, request.pwd))
        restarted = signaling_pb2.IceRestarted(
            transport=self.publisher.transport,
            ufrag=local.ufrag,
            pwd=local.pwd,
            candidates=candidate_lines(peer.local.candidates),
        )
        self.emit(SessionResponse(request_id=request_id, ice_restarted=restarted))

    def _on_add_track(self, request: signaling_pb2.AddTrack, request_id: int) -> None:
        self.publications.add(request, request_id)

    def _on_unpublish(self, request: signaling_pb2.Unpublish, _: int) -> None:
        self.publications.remove(self.publications.find(request.track_id))

    def _on_mute(self, request: signaling_pb2.Mute, _: int) -> None:
        track = self.publications.find(request.track_id)
        self.publications.mute(track, request.muted)

    def _on_update_subscription(self, request: signaling_pb2.UpdateSubscription, _: int) -> None:
        for track_id in _bounded(request.track_ids):
            track = self.room.track(track_id)
            if track is None:
                self._fail(track_id, signaling_pb2.SubscriptionFailed.REASON_NOT_FOUND)
            else:
                self.choose(track, request.subscribe)
        self.settle(0)

    def _on_update_track_settings(self, request: signaling_pb2.UpdateTrackSettings, _: int) -> None:
        settings = signaling_pb2.UpdateTrackSettings()
        settings.CopyFrom(request)
        settings.ClearField("track_ids")
        for track_id in _bounded(request.track_ids):
            track = self.room.track(track_id)
            if track is None:
                raise NotFoundError(f"no track {track_id[:40]!r}")
            self.settings[track_id] = settings
            subscription = self.subscriptions.get(track_id)
            if subscription is not None:
                self.room.set_wanted(subscription, self._wanted(track))

    def _on_subscription_permission(self, request: signaling_pb2.SubscriptionPermission, _: int) -> None:
        _bounded(request.allowed)
        self.participant.rules = SubscriptionRules(request.all, allowed_subscribers(request))
        self.room.permissions_changed(self.participant)

    def _on_send_data(self, request: signaling_pb2.SendData, _: int) -> None:
        if not self.participant.permission.can_publish_data:
            raise PermissionDeniedError("publishing data is not allowed")
        message = request.message
        data.check_message(message.label, message.payload)
        self.room.send_data(
            self.participant.id,
            message.label,
            message.payload,
            message.binary,
            _bounded(request.destination_ids),
            _bounded(request.destination_identities),
        )

    def _on_update_participant(self, request: signaling_pb2.UpdateParticipant, _: int) -> None:
        if not self.participant.permission.can_update_metadata:
            raise PermissionDeniedError("updating name, metadata and attributes is not allowed")
        name = request.name if request.HasField("name") else None
        metadata = request.metadata if request.HasField("metadata") else None
        update_info(self.participant.info, name, metadata, dict(request.attributes))
        self.room.changed(self.participant)

    def _on_leave(self, _: signaling_pb2.Leave, __: int) -> None:
        self.leave(models_pb2.DISCONNECT_REASON_CLIENT_INITIATED)

    def _on_client_state(self, state: signaling_pb2.ClientState, _: int) -> None:
        """What its client has of a session that was rebuilt from what was known a moment before its node died."""
        if not self.is_rebuilt:
            return
        known = {*self.participant.tracks, *(encoding.track.id for encoding in self.publications.pending.values())}
        offers = self.subscriber if state.sdp_session_id == self.sdp_session_id else None
        is_newer = offers is not None and offers.is_unknown(state.sdp_version)
        if is_newer or not known.issuperset(_bounded(state.track_ids)):
            text = "the session went on after it was last known"
            self.leave(models_pb2.DISCONNECT_REASON_STATE_MISMATCH, text, can_rejoin=True)

    _HANDLERS: Final[dict[str, Callable[["Session", Any, int], None]]] = {
        "offer": _on_offer,
        "answer": _on_answer,
        "candidate": _on_candidate,
        "restart_ice": _on_restart_ice,
        "add_track": _on_add_track,
        "unpublish": _on_unpublish,
        "mute": _on_mute,
        "update_subscription": _on_update_subscription,
        "update_track_settings": _on_update_track_settings,
        "subscription_permission": _on_subscription_permission,
        "send_data": _on_send_data,
        "update_participant": _on_update_participant,
        "leave": _on_leave,
        "client_state": _on_client_state,
    }

    # Subscribing.

    def choose(self, track: Track, subscribe: bool) -> None:
        """An explicit choice for one track."""
        self.choices.explicit[track.id] = subscribe
        self._undecodable.discard(track.id)
        self.consider(track)
        if subscribe and track.id not in self.subscriptions and track.owner is not self.participant:
            self._fail(track.id, signaling_pb2.SubscriptionFailed.REASON_NOT_ALLOWED)

    def consider(self, track: Track) -> None:
        """Begins or ends the subscription to an announced track, by wish and permission."""
        owner = track.owner
        if owner is self.participant or owner.hidden:
            return
        wanted = self.choices.wants(track.id, owner.identity) and track.id not in self._undecodable
        allowed = self.participant.permission.can_subscribe and owner.rules.allows(
            self.participant.identity, self.participant.id, track.id
        )
        subscription = self.subscriptions.get(track.id)
        if wanted and allowed and track.announced and subscription is None:
            self.subscriptions[track.id] = Subscription(track, self._wanted(track))
            self.room.subscriber_added(track)
            if self.subscriber is not None:
                self.subscriber.subscribed(track)
            else:
                self.publisher.subscribed(track)
            self.settle()
        elif subscription is not None and not (wanted and allowed):
            self.drop_subscription(track)
            # The client waits to see the track end.
            self.settle(RELEASE_DELAY if wanted else SECTIONS_DELAY)

    def drop_subscription(self, track: Track) -> None:
        subscription = self.subscriptions.pop(track.id, None)
        if subscription is None:
            return
        track.subscribers -= 1
        if subscription.handle is not None:
            self.room.unsubscribe(subscription, self)
        self.room.serving.changed(track)
        self.publisher.released(track)
        if self.subscriber is not None:
            self.subscriber.released(track)

    def forget_track(self, track: Track) -> None:
        """It is not published any more."""
        if track.id in self.subscriptions:
            self.drop_subscription(track)
            self.settle(RELEASE_DELAY)
        self.choices.explicit.pop(track.id, None)
        self._undecodable.discard(track.id)
        self.settings.pop(track.id, None)

    def fail_subscription(self, track: Track) -> None:
        """The client has no codec for it. Not tried again until the client asks or it comes as something else."""
        self.drop_subscription(track)
        self._undecodable.add(track.id)
        self._fail(track.id, signaling_pb2.SubscriptionFailed.REASON_NO_COMMON_CODEC)

    def retry(self, track: Track) -> None:
        """It comes as something else than was negotiated."""
        self._undecodable.discard(track.id)
        subscription = self.subscriptions.get(track.id)
        if subscription is not None and subscription.place is not None:
            if is_decodable(track, subscription.place.codecs):
                return
            self.drop_subscription(track)
        self.consider(track)

    def placed(self, subscription: Subscription, place: Place) -> None:
        """A section was negotiated for it."""
        subscription.place = place
        self.room.serving.placed(subscription, self)

    def subscribed(self, subscription: Subscription, place: Place) -> None:
        """The core forwards it now."""
        track = subscription.track
        self.room.subscribed(subscription, self)
        message = signaling_pb2.TrackSubscribed(
            track_id=track.id,
            participant_id=track.owner.id,
            mid=place.mid,
            transport=place.transport,
        )
        self.emit(SessionResponse(track_subscribed=message))

    def settle(self, delay: float = SECTIONS_DELAY) -> None:
        """Brings sections in line with subscriptions, after `delay` at most; what comes meanwhile is done together."""
        if self.ended:
            return
        at = self._loop.time() + delay
        if self._settle is not None:
            if self._settle_at <= at:
                return
            self._settle.cancel()
        # uvloop's handles of short delays do not tell their time.
        self._settle, self._settle_at = self._loop.call_later(delay, self._settle_now), at

    def _settle_now(self) -> None:
        self._settle = None
        try:
            self._bring_in_line()
        except Exception:
            log.exception("negotiation failed", participant=self.participant.id)

    def _bring_in_line(self) -> None:
        if self.subscriber is not None:
            offer = self.subscriber.next_offer()
            if offer is not None:
                self.emit(SessionResponse(offer=offer))
            return
        now = self._loop.time()
        if self._asked_at is not None and now - self._asked_at < OFFER_PATIENCE:
            return
        missing = self.publisher.sections_missing()
        if missing is not None:
            self._asked_at = now
            required = signaling_pb2.MediaSectionsRequired(audio=missing.get("audio", 0), video=missing.get("video", 0))
            self.emit(SessionResponse(media_sections_required=required))
            self.settle(OFFER_PATIENCE)

    def _wanted(self, track: Track) -> Wanted:
        settings = self.settings.get(track.id)
        return Wanted() if settings is None else wanted_of(settings)

    def stream_paused(self, subscription: Subscription, paused: bool) -> None:
        """The path to this client carries a video no more, or does again. What the client pauses itself is not told."""
        if paused == subscription.paused:
            return
        subscription.paused = paused
        self.emit(_stream_states([subscription]))

    # Transports.

    def open_peer(self, offers: "ClientOffers | ServerOffers") -> MediaPeer:
        return self.room.open_peer(self, offers)

    def close_peer(self, peer: MediaPeer) -> None:
        self.room.close_peer(peer)

    @property
    def data_peer(self) -> MediaPeer | None:
        """The transport on which data reaches this client."""
        return self.subscriber.peer if self.subscriber is not None else self.publisher.peer

    @property
    def media_connected(self) -> bool:
        return any(offers.peer is not None and offers.peer.connected for offers in self.transports())

    def ice_connected(self, offers: "ClientOffers | ServerOffers") -> None:
        if isinstance(offers, ServerOffers):
            offers.ice_connected()
            self.settle(0)

    def peer_connected(self, offers: "ClientOffers | ServerOffers") -> None:
        if offers.peer is None:
            return
        offers.peer.connected = True
        if isinstance(offers, ServerOffers):
            for label in offers.labels:
                if label not in offers.peer.channels:
                    self.room.open_data_channel(offers.peer, label)
        changed = signaling_pb2.TransportChanged(
            transport=offers.transport,
            state=signaling_pb2.TransportChanged.STATE_CONNECTED,
        )
        self.emit(SessionResponse(transport_changed=changed))
        self.arrived()
        if self.participant.info.state != models_pb2.Participant.STATE_ACTIVE:
            self.participant.info.state = models_pb2.Participant.STATE_ACTIVE
            self.room.changed(self.participant)
            self._loop.call_later(SPEAKERS_DELAY, self.room.voices.tell, self)

    def peer_lost(self, offers: "ClientOffers | ServerOffers", reason: str) -> None:
        """The core has given the transport up: the session ends, the client may join anew."""
        if offers.peer is not None:
            offers.peer.connected = False
            offers.peer.lost = True
        changed = signaling_pb2.TransportChanged(
            transport=offers.transport,
            state=signaling_pb2.TransportChanged.STATE_FAILED,
            reason=reason,
        )
        self.emit(SessionResponse(transport_changed=changed))
        if self.goes_to:
            # The client begins anew there, which ends what it had here.
            return
        if reason == "closed":
            self.leave(models_pb2.DISCONNECT_REASON_CLIENT_INITIATED, "the client closed its media transport")
        elif reason in ("ice_timeout", "consent_lost"):
            self.leave(models_pb2.DISCONNECT_REASON_CONNECTION_TIMEOUT, f"media: {reason}", can_rejoin=True)
        else:
            self.leave(models_pb2.DISCONNECT_REASON_MEDIA_FAILURE, f"media: {reason}", can_rejoin=True)

    def data_received(self, label: str, binary: bool, payload: bytes, reliable: bool) -> None:
        """The client sent on a data channel."""
        if not self.participant.permission.can_publish_data:
            return
        if self.data_mode == signaling_pb2.Join.DATA_MODE_FORWARD:
            self.room.send_data(self.participant.id, label, payload, binary)
            return
        message = models_pb2.DataMessage(label=label, payload=payload, binary=binary, reliable=reliable)
        message.sender_id, message.sender_identity = self.participant.id, self.participant.identity
        self.emit(SessionResponse(data=message))

    def transports(self) -> "list[ClientOffers | ServerOffers]":
        return [self.publisher] if self.subscriber is None else [self.publisher, self.subscriber]

    def _fail(self, track_id: str, reason: "signaling_pb2.SubscriptionFailed.Reason.ValueType") -> None:
        failed = signaling_pb2.SubscriptionFailed(track_id=track_id[:64], reason=reason)
        self.emit(SessionResponse(subscription_failed=failed))


def _stream_states(subscriptions: Iterable[Subscription]) -> SessionResponse:
    states = [
        signaling_pb2.StreamStates.State(participant_id=item.track.owner.id, track_id=item.track.id, paused=item.paused)
        for item in subscriptions
    ]
    return SessionResponse(stream_states=signaling_pb2.StreamStates(states=states))


def _bounded(items: Any) -> Any:
    if len(items) > MAX_LISTED:
        raise InvalidArgumentError(f"more than {MAX_LISTED} entries in a list")
    return items
