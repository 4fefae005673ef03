"""The cluster's status page: files of its own, and JSON of what the node's `AllocationService` says to the token."""

from pathlib import Path
from typing import Any, Final

import grpc
from aiohttp import web

from control_plane.auth import Grants, Token, create_token
from control_plane.gateway.options import GatewayOptions
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc

FILES: Final = Path(__file__).parent / "cluster_static"
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
# Seconds that the node may take to answer.
PATIENCE: Final = 4.0
ROOMS: Final = 1_000
DEV_TOKEN_SECONDS: Final = 86_400
STATES: Final = {
    allocation_pb2.Node.STATE_READY: "ready",
    allocation_pb2.Node.STATE_DRAINING: "draining",
    allocation_pb2.Node.STATE_SUSPECTED: "suspected",
    allocation_pb2.Node.STATE_REFUSED: "refused",
}
_STATUS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class ClusterPage:
    """Handlers of `/cluster`, its files, `/cluster.json` and, with `--dev`, `/cluster/token`."""

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self._service: Any = allocation_pb2_grpc.AllocationServiceStub(options.channel)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/cluster", self._page)
        router.add_get("/cluster.json", self._json)
        router.add_post("/cluster/token", self._token)
        router.add_get("/cluster/{file}", self._file)

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(FILES / "index.html", headers=HEADERS)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if name not in {path.name for path in FILES.iterdir()}:
            return web.Response(status=404, text="not found")
        return web.FileResponse(FILES / name, headers=HEADERS)

    async def _json(self, request: web.Request) -> web.Response:
        """Needs `Authorization: Bearer`, as the RPCs do: roomAdmin without a room."""
        bearer = request.headers.get("Authorization", "")
        if not bearer.isascii():
            return web.json_response({"error": "malformed access token"}, status=401, headers=HEADERS)
        metadata = (("authorization", bearer),)
        try:
            nodes = await self._service.ListNodes(
                allocation_pb2.ListNodesRequest(), metadata=metadata, timeout=PATIENCE
            )
            rooms = await self._service.ListRoomPlaces(
                allocation_pb2.ListRoomPlacesRequest(limit=ROOMS), metadata=metadata, timeout=PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            status = _STATUS.get(error.code(), 502)
            return web.json_response({"error": error.details() or error.code().name}, status=status, headers=HEADERS)
        body = {
            "node": self._options.nodes.id if self._options.nodes is not None else "",
            "nodes": [_node(node) for node in nodes.nodes],
            "rooms": [
                {"name": room.room, "owner": room.owner, "epoch": room.epoch, "nodes": list(room.nodes)}
                for room in rooms.rooms
            ],
            "total_rooms": rooms.total,
            "partial": rooms.partial,
        }
        return web.json_response(body, headers=HEADERS | {"Cache-Control": "no-store"})

    async def _token(self, _: web.Request) -> web.Response:
        """An operator's token for anyone who asks: development only."""
        if not self._options.dev:
            return web.json_response({"error": "tokens come from your own keys"}, status=404)
        key, secret = next(iter(self._options.keys.items()))
        grants = Grants(room_admin=True, room_list=True)
        token = create_token(key, secret, Token(identity="operator", grants=grants), ttl=DEV_TOKEN_SECONDS)
        return web.json_response({"token": token}, headers={"Cache-Control": "no-store"})


def _node(node: allocation_pb2.Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "region": node.region,
        "state": STATES.get(node.state, "refused"),
        "version": node.version,
        "url": node.url,
        "load": {name: round(share, 4) for name, share in sorted(node.load.items())},
        "used": round(max(node.load.values(), default=0.0), 4),
        "participants": node.participants,
        "max_participants": node.max_participants,
        "rooms": node.rooms,
        "packets_per_second": round(node.packets_per_second, 1),
        "egress_bps": round(node.egress_bps),
        "links": [
            {
                "node": link.node_id,
                "rtt_ms": round(link.rtt_ms, 2),
                "loss": round(link.loss, 5),
                "bps": round(link.bps),
                "through": link.through,
            }
            for link in node.links
        ],
    }
