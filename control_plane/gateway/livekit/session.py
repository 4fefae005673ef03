"""One WebSocket of a LiveKit client, joined to one session of the node."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from livekit.protocol import rtc as lr

from control_plane.auth import Token, Verifier
from control_plane.errors import ControlError, PermissionDeniedError
from control_plane.gateway.livekit import connect, from_livekit, to_livekit
from control_plane.gateway.livekit.data import DataState, relay
from control_plane.gateway.livekit.from_livekit import BadRequestError
from control_plane.gateway.livekit.refusals import Refusal, Refusals
from control_plane.gateway.livekit.renewal import Renewal
from control_plane.gateway.route import Route
from control_plane.gateway.upstream import JoinRefusedError, Upstream
from control_plane.limits import TokenBucket
from pysfu.v1 import models_pb2, signaling_pb2

log = structlog.get_logger(__name__)

MAX_MESSAGE: Final = 1024 * 1024
# Clients ping every PING_INTERVAL seconds; one that is silent for this long is gone.
SILENCE: Final = 2.0 * to_livekit.PING_TIMEOUT
# How long the gateway remembers whom a lost WebSocket belonged to. Longer than the node waits.
SEAT_TIMEOUT: Final = 60.0
# From this version on, clients take the subscriber's connection as the primary one.
SUBSCRIBER_PRIMARY_PROTOCOL: Final = 3
# Bad messages of one client before its connection is closed.
MAX_BAD_MESSAGES: Final = 100
MAX_SID: Final = 64


@dataclass(slots=True)
class Seat:
    """What outlives a WebSocket, so that its client can resume."""

    session_id: str
    participant: models_pb2.Participant
    data: DataState = field(default_factory=DataState)
    expiry: asyncio.TimerHandle | None = None


class LiveKitGateway:
    """Handlers of `/rtc` and `/rtc/v1`, and of their `/validate`."""

    def __init__(self, route: Route, verifier: Verifier) -> None:
        self._route = route
        self._verifier = verifier
        self._seats: dict[str, Seat] = {}
        self._refusals = Refusals()
        self._sockets: set[web.WebSocketResponse] = set()
        self._connections: set[Connection] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/rtc/v1", self._v1)
        router.add_get("/rtc/v1/validate", self._validate)
        router.add_get("/rtc", self._v0)
        router.add_get("/rtc/validate", self._validate)

    async def hand_over(self, here: str) -> None:
        """Sends those to other gateways whose session is on another node than `here`: their calls go on."""
        elsewhere = [one for one in self._connections if one.node not in ("", here)]
        await asyncio.gather(*(one.hand_over() for one in elsewhere), return_exceptions=True)

    async def close(self) -> None:
        """Closes every WebSocket."""
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")

    async def _v1(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, connect.from_v1, split=False)

    async def _v0(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, connect.from_v0, split=True)

    async def _validate(self, request: web.Request) -> web.Response:
        headers = {"Access-Control-Allow-Origin": "*"}
        try:
            token = self._verifier.verify(bearer(request))
            token.grants.require_room_join(token.grants.room)
        except ControlError as error:
            return web.Response(status=refusal_status(error), text=str(error), headers=headers)
        refusal = self._refusals.of(bearer(request))
        if refusal is not None:
            told = refusal.for_people()
            return web.Response(status=told.status, text=told.text, headers=headers | told.headers)
        return web.Response(text="success", headers=headers)

    async def _serve(
        self, request: web.Request, parse: Callable[[Any], lr.JoinRequest], *, split: bool
    ) -> web.StreamResponse:
        token = bearer(request)
        try:
            verified = self._verifier.verify(token)
            asked = parse(request.query)
        except ControlError as error:
            return web.Response(status=refusal_status(error), text=str(error))
        except BadRequestError as error:
            return self._refuse(token, Refusal(400, str(error)))
        seat = self._seats.get(asked.participant_sid) if asked.reconnect else None
        if asked.reconnect and not asked.participant_sid:
            return await self._refuse_resume(request)
        try:
            join = from_livekit.join(asked, split=split, resume=seat.session_id if seat else "")
            if asked.reconnect and seat is None:
                # It was at another gateway.
                join.resume_participant_id = asked.participant_sid[:MAX_SID]
            upstream, joined = await self._route.open(token, join, request.query.get("region", ""))
        except JoinRefusedError as error:
            if asked.reconnect:
                return await self._refuse_resume(request)
            return self._refuse(token, Refusal(error.status, str(error), error.headers))
        except ValueError as error:
            return self._refuse(token, Refusal(400, f"join_request: {error}"))
        self._refusals.forget(token)
        # Without compression: its state costs each connection 300 kB, and large messages are sent by tasks that outlive
        # the connection.
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, compress=False)
        try:
            await socket.prepare(request)
            self._sockets.add(socket)
            await self._run(socket, upstream, joined, asked, verified, split=split)
        finally:
            self._sockets.discard(socket)
            upstream.close()
            self._route.closed(upstream)
        return socket

    async def _run(
        self,
        socket: web.WebSocketResponse,
        upstream: Upstream,
        joined: signaling_pb2.Joined,
        asked: lr.JoinRequest,
        token: Token,
        *,
        split: bool,
    ) -> None:
        sid = joined.participant.id
        seat = self._take_seat(sid, joined)
        renewal = Renewal(self._verifier, token, joined.participant)
        connection = Connection(socket, upstream, seat, renewal, is_rebuilt=joined.rebuilt)
        if joined.resumed:
            await connection.send(to_livekit.reconnect(joined, seat.data.last_sequence))
            await connection.send(to_livekit.participants([joined.participant, *joined.others]))
        else:
            primary = split and asked.client_info.protocol >= SUBSCRIBER_PRIMARY_PROTOCOL
            await connection.send(to_livekit.join(joined, subscriber_primary=primary))
        self._connections.add(connection)
        try:
            left = await connection.run()
        finally:
            self._connections.discard(connection)
        if left:
            self._seats.pop(sid, None)
        elif self._seats.get(sid) is seat:
            loop = asyncio.get_running_loop()
            seat.expiry = loop.call_later(SEAT_TIMEOUT, lambda: self._seats.pop(sid, None))

    def _take_seat(self, sid: str, joined: signaling_pb2.Joined) -> Seat:
        seat = self._seats.get(sid)
        if seat is None or not joined.resumed:
            seat = self._seats[sid] = Seat(joined.session_id, joined.participant)
        if seat.expiry is not None:
            seat.expiry.cancel()
            seat.expiry = None
        seat.session_id, seat.participant = joined.session_id, joined.participant
        return seat

    def _refuse(self, token: str, refusal: Refusal) -> web.Response:
        """`token`: one that was verified."""
        self._refusals.keep(token, refusal)
        return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)

    async def _refuse_resume(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_bytes(to_livekit.unknown_session().SerializeToString())
        await socket.close()
        return socket


class Connection:
    """Moves messages both ways until one side ends."""

    def __init__(
        self, socket: web.WebSocketResponse, upstream: Upstream, seat: Seat, renewal: Renewal, *, is_rebuilt: bool
    ) -> None:
        self._socket = socket
        self._renewal = renewal
        self._upstream = upstream
        upstream.can_resume = True
        self._seat = seat
        self._is_rebuilt = is_rebuilt
        self._text = False
        self._left = False
        self._bad_messages = 0
        self._rate = TokenBucket(rate=200, burst=1_000)

    @property
    def node(self) -> str:
        """Where the session is; empty without a cluster."""
        return self._upstream.node

    async def hand_over(self) -> None:
        """The client resumes at another gateway, at once."""
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"the gateway stops")

    async def run(self) -> bool:
        """True when the session has ended, not the connection alone."""
        tasks = [asyncio.create_task(part) for part in (self._down(), self._up(), self._renewal.run(self.send))]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                log.error("LiveKit session failed", participant=self._seat.participant.id, exc_info=result)
        await self._socket.close()
        return self._left

    async def send(self, message: lr.SignalResponse) -> None:
        if self._text:
            await self._socket.send_str(json_format.MessageToJson(message, indent=None))
        else:
            await self._socket.send_bytes(message.SerializeToString())

    async def _down(self) -> None:
        async for response in self._upstream.responses():
            kind = response.WhichOneof("message")
            if kind == "data":
                await self._guard(lambda response=response: self._relay(response.data))  # type: ignore[misc]
                continue
            message = to_livekit.response(response)
            if message is not None:
                await self.send(message)
            if kind == "participants_changed" and self._renewal.take(response.participants_changed.participants):
                await self.send(self._renewal.message())
            if kind == "move_to":
                self._seat.session_id = response.move_to.session_id
                # Not by a leave request with action RESUME: LiveKit's Rust core takes the end of the WebSocket after
                # it for a second failure, and joins anew the next time.
                await self._socket.close(code=WSCloseCode.SERVICE_RESTART, message=b"the session moves")
                return
            if kind == "left":
                self._left = True
                return
        if self._upstream.broken and self._upstream.goes_on:
            log.warning("the way to a node broke", node=self._upstream.node, participant=self._seat.participant.id)
            await self._socket.close(code=WSCloseCode.SERVICE_RESTART, message=b"the session goes on another way")
        elif self._upstream.broken:
            # Its node is gone, and the session with it: another node takes the client at once.
            self._left = True
            log.warning("a node broke off", node=self._upstream.node, participant=self._seat.participant.id)
            await self.send(to_livekit.unknown_session())

    async def _up(self) -> None:
        while True:
            async with asyncio.timeout(SILENCE):
                message = await self._receive()
            if message is None:
                return
            if self._rate.take(time.monotonic()):
                await self._guard(lambda message=message: self._handle(message))  # type: ignore[misc]
            if self._bad_messages > MAX_BAD_MESSAGES:
                await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many malformed messages")
                return

    async def _receive(self) -> bytes | str | None:
        message = await self._socket.receive()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            content: bytes | str = message.data
            return content
        return None

    async def _guard(self, act: Callable[[], Awaitable[None]]) -> None:
        """A malformed message is answered, and the session lives on."""
        try:
            await act()
        except (BadRequestError, DecodeError, json_format.ParseError, ValueError) as error:
            self._bad_messages += 1
            text = str(error) or "the message is no SignalRequest"
            failed = signaling_pb2.RequestFailed(
                code=signaling_pb2.RequestFailed.CODE_INVALID_ARGUMENT, message=text[:500]
            )
            answer = to_livekit.response(signaling_pb2.SessionResponse(request_failed=failed))
            if answer is not None:
                with contextlib.suppress(ConnectionError):
                    await self.send(answer)

    async def _handle(self, content: bytes | str) -> None:
        if isinstance(content, str):
            self._text = True
            request = json_format.Parse(content, lr.SignalRequest(), ignore_unknown_fields=True)
        else:
            request = lr.SignalRequest.FromString(content)
        match request.WhichOneof("message"):
            case "ping":
                await self.send(lr.SignalResponse(pong=request.ping))
            case "ping_req":
                # Both forms: clients wait for one or the other.
                await self.send(to_livekit.pong(request.ping_req))
            case "sync_state" if not self._is_rebuilt:
                # Its node knows.
                pass
            case _:
                for translated in from_livekit.requests(request):
                    self._upstream.send(translated)

    async def _relay(self, message: models_pb2.DataMessage) -> None:
        packet = relay(message, self._seat.participant, self._seat.data)
        if packet is not None:
            self._upstream.send(signaling_pb2.SessionRequest(send_data=packet))


def bearer(request: web.Request) -> str:
    """The token, from the query (browsers) or from the header (everyone else)."""
    token = request.query.get("access_token", "")
    if token:
        return token
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def refusal_status(error: ControlError) -> int:
    """HTTP status of a token's refusal."""
    return 403 if isinstance(error, PermissionDeniedError) else 401
