"""The servers: how they run, and how a receiving page gets in. All of them in this process's network namespace."""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import grpc
import jwt

from bench.forward import janus as debian
from bench.forward import servers
from pysfu.v1 import signaling_pb2, signaling_pb2_grpc, stats_pb2, stats_pb2_grpc

ADDRESS = debian.ADDRESS
KEY, SECRET = "devkey", "secret"
ROOM = "quality"
READY_SECONDS = 30.0
ESTIMATE_SECONDS = 0.2

Answer = Callable[[str], Awaitable[str]]
"""Gives the page a server's description; returns the page's own, which is empty where it had offered."""


class PeerError(Exception):
    """A server did not start or refused a receiver."""


class Peer(Protocol):
    """A running server."""

    url: str
    """For the load engine."""
    publisher_address: str

    def receive(self, publishers: int, offer: Callable[[], Awaitable[str]], answer: Answer, name: str) -> Any:
        """A context in which the page is a receiver of that many publishers, each with a camera and a microphone."""

    def estimates(self, name: str) -> list[tuple[float, float]]:
        """What the server believed the path to that receiver carries: (s since 1970, bit/s); empty if it is silent."""


class Pysfu:
    """The product as its users run it, with one media thread."""

    publisher_address = "127.0.0.1"

    def __init__(self, grpc_port: int) -> None:
        self.url = f"pysfu://127.0.0.1:{grpc_port}"
        self._address = f"127.0.0.1:{grpc_port}"
        self._estimates: dict[str, list[tuple[float, float]]] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls) -> AsyncIterator["Pysfu"]:
        """Starts it, ends it."""
        http, rpc, udp = servers.free_port(), servers.free_port(), servers.free_udp_ports(1)
        command = [sys.executable, "-c", "from pysfu.cli import main; main()", "serve", "--dev"]
        command += ["--http-port", str(http), "--grpc-port", str(rpc), "--udp-port", str(udp), "--workers", "1"]
        with _log() as log, servers.process(command, [0, 1], log) as child:

            async def ready() -> bool:
                url = f"http://127.0.0.1:{http}/readyz"
                async with aiohttp.ClientSession() as client, client.get(url) as response:
                    return response.status == 200

            await _until(ready, child, log)
            yield cls(rpc)

    @contextlib.asynccontextmanager
    async def receive(
        self, publishers: int, offer: Callable[[], Awaitable[str]], answer: Answer, name: str
    ) -> AsyncIterator[None]:
        """One peer connection that receives everything in the room; all sections are in the first offer."""
        metadata = [("authorization", f"Bearer {_token(name)}")]
        description = signaling_pb2.SessionDescription(sdp=await offer(), id=1)
        join = signaling_pb2.Join(room=ROOM, auto_subscribe=True, reserve_sections=True, offer=description)
        async with grpc.aio.insecure_channel(self._address) as channel:
            call = signaling_pb2_grpc.SignalingServiceStub(channel).Session(metadata=metadata)
            await call.write(signaling_pb2.SessionRequest(request_id=1, join=join))
            participant = ""
            async for response in call:
                kind = response.WhichOneof("message")
                if kind == "joined":
                    participant = response.joined.participant.id
                if kind == "answer":
                    await answer(response.answer.sdp)
                    break
                if kind in ("request_failed", "left"):
                    raise PeerError(f"pysfu refused a receiver: {response}")
            watch = self._watch(channel, participant, self._estimates.setdefault(name, []))
            listening = [asyncio.create_task(_drain(call)), asyncio.create_task(watch)]
            try:
                yield
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)
                call.cancel()

    def estimates(self, name: str) -> list[tuple[float, float]]:
        """As StatsService tells them."""
        return self._estimates.get(name, [])

    async def _watch(self, channel: grpc.aio.Channel, participant: str, found: list[tuple[float, float]]) -> None:
        metadata = [("authorization", f"Bearer {_token('operator', admin=True)}")]
        stub = stats_pb2_grpc.StatsServiceStub(channel)
        request = stats_pb2.WatchRoomStatsRequest(room=ROOM, interval_ms=int(ESTIMATE_SECONDS * 1e3))
        async for stats in stub.WatchRoomStats(request, metadata=metadata):
            now = time.time()
            found += [(now, path.estimate_bps) for path in stats.downlinks if path.participant_id == participant]


class Janus:
    """Debian's Janus with the videoroom plugin as the load engine sets the room up: no limit of bit rate."""

    url = f"janus+ws://{ADDRESS}:{debian.PORT}"
    publisher_address = ADDRESS

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls) -> AsyncIterator["Janus"]:
        """Starts it, ends it."""
        with _log() as log:
            debian.configure(log.parent, debian.installation())
            with servers.process(["janus", "--configs-folder", str(log.parent)], [0, 1], log) as child:

                async def ready() -> bool:
                    _, writer = await asyncio.open_connection(ADDRESS, debian.PORT)
                    writer.close()
                    return True

                await _until(ready, child, log)
                yield cls()

    @contextlib.asynccontextmanager
    async def receive(
        self, publishers: int, offer: Callable[[], Awaitable[str]], answer: Answer, name: str
    ) -> AsyncIterator[None]:
        """One peer connection that receives everything in the room; Janus offers."""
        async with aiohttp.ClientSession() as http:
            url = f"ws://{ADDRESS}:{debian.PORT}"
            async with http.ws_connect(url, protocols=["janus-protocol"], heartbeat=None) as socket:
                session = _JanusSession(socket)
                await session.open()
                room = (await session.ask({"request": "list"}))["list"][0]["room"]
                listed = await session.ask({"request": "listparticipants", "room": room})
                feeds = [{"feed": one["id"]} for one in listed["participants"] if one["publisher"]]
                if len(feeds) != publishers:
                    raise PeerError(f"Janus has {len(feeds)} publishers, not {publishers}")
                join = {"request": "join", "ptype": "subscriber", "room": room, "streams": feeds}
                sdp = await answer(await session.negotiate(join))
                await session.start(sdp)
                listening = asyncio.create_task(session.keep_alive())
                try:
                    yield
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)

    def estimates(self, name: str) -> list[tuple[float, float]]:
        """Janus estimates nothing."""
        return []


class _JanusSession:
    """A session with one handle of the videoroom."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session = 0
        self._handle = 0
        self._ids = count(1)

    async def open(self) -> None:
        """Makes session and handle."""
        self._session = (await self._request({"janus": "create"}))["data"]["id"]
        attach = {"janus": "attach", "plugin": "janus.plugin.videoroom"}
        self._handle = (await self._request(attach))["data"]["id"]

    async def ask(self, body: Mapping[str, object]) -> Any:
        """The data of a request that is answered at once."""
        answer = await self._request({"janus": "message", "body": body})
        return answer["plugindata"]["data"]

    async def negotiate(self, body: Mapping[str, object]) -> str:
        """The offer that a request leads to."""
        await self._send({"janus": "message", "body": body})
        event = await self._wait(lambda message: "jsep" in message)
        return str(event["jsep"]["sdp"])

    async def start(self, sdp: str) -> None:
        """Answers the offer."""
        jsep = {"type": "answer", "sdp": sdp}
        await self._send({"janus": "message", "body": {"request": "start"}, "jsep": jsep})

    async def keep_alive(self) -> None:
        """Janus forgets who says nothing for a minute."""
        while True:
            with contextlib.suppress(TimeoutError):
                await self._socket.receive(timeout=20)
                continue
            await self._send({"janus": "keepalive"})

    async def _request(self, message: Mapping[str, object]) -> Any:
        transaction = await self._send(message)
        return await self._wait(lambda answer: answer.get("transaction") == transaction)

    async def _send(self, message: Mapping[str, object]) -> str:
        transaction = str(next(self._ids))
        request = {**message, "transaction": transaction}
        if self._session:
            request["session_id"] = self._session
        if self._handle:
            request["handle_id"] = self._handle
        await self._socket.send_json(request)
        return transaction

    async def _wait(self, fits: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(10):
            while True:
                message = await self._socket.receive_json()
                data = message.get("plugindata", {}).get("data", {})
                if message.get("janus") == "error" or "error" in data:
                    raise PeerError(f"Janus: {message}")
                if fits(message):
                    return message


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


def _token(identity: str, *, admin: bool = False) -> str:
    """What an application's backend would sign."""
    video = {"room": ROOM, "roomAdmin": True, "roomList": True} if admin else {"room": ROOM, "roomJoin": True}
    now = int(time.time())
    claims = {"iss": KEY, "sub": identity, "nbf": now - 10, "exp": now + 3_600, "video": video}
    return jwt.encode(claims, SECRET, "HS256")


@contextlib.contextmanager
def _log() -> Any:
    with tempfile.TemporaryDirectory(prefix="bench-quality-") as folder:
        yield Path(folder) / "log"


async def _until(ready: Callable[[], Awaitable[bool]], child: Any, log: Path) -> None:
    """Until the server is ready: there is no event to wait on across processes."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError, aiohttp.ClientError):
            if await ready():
                return
        if child.poll() is not None or time.monotonic() > deadline:
            raise PeerError(f"a server did not start:\n{servers.tail(log)}")
        await asyncio.sleep(0.05)


PEERS: dict[str, Callable[[], contextlib.AbstractAsyncContextManager[Peer]]] = {"pysfu": Pysfu.run, "janus": Janus.run}
