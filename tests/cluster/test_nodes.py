"""Any gateway, any node: clients reach the node that is assigned to them, operators any room."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane.auth import Grants, Token, create_token
from control_plane.cluster.records import RoomRecord
from control_plane.cluster.registry import Timing
from control_plane.errors import UnavailableError
from control_plane.gateway.app import HAND_OVER
from pysfu.v1 import allocation_pb2, models_pb2, rooms_pb2
from tests.cluster import waiting
from tests.cluster.whole import Whole, WholeNode
from tests.cluster.wires import Wires
from tests.control_plane.client import SignalingClient, recorded
from tests.control_plane.conftest import KEY, SECRET, admin_metadata, token

until = partial(waiting.until, patience=15.0)

# Nobody hears anything new: what a gateway knows of other nodes is old.
STALE = Timing(heartbeat=60.0, expiry=300.0, echo=300.0)


@pytest_asyncio.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    async with AsyncExitStack() as stack:
        yield Whole(stack, tmp_path)


async def two(whole: Whole, timing: Timing | None = None, **limits: Any) -> tuple[WholeNode, WholeNode]:
    a, b = await whole.start("a", "eu", timing, **limits), await whole.start("b", "us", timing, **limits)
    await until(lambda: all(len(one.cluster.registry.nodes()) == 2 for one in (a, b)))
    return a, b


class LiveKit:
    """A LiveKit client's WebSocket, and nothing of its media."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.socket: Any = None
        self.sid = ""

    async def connect(self, node: WholeNode, bearer: str, region: str = "", resume: str = "") -> Any:
        """The first message, or the refused HTTP response."""
        request = lr.JoinRequest(connection_settings=lr.ConnectionSettings(auto_subscribe=True))
        request.reconnect, request.participant_sid = bool(resume), resume
        wrapped = lr.WrappedJoinRequest(join_request=request.SerializeToString())
        query = {"join_request": base64.urlsafe_b64encode(wrapped.SerializeToString()).decode(), "region": region}
        headers = {"Authorization": f"Bearer {bearer}"}
        try:
            self.socket = await self._http.ws_connect(f"{node.url}/rtc/v1", params=query, headers=headers)
        except aiohttp.WSServerHandshakeError as error:
            return error
        first = await self.until("join", "reconnect", "leave")
        self.sid = first.join.participant.sid or resume
        return first

    async def until(self, *kinds: str) -> Any:
        async with asyncio.timeout(10):
            while True:
                message = lr.SignalResponse.FromString(await self.socket.receive_bytes())
                if message.WhichOneof("message") in kinds:
                    return message

    async def sync(self, *tracks: str) -> None:
        """Says that it publishes them."""
        published = [lr.TrackPublishedResponse(track=lm.TrackInfo(sid=sid)) for sid in tracks]
        request = lr.SignalRequest(sync_state=lr.SyncState(publish_tracks=published))
        await self.socket.send_bytes(request.SerializeToString())

    async def rename(self, name: str) -> None:
        request = lr.SignalRequest(update_metadata=lr.UpdateParticipantMetadata(name=name, request_id=1))
        await self.socket.send_bytes(request.SerializeToString())

    async def closed(self) -> int:
        """With which code the server closes it, without a leave request before."""
        async with asyncio.timeout(10):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                assert not lr.SignalResponse.FromString(message.data).HasField("leave")
        return int(message.data)

    async def drop(self) -> None:
        await self.socket.close()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Callable[[], LiveKit]]:
    async with aiohttp.ClientSession() as http:
        yield lambda: LiveKit(http)


async def test_clients_of_any_gateway_are_on_the_node_assigned(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole)
    near, far = client(), client()
    assert (await near.connect(a, token(identity="near"))).join.server_info.node_id == "a"
    assert (await far.connect(a, token(identity="far"), region="us")).join.server_info.node_id == "b"
    assert (a.identities, b.identities) == ({"near"}, {"far"})
    assert a.cluster.directory.record("room").id == b.cluster.directory.record("room").id  # type: ignore[union-attr]
    update = await near.until("update")
    while "far" not in [one.identity for one in update.update.participants]:
        update = await near.until("update")


async def test_a_session_is_resumed_where_it_is(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole)
    far = client()
    await far.connect(a, token(identity="far"), region="us")
    await far.drop()
    # By now this node would be the one to take them.
    again = await far.connect(a, token(identity="far"), resume=far.sid)
    assert again.WhichOneof("message") == "reconnect"
    assert (a.identities, b.identities) == (set(), {"far"})
    # Its node knows better, and answers what it is asked next.
    await far.sync("TR_unknown")
    await far.rename("new")
    assert (await far.until("leave", "request_response")).WhichOneof("message") == "request_response"


async def test_a_session_stays_where_it_is_when_its_client_comes_to_a_gateway_without_the_room(
    whole: Whole, client: Callable[[], LiveKit]
) -> None:
    a, b = await two(whole)
    c = await whole.start("c", "ap")
    await until(lambda: all(len(one.cluster.registry.nodes()) == 3 for one in (a, b, c)))
    far = client()
    await far.connect(a, token(identity="far"), region="us")
    await far.drop()
    again = await far.connect(c, token(identity="far"), resume=far.sid)
    assert again.WhichOneof("message") == "reconnect"
    assert (a.identities, b.identities, c.identities) == (set(), {"far"}, set())
    assert not c.plane.node.is_live("room")


async def test_a_gateway_that_stops_hands_over_those_whose_sessions_are_elsewhere(
    whole: Whole, client: Callable[[], LiveKit]
) -> None:
    a, b = await two(whole)
    near, far = client(), client()
    await near.connect(a, token(identity="near"))
    await far.connect(a, token(identity="far"), region="us")
    assert a.app is not None
    await a.app[HAND_OVER]()
    assert await far.closed() == aiohttp.WSCloseCode.GOING_AWAY
    assert (await far.connect(b, token(identity="far"), resume=far.sid)).WhichOneof("message") == "reconnect"
    assert b.identities == {"far"}
    await near.socket.send_bytes(lr.SignalRequest(ping=1).SerializeToString())
    assert (await near.until("pong", "leave")).WhichOneof("message") == "pong"


async def test_a_session_goes_on_when_the_way_to_its_node_is_cut_and_a_third_node_reaches_both(
    whole: Whole, client: Callable[[], LiveKit]
) -> None:
    a, b = await two(whole)
    c = await whole.start("c", "ap")
    wires = Wires()
    for name, node in (("a", a), ("b", b), ("c", c)):
        wires.lay(name, node.cluster.channels)
    try:
        await until(lambda: all(len(one.cluster.registry.nodes()) == 3 for one in (a, b, c)))
        near, far = client(), client()
        await near.connect(a, token(identity="near"))
        await far.connect(a, token(identity="far"), region="us")
        assert b.identities == {"far"}
        await until(lambda: a.cluster.cascade.peers["b"].relays.is_there and b.cluster.cascade.peers["a"].is_open)
        wires.cut("a", "b")
        for node, other in ((a, "b"), (b, "a")):
            for link in node.cluster.cascade.peers[other].relays.links.values():
                node.cluster.cascade.link_alive(link.ours, False)
        assert await far.closed() == aiohttp.WSCloseCode.SERVICE_RESTART
        assert a.cluster.goes_round("b")
        again = await far.connect(a, token(identity="far"), resume=far.sid)
        assert again.WhichOneof("message") == "reconnect"
        assert b.identities == {"far"}
        await far.socket.send_bytes(lr.SignalRequest(ping=1).SerializeToString())
        assert (await far.until("pong", "leave")).WhichOneof("message") == "pong"
        seen = a.plane.node.room("room").room.participants["far"]
        assert seen.id == far.sid, "nobody saw them leave"
    finally:
        await wires.close()


async def test_clients_are_told_of_gateways_that_operators_have_named(whole: Whole) -> None:
    a = await whole.start("a", "eu", public_url="https://a.example")
    await whole.start("b", "us", public_url="http://b.example:1")
    await whole.start("hidden", "us")
    await until(lambda: len(a.cluster.registry.nodes()) == 3)
    async with aiohttp.ClientSession(a.url) as http:
        async with http.get("/settings/regions", headers={"Authorization": f"Bearer {token()}"}) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert await response.json() == {
                "regions": [
                    {"region": "eu", "url": "wss://a.example"},
                    {"region": "us", "url": "ws://b.example:1"},
                ]
            }
        async with http.get("/settings/regions") as response:
            assert response.status == 401
        async with http.options("/settings/regions") as response:
            assert response.headers["Access-Control-Allow-Headers"] == "authorization"


async def test_a_node_that_refuses_is_passed_over(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole, STALE)
    b.plane.node.draining = True
    joined = await client().connect(a, token(identity="far"), region="us")
    assert joined.join.server_info.node_id == "a"


async def test_a_node_that_does_not_answer_is_passed_over(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole, STALE)
    await b.die()
    joined = await client().connect(a, token(identity="far"), region="us")
    assert joined.join.server_info.node_id == "a"
    assert a.cluster.registry.is_suspected("b"), "the next one is not sent there"


@pytest.mark.parametrize(("full", "status"), [(True, 429), (False, 503)], ids=["full", "draining"])
async def test_who_cannot_be_taken_is_told_when_to_come_again(
    whole: Whole, client: Callable[[], LiveKit], full: bool, status: int
) -> None:
    a, b = await two(whole, max_participants=1 if full else 100)
    for node in (a, b):
        if full:
            await client().connect(node, token(identity=f"first at {node.cluster.id}"))
        else:
            node.plane.node.drain()
        node.cluster.registry.announce()
    registry = a.cluster.registry
    await until(lambda: all(not info.open or info.participants for info in registry.nodes()))
    refused = await client().connect(a, token(identity="late"))
    assert refused.status == status
    assert float(refused.headers["Retry-After"]) > 0
    offer: dict[str, Any] = {"data": recorded("chromium_publish"), "headers": whip_headers("later")}
    async with aiohttp.ClientSession() as http, http.post(f"{a.url}/whip/room", **offer) as response:
        assert (response.status, float(response.headers["Retry-After"]) > 0) == (status, True)


async def test_a_full_room_is_full_on_every_node(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, _ = await two(whole, max_participants_per_room=1)
    await client().connect(a, token(identity="one"))
    refused = await client().connect(a, token(identity="two"))
    assert refused.status == 429
    assert "Retry-After" not in refused.headers


async def test_clients_of_a_node_that_breaks_off_resume(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole, keep_sessions=True)
    far = client()
    await far.connect(a, token(identity="far"), region="us")
    await until(lambda: len(a.cluster.moving.kept) == 1)
    await b.die()
    async with asyncio.timeout(2):
        assert await far.closed() == aiohttp.WSCloseCode.SERVICE_RESTART
    again = await far.connect(a, token(identity="far"), resume=far.sid)
    assert again.reconnect.server_info.node_id == "a"
    assert a.identities == {"far"}
    await far.sync()
    await far.sync("TR_newer")
    left = await far.until("leave")
    assert (left.leave.action, left.leave.can_reconnect) == (lr.LeaveRequest.RECONNECT, True)


async def test_whose_session_was_not_kept_joins_anew(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole, keep_sessions=True)
    await until(lambda: b.cluster.keeping.keeper == "a")
    far = client()
    await far.connect(a, token(identity="far"), region="us")
    await b.die()
    async with asyncio.timeout(2):
        assert await far.closed() == aiohttp.WSCloseCode.SERVICE_RESTART
    left = await far.connect(a, token(identity="far"), resume=far.sid)
    assert (left.leave.action, left.leave.can_reconnect) == (lr.LeaveRequest.RECONNECT, True)
    again = await far.connect(a, token(identity="far"), region="us")
    assert again.join.server_info.node_id == "a"


async def test_clients_of_a_node_that_breaks_off_are_told_to_come_back(
    whole: Whole, client: Callable[[], LiveKit]
) -> None:
    a, b = await two(whole)
    far = client()
    await far.connect(a, token(identity="far"), region="us")
    await b.die()
    async with asyncio.timeout(2):
        left = await far.until("leave")
    assert (left.leave.action, left.leave.can_reconnect) == (lr.LeaveRequest.RECONNECT, True)
    again = await far.connect(a, token(identity="far"), region="us")
    assert again.join.server_info.node_id == "a"


async def test_whip_reaches_the_node_assigned(whole: Whole) -> None:
    a, b = await two(whole)
    offer: dict[str, Any] = {"data": recorded("chromium_publish"), "headers": whip_headers("camera")}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{a.url}/whip/room?region=us", **offer) as response:
            assert response.status == 201, await response.text()
            path = response.headers["Location"]
        assert (a.identities, b.identities) == (set(), {"camera"})
        async with http.delete(f"{a.url}{path}", headers=whip_headers("camera")) as response:
            assert response.status == 200
    await until(lambda: not b.identities)


def whip_headers(identity: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(identity=identity)}", "Content-Type": "application/sdp"}


async def test_operators_reach_any_room_from_any_node(whole: Whole) -> None:
    a, b = await two(whole)
    auth = {"metadata": admin_metadata()}
    made = await a.rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room", metadata="first"), **auth)
    found = await b.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), **auth)
    assert (found.id, found.metadata) == (made.id, "first")
    changed = await b.rooms.UpdateRoom(rooms_pb2.UpdateRoomRequest(room="room", metadata="second"), **auth)
    assert changed.metadata == "second"
    assert a.plane.node.room("room").room.info.metadata == "second"
    async with SignalingClient(a.channel, token(identity="alice")) as alice:
        await alice.join()
        listed = await b.rooms.ListParticipants(rooms_pb2.ListParticipantsRequest(room="room"), **auth)
        assert [one.identity for one in listed.participants] == ["alice"]
        request = rooms_pb2.GetParticipantRequest(room="room", identity="alice")
        assert (await b.rooms.GetParticipant(request, **auth)).id == alice.joined.participant.id
        async with SignalingClient(b.channel, token(identity="bob")) as bob:
            await bob.join()
            await until(lambda: len(b.plane.node.room("room").room.participants) == 2)
            # Now both have the room, and each its participant.
            for node in (a, b):
                rooms = (await node.rooms.ListRooms(rooms_pb2.ListRoomsRequest(), **auth)).rooms
                assert [(one.name, one.id, one.num_participants) for one in rooms] == [("room", made.id, 2)]
            update = rooms_pb2.UpdateParticipantRequest(room="room", identity="alice", name="Alice")
            assert (await b.rooms.UpdateParticipant(update, **auth)).name == "Alice"
            remove = rooms_pb2.RemoveParticipantRequest(room="room", identity="alice")
            await b.rooms.RemoveParticipant(remove, **auth)
            left = await alice.until("left")
            assert left.reason == models_pb2.DISCONNECT_REASON_PARTICIPANT_REMOVED
            await a.rooms.EndRoom(rooms_pb2.EndRoomRequest(room="room"), **auth)
            assert (await bob.until("left")).reason == models_pb2.DISCONNECT_REASON_ROOM_ENDED
    for node in (a, b):
        await until(lambda node=node: not node.plane.node.is_live("room"))  # type: ignore[misc]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), **auth)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_refusals_of_another_node_are_told_as_they_are(whole: Whole) -> None:
    a, b = await two(whole)
    auth = {"metadata": admin_metadata()}
    await a.rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room"), **auth)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await b.rooms.GetParticipant(rooms_pb2.GetParticipantRequest(room="room", identity="nobody"), **auth)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nobody" in (refused.value.details() or "")
    other = {"metadata": (("authorization", f"Bearer {token(room='other')}"),)}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await b.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), **other)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for metadata in ((), (("authorization", "Bearer nonsense"),)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await b.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_clients_cannot_pose_as_nodes(whole: Whole) -> None:
    """What nodes tell each other in metadata is not believed of clients: this one would end the search early."""
    a, b = await two(whole)
    await a.rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room"), metadata=admin_metadata())
    metadata = (*admin_metadata(), ("pysfu-hops", "3"))
    assert (await b.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), metadata=metadata)).name == "room"
    listed = await b.rooms.ListRooms(rooms_pb2.ListRoomsRequest(), metadata=metadata)
    assert [one.name for one in listed.rooms] == ["room"]


async def test_events_of_all_nodes_are_told_once(whole: Whole) -> None:
    a, b = await two(whole)
    watch = a.rooms.WatchEvents(rooms_pb2.WatchEventsRequest(), metadata=admin_metadata())
    await watch.initial_metadata()
    seen: list[tuple[str, str]] = []

    async def read() -> None:
        async for event in watch:
            kind = rooms_pb2.RoomEvent.Kind.Name(event.kind).removeprefix("KIND_").lower()
            seen.append((kind, event.participant.identity or event.room.name))

    reading = asyncio.create_task(read())
    # A node that is not listened to yet is heard from soon.
    await until(lambda: len(b.plane.node._watchers) == 1)
    async with SignalingClient(b.channel, token(identity="bob")) as bob:
        await bob.join()
        async with SignalingClient(a.channel, token(identity="alice")) as alice:
            await alice.join()
            await until(lambda: len(a.plane.node.room("room").room.participants) == 2)
            await alice.send(leave={})
            await alice.until("left")
        await b.rooms.EndRoom(rooms_pb2.EndRoomRequest(room="room"), metadata=admin_metadata())
    await until(lambda: ("room_ended", "room") in seen)
    await asyncio.sleep(0.3)  # what would come twice comes late
    reading.cancel()
    told = [event for event in seen if event[0] != "participant_updated"]
    assert sorted(told) == sorted(
        [
            ("room_started", "room"),
            ("participant_joined", "bob"),
            ("participant_joined", "alice"),
            ("participant_left", "alice"),
            ("participant_left", "bob"),
            ("room_ended", "room"),
        ]
    )


async def test_nodes_are_listed_found_and_drained(whole: Whole) -> None:
    a, b = await two(whole)
    auth = {"metadata": admin_metadata()}
    listed = (await a.allocation.ListNodes(allocation_pb2.ListNodesRequest(), **auth)).nodes
    assert [(node.id, node.region, node.state) for node in listed] == [
        ("a", "eu", allocation_pb2.Node.STATE_READY),
        ("b", "us", allocation_pb2.Node.STATE_READY),
    ]
    changes = a.allocation.WatchNodes(allocation_pb2.WatchNodesRequest(), **auth)
    assert {node.id for node in (await changes.read()).nodes} == {"a", "b"}
    await b.rooms.CreateRoom(rooms_pb2.CreateRoomRequest(name="room"), **auth)
    place = await a.allocation.FindRoom(allocation_pb2.FindRoomRequest(room="room"), **auth)
    assert (place.owner, list(place.nodes), place.epoch) == ("b", ["b"], 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await a.allocation.FindRoom(allocation_pb2.FindRoomRequest(room="no"), **auth)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    drained = await a.allocation.DrainNode(allocation_pb2.DrainNodeRequest(node_id="b"), **auth)
    assert drained.state == allocation_pb2.Node.STATE_DRAINING
    assert b.plane.node.draining
    assert not a.plane.node.draining
    async with asyncio.timeout(5):
        while not any(node.state == allocation_pb2.Node.STATE_DRAINING for node in (await changes.read()).nodes):
            pass
    found = await a.allocation.GetNode(allocation_pb2.GetNodeRequest(node_id="b"), **auth)
    assert found.state == allocation_pb2.Node.STATE_DRAINING
    for call, request in (
        (a.allocation.GetNode, allocation_pb2.GetNodeRequest(node_id="no")),
        (a.allocation.DrainNode, allocation_pb2.DrainNodeRequest(node_id="no")),
        (a.allocation.ListNodes, allocation_pb2.ListNodesRequest(region="mars")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, **auth)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "grants",
    [Grants(room="room", room_join=True), Grants(room="room", room_admin=True), Grants(room_list=True)],
    ids=["participant", "moderator", "lister"],
)
async def test_only_operators_see_and_drain_nodes(whole: Whole, grants: Grants) -> None:
    a = await whole.start("a")
    bearer = create_token(KEY, SECRET, Token("x", grants))
    auth = {"metadata": (("authorization", f"Bearer {bearer}"),)}
    for call, request in (
        (a.allocation.ListNodes, allocation_pb2.ListNodesRequest()),
        (a.allocation.DrainNode, allocation_pb2.DrainNodeRequest(node_id="a")),
        (a.allocation.FindRoom, allocation_pb2.FindRoomRequest(room="room")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, **auth)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not a.plane.node.draining


async def test_joins_while_the_shared_state_is_away(whole: Whole, client: Callable[[], LiveKit]) -> None:
    a, b = await two(whole)
    await client().connect(a, token(identity="one"))
    whole.state.is_away = True
    joined = await client().connect(a, token(identity="two"))
    assert joined.join.server_info.node_id == "a"
    other = await client().connect(a, token(room="unknown", identity="three"))
    assert other.status == 503
    assert float(other.headers["Retry-After"]) > 0
    whole.state.is_away = False
    await until(lambda: a.cluster.registry.sees and b.cluster.registry.sees)
    joined = await client().connect(a, token(room="unknown", identity="three"))
    assert joined.join.room.name == "unknown"


async def test_a_call_is_not_passed_on_for_ever(whole: Whole) -> None:
    """Two nodes each of which takes the other for the owner."""
    a, b = await two(whole)
    for one, other in ((a, "b"), (b, "a")):

        async def find(name: str, *, recent: bool = False, other: str = other) -> Any:
            return RoomRecord(name, "RM_x", 1, other, (other,), 0.0)

        one.cluster.directory.find = find  # type: ignore[method-assign]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await a.rooms.GetRoom(rooms_pb2.GetRoomRequest(room="room"), metadata=admin_metadata())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata() or ())["retry-after"]


async def test_a_node_that_is_not_known_is_not_called(whole: Whole) -> None:
    a = await whole.start("a")
    with pytest.raises(UnavailableError, match="no node 'z'"):
        a.cluster.channel("z")
