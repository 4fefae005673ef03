"""Debian's Firefox, driven directly by WebDriver BiDi (W3C) over its own WebSocket: no driver program is needed."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.e2e.harness.ports import free_port

PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    # H.264 comes from a plug-in that is downloaded at run time.
    "media.gmp-manager.updateEnabled": False,
}


class FirefoxError(Exception):
    """A BiDi command failed, or a script threw."""


class Firefox:
    """One Firefox process with one page. An async context manager."""

    def __init__(self) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="pysfu-firefox-"))
        self._ids = count(1)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        port = free_port()
        self._process = await asyncio.create_subprocess_exec(
            "firefox-esr",
            "--headless",
            f"--remote-debugging-port={port}",
            "--profile",
            str(self._profile),
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"HOME": str(self._profile), "PATH": "/usr/bin:/bin", "MOZ_HEADLESS": "1"},
        )
        self._http = aiohttp.ClientSession()
        self._ws = await self._connect(port)
        await self._call("session.new", {"capabilities": {}})
        tree = await self._call("browsingContext.getTree", {})
        self._context = tree["contexts"][0]["context"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._call("browser.close", {}), 5)
        await self._ws.close()
        await self._http.close()
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def goto(self, url: str) -> None:
        await self._call("browsingContext.navigate", {"context": self._context, "url": url, "wait": "complete"})

    async def evaluate(self, function: str, argument: Any = None) -> Any:
        """The JSON-able result of the JavaScript `function` (awaited) called with `argument`."""
        script = f"async (text) => JSON.stringify(await ({function})(JSON.parse(text)))"
        result = await self._call(
            "script.callFunction",
            {
                "functionDeclaration": script,
                "awaitPromise": True,
                "target": {"context": self._context},
                "arguments": [{"type": "string", "value": json.dumps(argument)}],
                "userActivation": True,
            },
        )
        if result["type"] == "exception":
            raise FirefoxError(result["exceptionDetails"]["text"])
        value = result["result"]
        return json.loads(value["value"]) if value["type"] == "string" else None

    async def _connect(self, port: int) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self._http.ws_connect(f"ws://127.0.0.1:{port}/session", max_msg_size=0)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)  # the port opens when the browser is up; nothing announces it

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        wanted = next(self._ids)
        await self._ws.send_json({"id": wanted, "method": method, "params": params})
        while True:
            message = await self._ws.receive_json(timeout=90)
            if message.get("id") == wanted:
                if message.get("type") == "error":
                    raise FirefoxError(f"{method}: {message.get('error')}: {message.get('message')}")
                return message["result"]
