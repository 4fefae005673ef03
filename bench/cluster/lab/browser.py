"""Chromium in a place of the lab, with the web client that a node's gateway serves."""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.async_api import Error, Page, async_playwright

from bench.cluster.lab.nodes import Node, admission
from bench.cluster.lab.processes import LabError
from bench.cluster.lab.witness import Witness
from bench.cluster.lab.world import Lab, clients_of
from tests.e2e.harness.pages import CHROMIUM_ARGUMENTS

CHROMIUM = "/usr/bin/chromium"
WATCH = (Path(__file__).parent / "witness.js").read_text()
ENTER_MS = 30_000.0


class Browser(Witness):
    """One browser with one page, in the call when the context manager has begun. It is given the URL of one node."""

    def __init__(self, lab: Lab, place: str, room: str, identity: str, node: Node) -> None:
        """`place`: a region that has clients."""
        self.name = identity
        self._url = f"{node.http}/r/{room}#token={admission(room, identity)}"
        self._namespace = lab.places[clients_of(place)][1]
        # Cameras need a secure context (W3C Secure Contexts), which plain HTTP is on the loopback alone.
        origins = ",".join(node.http for node in lab.nodes.values())
        self._arguments = [*CHROMIUM_ARGUMENTS, f"--unsafely-treat-insecure-origin-as-secure={origins}"]
        self._folder = tempfile.TemporaryDirectory(prefix="pysfu-lab-chromium-")
        self._playwright = async_playwright()
        self._page: Page | None = None
        self.console: list[str] = []

    async def __aenter__(self) -> Self:
        playwright = await self._playwright.__aenter__()
        try:
            program = str(self._inside()) if self._namespace is not None else CHROMIUM
            browser = await playwright.chromium.launch(executable_path=program, args=self._arguments)
            context = await browser.new_context(permissions=["camera", "microphone"])
            page = self._page = await context.new_page()
            page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
            await page.goto(self._url)
            await page.get_by_test_id("prejoin-join").click()
            await page.get_by_test_id("leave").wait_for(timeout=ENTER_MS)
            await page.evaluate(WATCH)
        except BaseException as error:
            await self._close()
            if isinstance(error, Error):
                raise LabError(f"{self.name} did not come in: {error}\n" + "\n".join(self.console[-30:])) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def page(self) -> Page:
        assert self._page is not None
        return self._page

    async def _ask(self, order: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.page.evaluate(f"window.__witness.{order}()")
        return found

    async def _close(self) -> None:
        await self._playwright.__aexit__(None, None, None)
        self._folder.cleanup()

    def _inside(self) -> Path:
        """A program that is Chromium in the namespace; pipes to it lead there."""
        assert self._namespace is not None
        program = Path(self._folder.name) / "chromium"
        program.write_text(f'#!/bin/sh\nexec nsenter --net={self._namespace.path} -- {CHROMIUM} "$@"\n')
        os.chmod(program, 0o700)
        return program
