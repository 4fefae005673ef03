"""Serves the test page and the `livekit-client` that the web client was built with, from the loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.e2e.harness.ports import free_port

HERE = Path(__file__).parent
DIST = HERE.parents[2] / "web/node_modules/livekit-client/dist"
SDK = DIST / "livekit-client.umd.js"
E2EE_WORKER = DIST / "livekit-client.e2ee.worker.js"


@asynccontextmanager
async def serve_site() -> AsyncIterator[str]:
    """The URL of the test page."""

    async def sdk(_: web.Request) -> web.FileResponse:
        return web.FileResponse(SDK)

    async def worker(_: web.Request) -> web.FileResponse:
        return web.FileResponse(E2EE_WORKER)

    app = web.Application()
    app.router.add_get("/e2ee-worker.js", worker)
    app.router.add_get("/livekit-client.js", sdk)
    app.router.add_static("/", HERE / "static")
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/call.html"
    finally:
        await runner.cleanup()
