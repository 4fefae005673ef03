"""Where clients go on when their gateway is gone: `/settings/regions`, as LiveKit Cloud's clients ask it.

The web client asks, too. LiveKit's SDKs ask only hosts under livekit.cloud and livekit.run.
"""

from typing import Final

from aiohttp import web

from control_plane.auth import Verifier
from control_plane.errors import ControlError
from control_plane.gateway.livekit.session import bearer, refusal_status
from control_plane.gateway.options import ClusterNodes

# Seconds. Shorter follows nodes that come and go sooner, longer asks less.
MAX_AGE: Final = 30
HEADERS: Final = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "authorization"}


class Regions:
    """Needs a token to join with. `regions` is empty without a cluster, and where no `public_url` is set."""

    def __init__(self, nodes: ClusterNodes | None, verifier: Verifier) -> None:
        self._nodes = nodes
        self._verifier = verifier

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/settings/regions", self._regions)
        router.add_options("/settings/regions", self._preflight)

    async def _preflight(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=HEADERS)

    async def _regions(self, request: web.Request) -> web.Response:
        try:
            token = self._verifier.verify(bearer(request))
            token.grants.require_room_join(token.grants.room)
        except ControlError as error:
            return web.json_response({"error": str(error)}, status=refusal_status(error), headers=HEADERS)
        known = self._nodes.gateways() if self._nodes is not None else []
        regions = [{"region": region, "url": socket_url(url)} for region, url in known]
        headers = HEADERS | {"Cache-Control": f"private, max-age={MAX_AGE}"}
        return web.json_response({"regions": regions}, headers=headers)


def socket_url(url: str) -> str:
    """Of WebSockets, as LiveKit's clients are given it."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url
