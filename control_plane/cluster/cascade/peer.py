"""One other node: the stream to it, what it is told, and the links that its media takes."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from control_plane.cluster.cascade import stream
from control_plane.cluster.cascade.around import choose, is_to_be_left
from control_plane.cluster.cascade.feed import Feed
from control_plane.cluster.cascade.relays import Relays
from control_plane.cluster.cascade.stream import HELLO_TIMEOUT, SILENT, Pipe, Stream
from control_plane.cluster.tasks import is_cancelled
from control_plane.cluster.through import Through
from control_plane.errors import ControlError, UnavailableError
from control_plane.live_room import LiveRoom
from pysfu.v1 import cascade_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage

if TYPE_CHECKING:
    from control_plane.cluster.cascade.cascade import Cascade

log = structlog.get_logger(__name__)

CONNECT: Final = "/pysfu.v1.CascadeService/Connect"
INVITE: Final = "/pysfu.v1.CascadeService/Invite"
REACH: Final = "/pysfu.v1.CascadeService/Reach"
# Seconds. How long links and stream are kept after the last room that both hold: people who come back find them.
LINGER: Final = 60.0
# Between attempts. Shorter mends sooner, longer spares a node that is busy coming back.
BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 2.0
# For a node to answer when there are others through which it could be reached: seconds at least, round trips, and
# seconds where none was measured. Shorter goes round sooner, longer waits for a slow path.
LEAST_PATIENCE: Final = 0.3
PATIENT_ROUND_TRIPS: Final = 4.0
STRANGERS_PATIENCE: Final = 2.0
# Seconds for the other end to say hello through a third node, which may have to connect to it first.
AROUND_PATIENCE: Final = 2.0
# How long a third node is asked last that could not do it.
SPARED: Final = 5.0
# Between tries of the straight way, and answers in a row after which it is taken again; twice as many, up to so many,
# each time that it did not hold for `HOLDS` seconds. Fewer returns sooner, more moves less often on a poor path.
PROBE: Final = 0.25
PROBE_TIMEOUT: Final = 1.0
ANSWERS: Final = 2
MAX_ANSWERS: Final = 64
HOLDS: Final = 10.0
WELL: Final = "the straight way is well"
ANEW: Final = "the other end has begun anew"
STOPS: Final = "this node stops"
# Of a stream that ended for another reason the other end may be gone.
_KNOWN: Final = frozenset({WELL, ANEW, STOPS, SILENT})
# What waits beside participants, whose changes are gathered. A node so far behind misses data messages.
MAX_EVENTS: Final = 4_096
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
# Rooms that are not here and were told of: while a room begins here, or ends.
MAX_DECLINED: Final = 4_096
# Requests and answers are few. A node that does not take them is spoken to anew.
MAX_CONTROL: Final = 8_192


# What an attempt ends with that did not succeed. A call that has ended by itself meets who writes to it with the last.
_FAILURES: Final = (ControlError, grpc.RpcError, OSError, asyncio.InvalidStateError)


class Peer:
    """Rooms are shared by `share`; the rest follows."""

    def __init__(self, node_id: str, cascade: "Cascade") -> None:
        self.id: Final = node_id
        self.calls: Final = cascade.node.id < node_id
        """The lesser id calls, the other one is called."""
        self.dropped_events = 0
        self.streams = 0
        """That were opened so far."""
        self.closed_at = time.monotonic()
        """When the last one broke."""
        self.broke_off = False
        """The last one ended at its other end."""
        self.refused = False
        """The last attempt found nobody there."""
        self.is_unreachable = False
        self.died_at = 0.0
        """0: it lives, as far as is known."""
        self.third: str | None = None
        """The node through which the stream goes; None: straight."""
        self.relays: Final = Relays(
            cascade.node.core, lesser=self.calls, say=self.say, ready=lambda: cascade.links_ready(self.id)
        )
        self._cascade = cascade
        self._incarnation: int | None = None
        self._shared: dict[str, LiveRoom] = {}
        self._feeds: dict[str, Feed] = {}
        self._control: deque[bytes] = deque()
        self._deliveries = cascade.deliveries(node_id)
        self._delivers = False
        """What is sent next is rather a delivery than an event: both take turns."""
        self._events: deque[bytes] = deque()
        self._event_bytes = 0
        self._stream: Stream | None = None
        self._open = False
        self._closed = False
        self._speaking = asyncio.Lock()
        self._ended = asyncio.Event()
        self._declined: set[str] = set()
        self._linger_until = time.monotonic() + cascade.linger
        self._attempts: asyncio.Task[None] | None = None
        self._is_cut = False
        """The straight way was silent when last heard of."""
        self._last_round_trip: float | None = None
        self._spared: dict[str, float] = {}
        self._answers = ANSWERS
        self._straight_since = -HOLDS

    # What it is told.

    @property
    def is_open(self) -> bool:
        """It has said hello."""
        return self._open

    @property
    def round_trip(self) -> float | None:
        """Of the stream, in seconds."""
        return self._stream.round_trip if self._stream is not None else None

    @property
    def may_pass_media(self) -> bool:
        """Tracks may come over links to it, or over some that are soon made."""
        if self.relays.is_there:
            # They say it best: where they pass media a broken stream is none of its business.
            return not self.relays.are_silent
        return not self.is_unreachable and self.third is None

    @property
    def shared(self) -> frozenset[str]:
        """Names of rooms that it holds, as far as is known."""
        return frozenset(self._shared)

    def share(self, live: LiveRoom) -> None:
        """It holds the room, too."""
        if self._shared.get(live.name) is not live:
            self._shared[live.name] = live
            self._feed(live)
        self._begin()

    def unshare(self, name: str, *, told: cascade_pb2.RemoteRoomLeft | None = None) -> None:
        """One of both does not hold it any more. `told`: what to say of it."""
        if self._shared.pop(name, None) is None:
            return
        self._feeds.pop(name, None)
        self._linger()
        if told is not None and self._open:
            self.say(CascadeMessage(room_left=told))

    def decline(self, name: str) -> None:
        """It tells of a room that is not here."""
        self.say(CascadeMessage(room_left=cascade_pb2.RemoteRoomLeft(room=name)))
        if len(self._declined) < MAX_DECLINED:
            self._declined.add(name)

    def take_declined(self, name: str) -> bool:
        """Whether it has told of that room since it was not here."""
        found = name in self._declined
        self._declined.discard(name)
        return found

    def feed(self, name: str) -> Feed | None:
        """Where changes of a room go; None while it need not be told."""
        self._wake()
        return self._feeds.get(name)

    def restart_feed(self, live: LiveRoom) -> None:
        """From the beginning."""
        self._shared[live.name] = live
        self._feed(live)

    def say(self, message: CascadeMessage) -> None:
        """Without an open stream it is not said."""
        if self._stream is None:
            return
        if len(self._control) >= MAX_CONTROL:
            self._stream.close("the other end does not keep up")
            return
        self._control.append(message.SerializeToString())
        self._wake()

    def say_if_it_keeps_up(self, message: bytes) -> None:
        """The same for what may be missed."""
        if not self._open:
            return
        if len(self._events) >= MAX_EVENTS or self._event_bytes + len(message) > MAX_EVENT_BYTES:
            self.dropped_events += 1
            return
        self._events.append(message)
        self._event_bytes += len(message)
        self._wake()

    def deliver(self, message: bytes) -> None:
        """A data message that shall not be missed: it waits while there is no stream."""
        if not self._deliveries.put(message):
            self.dropped_events += 1
        self._wake()

    # Its stream.

    def invited(self) -> None:
        """It wants to be called."""
        self._linger()
        self._begin()

    async def accept(self, pipe: Pipe, third: str | None = None) -> None:
        """It calls, straight or through a third node. Returns when the stream has ended."""
        await self._converse(pipe, third)

    def disconnect(self, reason: str) -> None:
        """It is dead: nothing more is tried. Should it come back it is known anew."""
        self._closed = True
        self._deliveries.forget()
        if self._attempts is not None:
            self._attempts.cancel()
            self._attempts = None
        if self._stream is not None:
            self._stream.close(reason)

    @property
    def is_wanted(self) -> bool:
        return bool(self._shared) or time.monotonic() < self._linger_until or self._cascade.uses(self.id)

    async def close(self) -> None:
        self._closed = True
        self._deliveries.forget()
        if self._stream is not None:
            self._stream.close(STOPS)
        attempts, self._attempts = self._attempts, None
        if attempts is not None:
            attempts.cancel()
            await asyncio.gather(attempts, return_exceptions=True)
        self.relays.close()

    # As the user of a stream.

    def hello(self) -> cascade_pb2.CascadeHello:
        self._control.clear()
        hello = self._cascade.hello()
        self.relays.describe(hello)
        hello.data_received = self._deliveries.received
        return hello

    def opened(self, hello: cascade_pb2.CascadeHello) -> None:
        if self._closed:
            raise UnavailableError("it was taken for dead")
        if self._incarnation not in (None, hello.incarnation):
            self._cascade.restarted(self)
        self._incarnation = hello.incarnation
        self.relays.opened(hello, straight=self.third is None)
        self._deliveries.opened(hello)
        self._open = True
        self.broke_off = self.refused = False
        if self.third is None:
            self._straight_since = time.monotonic()
        self.streams += 1
        self._feeds.clear()
        self._declined.clear()
        for live in list(self._shared.values()):
            self._feed(live)
        self._cascade.opened_stream(self, hello)

    @property
    def is_heard_otherwise(self) -> bool:
        # Links say nothing of a third node.
        return self.third is None and self.relays.is_there and not self.relays.are_silent

    def received(self, message: CascadeMessage) -> None:
        try:
            self._cascade.received(self, message)
        except ControlError as error:
            kind = message.WhichOneof("message")
            log.warning("a message of another node is refused", node=self.id, message=kind, reason=str(error))
        except Exception:
            log.exception("a message of another node failed", node=self.id, message=message.WhichOneof("message"))

    def next_message(self) -> bytes | None:
        """Participants go before what they say."""
        if self._control:
            return self._control.popleft()
        for feed in self._feeds.values():
            if feed.is_due:
                return feed.next_message()
        self._delivers = not self._delivers
        delivery = self._deliveries.next_message() if self._delivers or not self._events else None
        if delivery is not None or not self._events:
            return delivery
        message = self._events.popleft()
        self._event_bytes -= len(message)
        return message

    def data_received(self) -> int:
        return self._deliveries.received

    def data_confirmed(self, number: int) -> None:
        self._deliveries.confirmed(number)

    def is_new(self, data: cascade_pb2.RemoteData) -> bool:
        """It has not come before a stream broke."""
        return self._deliveries.is_new(data.number)

    # Inside.

    def _feed(self, live: LiveRoom) -> None:
        if self._open:
            people = (session.participant for session in live.room.sessions() if not session.arriving)
            self._feeds[live.name] = Feed(live.name, people, self._cascade.encoded)
            self._cascade.tell_voices(self, live)
            self._wake()

    def _wake(self) -> None:
        if self._stream is not None:
            self._stream.wake()

    def _linger(self) -> None:
        self._linger_until = time.monotonic() + self._cascade.linger

    def _begin(self) -> None:
        if not self._closed and (self._attempts is None or self._attempts.done()):
            self._attempts = asyncio.create_task(self._attempt())

    async def _attempt(self) -> None:
        """Calls, or asks to be called, again and again while it is wanted."""
        wait = BACKOFF
        while self.is_wanted and not self._closed:
            self._ended.clear()
            if self._speaking.locked():
                await self._ended.wait()
                wait = BACKOFF
            before = self.streams
            is_cut, self._is_cut = self._is_cut, False
            answers = not is_cut and await self._try_straight()
            if not answers and self.is_wanted and not self._closed and not self._speaking.locked():
                await self._try_around()
            wait = BACKOFF if self.streams != before else min(2 * wait, MAX_BACKOFF)
            await asyncio.sleep(wait)

    async def _try_straight(self) -> bool:
        """Whether it answered."""
        before, patience = self.streams, self._patience()
        try:
            channel = self._cascade.channel(self.id)
            await (self._call(channel, patience) if self.calls else _invite(channel, patience))
        except _FAILURES as error:
            reason = _reason(error)
            self.refused = "Connection refused" in reason
            log.debug("a node cannot be reached", node=self.id, reason=reason)
            return self.streams != before
        return not self.calls or self.streams != before

    def _patience(self) -> float:
        if not self._cascade.thirds(self.id):
            return HELLO_TIMEOUT
        if self._last_round_trip is None:
            return STRANGERS_PATIENCE
        return min(max(LEAST_PATIENCE, PATIENT_ROUND_TRIPS * self._last_round_trip), HELLO_TIMEOUT)

    async def _call(self, channel: Any, patience: float, third: str | None = None) -> None:
        call: Any = channel.stream_stream(
            CONNECT, request_serializer=bytes, response_deserializer=CascadeMessage.FromString
        )()
        try:
            await self._converse(call, third, patience)
        finally:
            call.cancel()

    # Through a third node.

    async def _try_around(self) -> None:
        """Through the first of the others that can: until that ends, or the straight way is well."""
        for third in choose(self._cascade.thirds(self.id), self._spared_now()):
            before = self.streams
            try:
                await self._around(third.node)
            except _FAILURES as error:
                log.debug("a node does not pass a stream on", node=self.id, third=third.node, reason=_reason(error))
            if self.streams != before:
                return
            self._spared[third.node] = time.monotonic() + SPARED

    async def _around(self, third: str) -> None:
        channel = Through(self._cascade.channel(third), self.id)
        if not self.calls:
            await _invite(channel, AROUND_PATIENCE)
            return
        watch = asyncio.ensure_future(self._watch(third))
        talk = asyncio.ensure_future(self._call(channel, AROUND_PATIENCE, third))
        try:
            await asyncio.wait({watch, talk}, return_when=asyncio.FIRST_COMPLETED)
            if not talk.done() and self._stream is not None and self.third == third:
                self._stream.close(watch.result())
                await asyncio.gather(talk, return_exceptions=True)
            elif talk.done():
                talk.result()
        finally:
            watch.cancel()
            talk.cancel()
            await asyncio.gather(watch, talk, return_exceptions=True)

    async def _watch(self, third: str) -> str:
        """Why the way round is to be left."""
        answers = 0
        while answers < self._answers:
            await asyncio.sleep(PROBE)
            if is_to_be_left(third, self._cascade.thirds(self.id), self._spared_now()):
                return "its third node stops"
            answers = answers + 1 if await self._reaches() else 0
        return WELL

    async def _reaches(self) -> bool:
        """It answers, if only that it does not know this call."""
        try:
            reach: Callable[..., Any] = self._cascade.channel(self.id).unary_unary(REACH)
            await reach(b"", timeout=PROBE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
        except ControlError:
            return False
        return True

    def _spared_now(self) -> set[str]:
        now = time.monotonic()
        self._spared = {third: until for third, until in self._spared.items() if until > now}
        return set(self._spared)

    # One stream.

    async def _converse(self, pipe: Pipe, third: str | None = None, patience: float = HELLO_TIMEOUT) -> None:
        if self._stream is not None:
            self._stream.close(ANEW)
        async with self._speaking:
            self._stream, self.third = stream.Stream(pipe, self, patience), third
            reason = "broken"
            try:
                reason = await self._stream.run()
            except ControlError as error:
                reason = str(error)
                log.warning("a node is refused", node=self.id, reason=reason)
            except asyncio.CancelledError:
                # Of the call alone, when the channel to the third node is closed.
                if third is None or is_cancelled():
                    raise
            except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
                reason = getattr(error, "details", lambda: None)() or type(error).__name__
                if not self._open:
                    raise
            finally:
                self._remember(self._stream, third, reason)
                was_open, self._open, self._stream, self.third = self._open, False, None, None
                self._feeds.clear()
                self._control.clear()
                self._events.clear()
                self._event_bytes = 0
                self._ended.set()
                if was_open:
                    self.closed_at = time.monotonic()
                    self._cascade.closed_stream(self, reason)

    def _remember(self, told: Stream, third: str | None, reason: str) -> None:
        """What the next attempt is to know of a stream that has ended."""
        now = time.monotonic()
        if third is not None:
            # Of one that never began it is not known better than before whether the straight way is well.
            self._is_cut = self._open and reason != WELL
            if self._is_cut:
                self._spared[third] = now + SPARED
            return
        # Media comes also from a node whose control plane stood still: it is called straight.
        self._is_cut = reason == SILENT and self.relays.are_silent
        self.broke_off = reason not in _KNOWN
        self._last_round_trip = told.round_trip or self._last_round_trip
        if self._open:
            held = now - self._straight_since > HOLDS
            self._answers = ANSWERS if held else min(2 * self._answers, MAX_ANSWERS)


async def _invite(channel: Any, patience: float) -> None:
    """Asks to be called."""
    invite: Callable[..., Any] = channel.unary_unary(
        INVITE,
        request_serializer=cascade_pb2.CascadeInvitation.SerializeToString,
        response_deserializer=cascade_pb2.CascadeInvited.FromString,
    )
    await invite(cascade_pb2.CascadeInvitation(), timeout=patience)


def _reason(error: Exception) -> str:
    return str(error.details()) if isinstance(error, grpc.aio.AioRpcError) else str(error)
