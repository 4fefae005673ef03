"""The gateway's HTTP application."""

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from control_plane.auth import Verifier
from control_plane.gateway import noise
from control_plane.gateway.cluster_page import ClusterPage
from control_plane.gateway.livekit.session import LiveKitGateway
from control_plane.gateway.options import GatewayOptions
from control_plane.gateway.pages import Pages
from control_plane.gateway.regions import Regions
from control_plane.gateway.route import Route
from control_plane.gateway.whip import WhipGateway

log = structlog.get_logger(__name__)

HAND_OVER: web.AppKey[Callable[[], Awaitable[None]]] = web.AppKey("hand_over")
"""Call it before the node stops: clients whose sessions are on other nodes go to other gateways."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build_app(options: GatewayOptions) -> web.Application:
    """Closes every client's connection when it shuts down."""
    noise.hush()
    app = web.Application(client_max_size=512 * 1024, middlewares=[_last_resort])
    verifier = Verifier(options.keys)

    route = Route(options.channel, options.nodes)
    livekit, whip = LiveKitGateway(route, verifier), WhipGateway(route, verifier)

    async def disconnect(_: web.Application) -> None:
        await livekit.close()
        await whip.close()

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if options.ready() else web.Response(status=503, text="draining")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=options.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def hand_over() -> None:
        await livekit.hand_over(options.nodes.id if options.nodes is not None else "")

    app[HAND_OVER] = hand_over
    app.on_shutdown.append(disconnect)
    router = app.router
    router.add_get("/healthz", healthz)
    router.add_get("/readyz", readyz)
    router.add_get("/metrics", metrics)
    livekit.add_routes(router)
    whip.add_routes(router)
    Regions(options.nodes, verifier).add_routes(router)
    ClusterPage(options).add_routes(router)
    Pages(options).add_routes(router)
    return app


@web.middleware
async def _last_resort(request: web.Request, handler):  # type: ignore[no-untyped-def]
    """A fault of ours is logged and answered; it ends neither the connection nor the process."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        return web.Response(status=500, text="internal error")
