"""The status page of two real nodes, as an operator's browser shows it."""

import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from control_plane.cluster import certs
from pysfu.v1 import allocation_pb2, allocation_pb2_grpc, rooms_pb2, rooms_pb2_grpc
from tests.cluster.nats_server import NatsServer
from tests.e2e.harness.ports import free_port
from tests.e2e.harness.server import Server, admin_token, token
from tests.e2e.harness.signaling import Session

pytestmark = pytest.mark.asyncio(loop_scope="session")


def node(name: str, region: str, nats: NatsServer, folder: Path) -> Server:
    return Server(
        *("--nats", nats.url, "--region", region, "--cluster-port", str(free_port())),
        *("--cluster-ca", str(folder / "ca.pem"), "--cluster-cert", str(folder / f"{name}.pem")),
        *("--cluster-key", str(folder / f"{name}.key")),
        workers=1,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("certificates")
    certs.make(["a", "b"], folder)
    async with NatsServer() as nats, node("a", "here", nats, folder) as a:
        b = node("b", "there", nats, folder)
        await b.__aenter__()
        yield a, b
        # The test has killed it.
        assert b.process is not None
        if b.process.returncode is None:
            await b.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, nodes: tuple[Server, Server]) -> AsyncIterator[Page]:
    """Any error on its console fails the test."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refused token is one of these.
        if message.type == "error" and "401" not in message.text:
            errors.append(message.text)

    context = await chromium.new_context(base_url=nodes[0].url, viewport={"width": 1200, "height": 1000})
    opened = await context.new_page()
    opened.on("console", note)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    await context.close()
    assert errors == []


async def test_a_room_of_two_nodes_is_shown_with_its_link(page: Page, nodes: tuple[Server, Server]) -> None:
    a, b = nodes
    await page.goto("/cluster")
    await page.get_by_role("button", name="Show the cluster").click()
    await expect(page.locator("#links-section")).to_be_hidden()
    async with Session(a.grpc_address, token("both", "alice")) as alice, AsyncExitStack() as stack:
        await alice.wait("joined")
        bob = await stack.enter_async_context(Session(b.grpc_address, token("both", "bob")))
        await bob.wait("joined")
        row = page.locator("#rooms tr").filter(has_text="both")
        await expect(row.locator(".chip")).to_have_count(2, timeout=20_000)
        await expect(row.locator(".chip.owner")).to_have_text("a")
        # Both directions, with what the links measure.
        links = page.locator("#links tr")
        await expect(links).to_have_count(2, timeout=20_000)
        await expect(links.nth(0)).to_contain_text(re.compile(r"[1-9][\d.]* ms|0\.[1-9] ms"), timeout=20_000)
        await expect(page.locator("#map .link")).to_have_count(1)
        await expect(page.locator("#map .link-label")).to_have_count(1)


async def test_an_operator_sees_nodes_rooms_drains_and_deaths(page: Page, nodes: tuple[Server, Server]) -> None:
    a, b = nodes
    metadata = (("authorization", f"Bearer {admin_token()}"),)
    await page.goto("/cluster")
    # With --dev the token is there.
    await expect(page.get_by_label("Operator token")).to_have_value(re.compile(r"^[\w-]+\.[\w-]+\.[\w-]+$"))
    await page.get_by_role("button", name="Show the cluster").click()
    rows = page.locator("#nodes tr")
    await expect(rows).to_have_count(2, timeout=20_000)
    await expect(rows.nth(0)).to_contain_text("here")
    await expect(rows.nth(1)).to_contain_text("ready")
    await expect(page.locator("#map .card")).to_have_count(2)
    await expect(page.locator("#map .region-name")).to_have_text(["here", "there"])

    async with grpc.aio.insecure_channel(a.grpc_address) as channel:
        rooms = rooms_pb2_grpc.RoomServiceStub(channel)
        await rooms.CreateRoom(
            rooms_pb2.CreateRoomRequest(name="<b>town</b>", empty_timeout_seconds=600), metadata=metadata
        )
        await rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="other", empty_timeout_seconds=600), metadata=metadata)
        found = page.locator("#rooms tr")
        await expect(found.nth(0).locator("th")).to_have_text("<b>town</b>", timeout=20_000)
        await expect(found.filter(has_text="other")).to_have_count(1, timeout=20_000)
        owner = await found.nth(0).locator(".chip.owner").inner_text()
        assert owner in ("a", "b")

        # A room that has the focus stands out, without a pointer.
        await found.nth(0).focus()
        await expect(page.locator("#map .card.dim")).to_have_count(1)
        await page.keyboard.press("Shift+Tab")
        await expect(page.locator("#map .card.dim")).to_have_count(0)
        await page.get_by_label("Find a room").fill("other")
        await expect(found).to_have_count(1)
        await expect(found).to_have_text(re.compile("^other"))

        places = allocation_pb2_grpc.AllocationServiceStub(channel)
        await places.DrainNode(allocation_pb2.DrainNodeRequest(node_id="b"), metadata=metadata)
    await expect(rows.nth(1)).to_contain_text("draining", timeout=20_000)
    await expect(page.locator("#map .card.draining")).to_have_count(1)

    assert b.process is not None
    b.process.send_signal(signal.SIGKILL)
    await b.process.wait()
    await expect(rows).to_have_count(1, timeout=15_000)
    await expect(page.locator("#map .card")).to_have_count(1)

    await page.get_by_role("button", name="Forget token").click()
    await expect(page.get_by_label("Operator token")).to_be_visible()
    await expect(page.locator("#content")).to_be_hidden()


async def test_a_token_that_does_not_do_is_asked_for_again(page: Page) -> None:
    await page.goto("/cluster")
    await page.get_by_label("Operator token").fill("nonsense")
    async with page.expect_response("**/cluster.json") as answer:
        await page.get_by_role("button", name="Show the cluster").click()
    assert (await answer.value).status == 401
    await expect(page.get_by_role("alert")).to_contain_text("malformed")
    await expect(page.get_by_label("Operator token")).to_be_visible()


BOXES = """
async ([regions, each]) => {
  const { draw } = await import('/cluster/map.js');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const nodes = [];
  for (let region = 0; region < regions; region += 1) {
    for (let node = 0; node < each; node += 1) {
      const id = `n-${region}-${node}`;
      nodes.push({ id, region: `r-${region}`, state: 'ready', used: 0.5, participants: 1, rooms: 1 });
    }
  }
  const links = nodes.map((node, index) => ({
    from: node.id, to: nodes[(index * 7 + 1) % nodes.length].id, rtt_ms: 1, loss: 0, bps: 1e6,
  }));
  draw(svg, nodes, links, null);
  draw(svg, nodes, links, new Set([nodes[0].id]));
  const read = (shape) => ['x', 'y', 'width', 'height'].map((name) => Number(shape.getAttribute(name)));
  return {
    view: svg.getAttribute('viewBox').split(' ').map(Number),
    regions: [...svg.querySelectorAll('.region')].map(read),
    cards: [...svg.querySelectorAll('.card .frame')].map(read),
  };
}
"""


@pytest.mark.parametrize(
    ("regions", "each"),
    [(1, 1), (1, 12), (2, 1), (3, 4), (3, 9), (4, 3), (6, 5), (10, 3), (5, 6), (6, 30), (12, 50), (15, 2), (20, 9)],
)
async def test_maps_of_every_size_hide_nothing(page: Page, regions: int, each: int) -> None:
    await page.goto("/cluster")
    found = await page.evaluate(BOXES, [regions, each])
    assert len(found["regions"]) == regions
    assert len(found["cards"]) == regions * each
    for boxes in (found["regions"], found["cards"]):
        for index, one in enumerate(boxes):
            assert not any(covers(one, other) for other in boxes[:index])
            left, top, width, height = one
            assert left >= 0
            assert top >= 0
            assert left + width <= found["view"][2]
            assert top + height <= found["view"][3]


def covers(one: list[float], other: list[float]) -> bool:
    """Whether two boxes (left, top, width, height) overlap."""
    return all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (0, 1))
