"""The status page over HTTP, of a node without a cluster: who may see it, what it tells, what it lets in."""

import re
from datetime import timedelta

import aiohttp
import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from control_plane.gateway.app import build_app
from control_plane.gateway.cluster_page import FILES
from control_plane.gateway.options import GatewayOptions
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc, rooms_pb2, rooms_pb2_grpc
from tests.e2e.harness.server import Server, admin_token, token

pytestmark = pytest.mark.asyncio(loop_scope="module")


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="without a token"),
        pytest.param(bearer("nonsense"), 401, id="with nonsense"),
        pytest.param({"Authorization": "Bearer \u00e9\u00e9"}, 401, id="with letters that no token has"),
        pytest.param(bearer(token("r", "x", ttl=timedelta(hours=-1))), 401, id="with an expired token"),
        pytest.param(bearer(token("r", "x")), 403, id="with a participant's token"),
        pytest.param(bearer(admin_token("r")), 403, id="with the token of a room's admin"),
    ],
)
async def test_only_operators_see_the_cluster(
    http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    async with http.get("/cluster.json", headers=headers) as response:
        assert response.status == status
        body = await response.json()
        assert list(body) == ["error"]
        assert body["error"]


async def test_a_node_by_itself_is_shown_with_its_rooms(server: Server, http: aiohttp.ClientSession) -> None:
    metadata = (("authorization", f"Bearer {admin_token()}"),)
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        rooms = rooms_pb2_grpc.RoomServiceStub(channel)
        for name in ("b", "a", "<i>"):
            await rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name=name, empty_timeout_seconds=600), metadata=metadata)
        places = allocation_pb2_grpc.AllocationServiceStub(channel)
        found = await places.ListRoomPlaces(allocation_pb2.ListRoomPlacesRequest(limit=2), metadata=metadata)
        assert [place.room for place in found.rooms] == ["<i>", "a"]
        assert found.total == 3
    async with http.get("/cluster.json", headers=bearer(admin_token())) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        body = await response.json()
    (node,) = body["nodes"]
    assert node["state"] == "ready"
    assert node["rooms"] == 3
    assert set(node["load"]) >= {"cpu", "participants"}
    assert node["used"] == max(node["load"].values())
    assert [(room["name"], room["owner"], room["nodes"]) for room in body["rooms"]] == [
        (name, node["id"], [node["id"]]) for name in ("<i>", "a", "b")
    ]
    assert body["total_rooms"] == 3
    assert body["partial"] is False


async def test_the_page_and_the_metrics_say_alike_how_full_the_node_is(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with http.get("/cluster.json", headers=bearer(admin_token())) as response:
        (node,) = (await response.json())["nodes"]
    found = await server.metrics()
    assert 0 <= found["pysfu_node_used_ratio"] <= 1
    assert {f'pysfu_node_load_ratio{{resource="{name}"}}' for name in node["load"]} <= set(found)
    assert not any(name.startswith(("pysfu_cluster", "pysfu_link")) for name in found), "it has no cluster"


async def test_files_are_served_with_a_strict_policy(http: aiohttp.ClientSession) -> None:
    async with http.get("/cluster") as response:
        page = await response.text()
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self';" in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page), "nothing is inline"
    served = 0
    for path in re.findall(r'(?:src|href)="(/cluster/[^"]+)"', page):
        async with http.get(path) as response:
            assert response.status == 200
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            served += 1
    assert served == 2


@pytest.mark.parametrize("path", ["/cluster/..%2fcluster_page.py", "/cluster/%2e%2e", "/cluster/none.js"])
async def test_nothing_else_is_served(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(URL(path, encoded=True)) as response:
        assert response.status == 404


async def test_every_file_is_of_the_page() -> None:
    text = "".join(path.read_text() for path in FILES.iterdir())
    for path in FILES.iterdir():
        assert path.name == "index.html" or path.name in text, f"{path.name} is used by nothing"


async def test_development_gives_a_token_that_does(http: aiohttp.ClientSession) -> None:
    async with http.post("/cluster/token") as response:
        assert response.status == 200
        made = (await response.json())["token"]
    async with http.get("/cluster.json", headers=bearer(made)) as response:
        assert response.status == 200


async def test_without_development_nobody_is_given_a_token() -> None:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    options = GatewayOptions(channel, {"key": "s" * 32}, "1", ready=lambda: True, metrics=lambda: b"")
    async with channel, TestClient(TestServer(build_app(options))) as client:
        async with client.post("/cluster/token") as response:
            assert response.status == 404
            assert list(await response.json()) == ["error"]
        # Its node is away.
        async with client.get("/cluster.json", headers=bearer("x")) as response:
            assert response.status == 502
