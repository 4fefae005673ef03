"""Fixtures of the gateway's tests: one server without a cluster serves a module."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from tests.e2e.harness.server import Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Server]:
    async with Server(workers=1) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session
