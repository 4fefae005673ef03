"""The web client, and what it asks the server."""

import re
import secrets
from pathlib import Path
from typing import Final

from aiohttp import web

from control_plane.auth import Grants, Token, create_token
from control_plane.gateway.options import GatewayOptions

STATIC: Final = Path(__file__).parent / "static"
SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; "
        "connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), autoplay=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
IMMUTABLE: Final = "public, max-age=31536000, immutable"
MAX_TOKEN_REQUEST: Final = 8 * 1024
_NAME: Final = re.compile(r"^[^\x00-\x1f]{1,128}$")


class Pages:
    """Handlers of `/`, `/r/{room}`, `/assets`, `/api/config` and, with `--dev`, `/api/token`."""

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._index)
        router.add_get("/r/{room}", self._index)
        router.add_get("/api/config", self._config)
        router.add_post("/api/token", self._token)
        router.add_get("/{path:.+}", self._file)

    async def _index(self, _: web.Request) -> web.StreamResponse:
        index = STATIC / "index.html"
        if not index.is_file():
            return web.Response(status=404, text="the web client is not built: make build")
        return web.FileResponse(index, headers=SECURITY | {"Cache-Control": "no-cache"})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = (STATIC / request.match_info["path"]).resolve()
        if not path.is_relative_to(STATIC.resolve()) or not path.is_file():
            return web.Response(status=404, text="not found")
        cache = IMMUTABLE if path.parent.name == "assets" else "no-cache"
        return web.FileResponse(path, headers=SECURITY | {"Cache-Control": cache})

    async def _config(self, _: web.Request) -> web.Response:
        return web.json_response({"dev": self._options.dev, "version": self._options.version})

    async def _token(self, request: web.Request) -> web.Response:
        """A token for anyone who asks: development only."""
        if not self._options.dev:
            return web.json_response({"error": "tokens come from your application's backend"}, status=404)
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            return web.json_response({"error": "the body is not JSON"}, status=400)
        if not isinstance(body, dict):
            return web.json_response({"error": "the body is no JSON object"}, status=400)
        name = str(body.get("name") or "")
        identity = str(body.get("identity") or f"guest-{secrets.token_hex(4)}")
        room = str(body.get("room") or "")
        for field, value in (("room", room), ("identity", identity), ("name", name or identity)):
            if not _NAME.match(value):
                error = f"{field} must have 1 to 128 characters and no control characters"
                return web.json_response({"error": error}, status=400)
        key, secret = next(iter(self._options.keys.items()))
        grants = Grants(room=room, room_join=True, can_update_own_metadata=True)
        token = create_token(key, secret, Token(identity=identity, name=name or identity, grants=grants))
        scheme = "wss" if request.secure else "ws"
        return web.json_response({"token": token, "url": f"{scheme}://{request.host}"})
