"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one HTTP resource per session of the node."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from control_plane.auth import Token, Verifier
from control_plane.errors import ControlError, PermissionDeniedError
from control_plane.gateway.fragment import Fragment, FragmentError, parse_fragment, write_fragment
from control_plane.gateway.route import Route
from control_plane.gateway.upstream import JoinRefusedError, Upstream
from pysfu.v1 import signaling_pb2

log = structlog.get_logger(__name__)

MAX_OFFER: Final = 256 * 1024
ANSWER_TIMEOUT: Final = 10.0
SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch",
}
PREFLIGHT: Final = CORS | {
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Accept-Post": SDP,
}


@dataclass(slots=True)
class Resource:
    """A live session. `etag` names its ICE session (RFC 9725 section 4.3.1)."""

    path: str
    identity: str
    upstream: Upstream
    etag: str
    reader: asyncio.Task[None] | None = None
    restarted: asyncio.Queue[signaling_pb2.SessionResponse] | None = None


class HttpRefusedError(Exception):
    """An answer other than success. `headers` in addition to CORS."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.text, self.headers = status, text, headers or {}
        super().__init__(text)


class WhipGateway:
    """Handlers of `/whip/{room}`, `/whep/{room}` and of their resources."""

    def __init__(self, route: Route, verifier: Verifier) -> None:
        self._route = route
        self._verifier = verifier
        self._resources: dict[str, Resource] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for protocol in ("whip", "whep"):
            router.add_route("*", f"/{protocol}/{{room}}", self._endpoint, name=protocol)
            router.add_route("*", f"/{protocol}/{{room}}/{{resource}}", self._resource)

    async def close(self) -> None:
        """Ends every session."""
        for resource in list(self._resources.values()):
            self._end(resource)

    async def _endpoint(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=PREFLIGHT)
        if request.method != "POST":
            return web.Response(status=405, headers=CORS | {"Allow": "POST, OPTIONS"})
        return await self._answer(request, self._create)

    async def _resource(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=PREFLIGHT | {"Accept-Patch": FRAGMENT})
        act = {"PATCH": self._patch, "DELETE": self._delete}.get(request.method)
        if act is None:
            return web.Response(status=405, headers=CORS | {"Allow": "PATCH, DELETE, OPTIONS"})
        return await self._answer(request, act)

    async def _answer(self, request: web.Request, act: object) -> web.Response:
        try:
            token = self._verifier.verify_authorization(request.headers.get("Authorization"))
            response: web.Response = await act(request, token)  # type: ignore[operator]
        except PermissionDeniedError as error:
            return web.Response(status=403, text=str(error), headers=CORS)
        except ControlError as error:
            challenge = {"WWW-Authenticate": 'Bearer realm="pysfu"'}
            return web.Response(status=401, text=str(error), headers=CORS | challenge)
        except HttpRefusedError as error:
            return web.Response(status=error.status, text=error.text, headers=CORS | error.headers)
        response.headers.update(CORS)
        return response

    async def _create(self, request: web.Request, token: Token) -> web.Response:
        if request.content_type != SDP:
            raise HttpRefusedError(415, f"the content type must be {SDP}", {"Accept-Post": SDP})
        offer = await _body(request, MAX_OFFER)
        room = request.match_info["room"]
        publishes = request.path.startswith("/whip/")
        join = signaling_pb2.Join(
            room=room,
            auto_publish=publishes,
            auto_subscribe=not publishes,
            subscribe_identity="" if publishes else request.query.get("publisher", ""),
            reserve_sections=not publishes,
            offer=signaling_pb2.SessionDescription(sdp=offer, id=1),
            client="whip" if publishes else "whep",
        )
        raw = request.headers["Authorization"].partition(" ")[2].strip()
        try:
            upstream, _ = await self._route.open(raw, join, request.query.get("region", ""))
        except JoinRefusedError as error:
            raise HttpRefusedError(error.status, str(error), error.headers) from error
        answered: asyncio.Queue[signaling_pb2.SessionResponse] = asyncio.Queue()
        name = secrets.token_urlsafe(18)
        path = f"{request.path}/{name}"
        resource = Resource(path, token.identity, upstream, _etag(), restarted=answered)
        self._resources[name] = resource
        resource.reader = asyncio.create_task(self._watch(name, resource))
        try:
            response = await _next(answered)
        except HttpRefusedError:
            self._end(resource)
            raise
        if response.WhichOneof("message") != "answer":
            self._end(resource)
            raise HttpRefusedError(400, response.request_failed.message or "the offer was refused")
        headers = {"Location": path, "ETag": resource.etag, "Accept-Patch": FRAGMENT}
        return web.Response(status=201, text=response.answer.sdp, content_type=SDP, headers=headers)

    async def _patch(self, request: web.Request, token: Token) -> web.Response:
        resource = self._find(request, token)
        if request.content_type != FRAGMENT:
            raise HttpRefusedError(415, f"the content type must be {FRAGMENT}", {"Accept-Patch": FRAGMENT})
        try:
            fragment = parse_fragment(await _body(request, MAX_OFFER))
        except FragmentError as error:
            raise HttpRefusedError(400, str(error)) from error
        condition = request.headers.get("If-Match")
        # RFC 9725 section 4.3.3: a restart comes with `If-Match: *`, trickled candidates with the session's tag.
        if condition == "*":
            return await self._restart(resource, fragment)
        if condition is None:
            raise HttpRefusedError(428, "If-Match is missing")
        if condition != resource.etag:
            raise HttpRefusedError(412, "the ETag is that of an earlier ICE session")
        for line in fragment.candidates:
            candidate = signaling_pb2.IceCandidate(
                candidate=line, sdp_mid=fragment.mid, username_fragment=fragment.ufrag
            )
            resource.upstream.send(signaling_pb2.SessionRequest(candidate=candidate))
        return web.Response(status=204)

    async def _restart(self, resource: Resource, fragment: Fragment) -> web.Response:
        if not fragment.ufrag or not fragment.pwd:
            raise HttpRefusedError(400, "a restart needs a=ice-ufrag and a=ice-pwd")
        resource.restarted = asyncio.Queue()
        restart = signaling_pb2.RestartIce(ufrag=fragment.ufrag, pwd=fragment.pwd)
        resource.upstream.send(signaling_pb2.SessionRequest(request_id=2, restart_ice=restart))
        response = await _next(resource.restarted)
        if response.WhichOneof("message") != "ice_restarted":
            raise HttpRefusedError(400, response.request_failed.message or "the restart was refused")
        resource.etag = _etag()
        restarted = response.ice_restarted
        text = write_fragment(Fragment(restarted.ufrag, restarted.pwd, fragment.mid, tuple(restarted.candidates)))
        return web.Response(text=text, content_type=FRAGMENT, headers={"ETag": resource.etag})

    async def _delete(self, request: web.Request, token: Token) -> web.Response:
        self._end(self._find(request, token))
        return web.Response(status=200)

    def _find(self, request: web.Request, token: Token) -> Resource:
        resource = self._resources.get(request.match_info["resource"])
        # Somebody else's resource does not exist, whoever guesses its name.
        if resource is None or resource.path != request.path or resource.identity != token.identity:
            raise HttpRefusedError(404, "no such resource")
        return resource

    def _end(self, resource: Resource) -> None:
        self._resources.pop(resource.path.rpartition("/")[2], None)
        resource.upstream.send(signaling_pb2.SessionRequest(leave=signaling_pb2.Leave()))

    async def _watch(self, name: str, resource: Resource) -> None:
        """Hands on the answers that a handler waits for; the resource ends with its session."""
        async for response in resource.upstream.responses():
            kind = response.WhichOneof("message")
            if kind in ("answer", "ice_restarted", "request_failed") and resource.restarted is not None:
                resource.restarted.put_nowait(response)
            if kind == "left":
                break
        resource.upstream.close()
        self._route.closed(resource.upstream)
        self._resources.pop(name, None)


async def _next(responses: asyncio.Queue[signaling_pb2.SessionResponse]) -> signaling_pb2.SessionResponse:
    try:
        return await asyncio.wait_for(responses.get(), ANSWER_TIMEOUT)
    except TimeoutError as error:
        raise HttpRefusedError(504, "the node did not answer") from error


async def _body(request: web.Request, most: int) -> str:
    content = await request.content.read(most + 1)
    while len(content) <= most and (more := await request.content.read(most + 1 - len(content))):
        content += more
    if len(content) > most:
        raise HttpRefusedError(413, f"the body is longer than {most} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise HttpRefusedError(400, "the body is not UTF-8") from error


def _etag() -> str:
    return f'"{secrets.token_hex(8)}"'
