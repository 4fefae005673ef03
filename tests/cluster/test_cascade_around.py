"""Two nodes that cannot reach each other, and a third that both reach: the room goes on as one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.cluster.registry import decode, encode
from control_plane.gateway.upstream import JoinRefusedError, Upstream
from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc, signaling_pb2
from tests.cluster.real import RealCluster, RealNode
from tests.cluster.waiting import until
from tests.control_plane.conftest import admin_metadata, token

EVERYONE = {"alice", "bob", "carol"}


@asynccontextmanager
async def room(folder: Path, *names: str) -> AsyncIterator[tuple[RealCluster, dict[str, Any]]]:
    """With alice, bob and carol, each on a node, who all see each other."""
    async with RealCluster(folder, *(names or ("a", "b", "c")), wired=True) as cluster:
        people = {}
        for node, identity in zip(cluster.nodes, ("alice", "bob", "carol"), strict=False):
            people[identity] = (await cluster.peer(node, identity)).signaling
        await until(lambda: all(identities(node) == EVERYONE for node in cluster.nodes[:3]))
        yield cluster, people


def identities(node: RealNode) -> set[str]:
    return set(node.live().room.participants)


def through(one: RealNode, other: RealNode) -> str | None:
    """The node by which the stream of two goes; None: straight, or there is none."""
    peer = one.cluster.cascade.peers[other.name]
    return peer.third if peer.is_open else None


def is_straight(one: RealNode, other: RealNode) -> bool:
    ends = one.cluster.cascade.peers[other.name], other.cluster.cascade.peers[one.name]
    return all(end.is_open and end.third is None for end in ends)


def gone(client: Any) -> set[str]:
    """Who has left, as somebody was told."""
    return {
        seen.identity
        for answer in client.seen
        for seen in answer.participants_changed.participants
        if seen.state == models_pb2.Participant.STATE_DISCONNECTED
    }


@pytest.mark.timeout(60)
async def test_who_joins_and_leaves_beyond_a_cut_is_seen_and_nobody_else_leaves(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, people):
        one, other, _ = cluster.nodes
        cluster.cut(one, other)
        cut_at = time.monotonic()
        late = (await cluster.peer(one, "late")).signaling
        await until(lambda: other.participant("late"))
        seen = time.monotonic() - cut_at
        print(f"\nwho joins is seen across the cut after {seen:.2f} s")
        assert seen < 2.0
        assert through(one, other) == through(other, one) == "c"
        assert (one.cluster.describe().around, other.cluster.describe().around) == ({"b": "c"}, {"a": "c"})
        assert decode("a", encode(one.cluster.describe())) == one.cluster.describe()
        began = time.monotonic()
        await cluster.peer(other, "later")
        await until(lambda: one.participant("later"))
        print(f"the next after {time.monotonic() - began:.2f} s")
        await late.send(leave=signaling_pb2.Leave())
        await until(lambda: other.participant("late") is None)
        await cluster.mend(one, other)
        mended_at = time.monotonic()
        await until(lambda: is_straight(one, other))
        print(f"straight again after {time.monotonic() - mended_at:.2f} s")
        await asyncio.sleep(0.5)
        assert is_straight(one, other)
        for node in cluster.nodes:
            assert identities(node) == {*EVERYONE, "later"}
        assert all(gone(client) <= {"late"} for client in people.values())


@pytest.mark.timeout(60)
async def test_what_changes_beyond_a_cut_is_known(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, people):
        one, other, _ = cluster.nodes
        await cluster.publisher(one, "pat")
        await until(lambda: other.participant("pat") and len(other.participant("pat").tracks) == 2)
        cluster.cut(one, other)
        await until(lambda: through(one, other))
        publisher = one.participant("pat").session
        track = next(iter(publisher.participant.tracks.values()))
        publisher.handle(signaling_pb2.SessionRequest(mute=signaling_pb2.Mute(track_id=track.id, muted=True)))
        await until(lambda: other.participant("pat").tracks[track.id].info.muted)
        # Asked of the one node, done by the other.
        rooms: Any = rooms_pb2_grpc.RoomServiceStub(one.channel)
        update = rooms_pb2.UpdateParticipantRequest(room="room", identity="bob", metadata="of bob")
        assert (await rooms.UpdateParticipant(update, metadata=admin_metadata("room"))).metadata == "of bob"
        await until(lambda: one.participant("bob").info.metadata == "of bob")
        # Somebody is removed by the node that cannot be reached: the same identity joins there.
        await cluster.peer(other, "alice")
        assert (await people["alice"].until("left")).reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY


@pytest.mark.timeout(60)
async def test_a_client_of_one_nodes_gateway_has_its_session_on_the_other_beyond_a_cut(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, _):
        one, other, _ = cluster.nodes
        cluster.cut(one, other)
        await until(lambda: through(one, other) == "c")
        upstream = Upstream(one.cluster.channel("b"), "b")
        joined = await upstream.join(token(identity="far"), signaling_pb2.Join())
        assert {participant.identity for participant in joined.others} == EVERYONE
        assert other.participant("far").session is not None
        await until(lambda: one.participant("far"))
        upstream.send(signaling_pb2.SessionRequest(leave=signaling_pb2.Leave()))
        async with asyncio.timeout(10):
            left = [answer async for answer in upstream.responses() if answer.HasField("left")]
        assert len(left) == 1
        assert not upstream.broken
        wrong = Upstream(one.cluster.channel("b"), "b")
        with pytest.raises(JoinRefusedError) as refused:
            await wrong.join("no token", signaling_pb2.Join())
        assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.timeout(60)
async def test_who_cannot_connect_to_a_node_calls_it_through_another(tmp_path: Path) -> None:
    """Also where no room is shared, so that nothing was known of the path."""
    async with RealCluster(tmp_path, "a", "b", "c", wired=True) as cluster:
        one, other, _ = cluster.nodes
        await until(lambda: all(len(node.cluster.registry.nodes()) == 3 for node in cluster.nodes))
        cluster.cut(one, other)
        with pytest.raises(JoinRefusedError) as refused:
            await Upstream(one.cluster.channel("b"), "b").join(token(identity="far"), signaling_pb2.Join())
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE, "the gateway asks another node"
        joined = await Upstream(one.cluster.channel("b"), "b").join(token(identity="far"), signaling_pb2.Join())
        assert joined.participant.identity == "far"
        assert other.participant("far").session is not None


@pytest.mark.timeout(60)
async def test_the_bus_is_away_as_well(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, people):
        one, other, _ = cluster.nodes
        cluster.state.is_away = True
        cluster.cut(one, other)
        await cluster.peer(one, "late")
        await until(lambda: other.participant("late"))
        assert through(one, other) == "c"
        # For longer than a heartbeat lasts.
        await asyncio.sleep(5.0)
        assert through(one, other) == "c"
        await cluster.mend(one, other)
        await until(lambda: is_straight(one, other))
        cluster.state.is_away = False
        await asyncio.sleep(1.0)
        assert all(identities(node) == {*EVERYONE, "late"} for node in cluster.nodes)
        assert not any(gone(client) for client in people.values())


@pytest.mark.timeout(60)
async def test_data_messages_arrive_once_and_in_order_over_cut_and_healing(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, people):
        one, other, third = cluster.nodes
        _, inbox = await cluster.chat(other, "ears")
        await until(lambda: one.participant("ears"))
        sending = asyncio.ensure_future(talk(people["alice"]))
        await until(lambda: inbox.qsize() > 20)
        cluster.cut(one, other)
        await until(lambda: through(one, other) == "c")
        count = inbox.qsize()
        await until(lambda: inbox.qsize() > count + 20)
        await cluster.mend(one, other)
        await until(lambda: is_straight(one, other))
        count = inbox.qsize()
        await until(lambda: inbox.qsize() > count + 20)
        sending.cancel()
        total = await sending
        await until(lambda: inbox.qsize() >= total)
        assert [inbox.get_nowait() for _ in range(inbox.qsize())] == [str(number) for number in range(total)]
        assert third.cluster.through.passed_on


async def talk(client: Any) -> int:
    """Says a number every 10 ms, until it is cancelled: how many."""
    number = 0
    try:
        while True:
            message = models_pb2.DataMessage(label="chat", payload=str(number).encode())
            await client.send(send_data=signaling_pb2.SendData(message=message))
            number += 1
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return number


@pytest.mark.timeout(60)
async def test_links_keep_their_keys_over_a_cut(tmp_path: Path) -> None:
    async with room(tmp_path) as (cluster, _):
        one, other, _ = cluster.nodes
        peers = one.cluster.cascade.peers["b"], other.cluster.cascade.peers["a"]
        before = [{(link.ours, link.theirs) for link in peer.relays.links.values()} for peer in peers]
        assert all(before)
        cluster.cut(one, other)
        await until(lambda: through(one, other))
        await cluster.mend(one, other)
        await until(lambda: is_straight(one, other))
        assert [{(link.ours, link.theirs) for link in peer.relays.links.values()} for peer in peers] == before
        await until(lambda: all(link.is_well for peer in peers for link in peer.relays.links.values()))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("sender", "receiver"), [("a", "b"), ("b", "a")])
async def test_a_way_that_is_cut_in_one_direction_is_left(tmp_path: Path, sender: str, receiver: str) -> None:
    async with room(tmp_path) as (cluster, people):
        one, other, _ = cluster.nodes
        cluster.cables.cut_one_way(sender, receiver)
        cluster.wires.cut_one_way(sender, receiver)
        cut_at = time.monotonic()
        await cluster.peer(one, "late")
        await until(lambda: other.participant("late"))
        print(f"\nseen after {time.monotonic() - cut_at:.2f} s")
        await until(lambda: through(one, other) == through(other, one) == "c")
        await cluster.peer(other, "later")
        await until(lambda: one.participant("later"))
        await cluster.mend(one, other)
        await until(lambda: is_straight(one, other))
        assert not any(gone(client) for client in people.values())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ends", ["dies", "leaves"])
async def test_when_the_third_ends_another_is_taken(tmp_path: Path, ends: str) -> None:
    async with room(tmp_path, "a", "b", "c", "d") as (cluster, people):
        one, other, third, fourth = cluster.nodes
        cluster.cut(one, other)
        await until(lambda: through(one, other) in ("c", "d"))
        first, second = (third, fourth) if through(one, other) == "c" else (fourth, third)
        died_at = time.monotonic()
        ending = asyncio.ensure_future(first.die() if ends == "dies" else first.plane.stop())
        await cluster.peer(one, "late")
        await until(lambda: other.participant("late"))
        seen = time.monotonic() - died_at
        print(f"\nseen after {seen:.2f} s")
        assert seen < 3.0
        await until(lambda: through(one, other) == second.name, patience=5.0)
        assert not (gone(people["alice"]) | gone(people["bob"])) & {"alice", "bob"}
        await ending


@pytest.mark.timeout(60)
async def test_a_third_node_that_drains_is_left_while_another_can_do_it(tmp_path: Path) -> None:
    async with room(tmp_path, "a", "b", "c", "d") as (cluster, _):
        one, other, third, fourth = cluster.nodes
        cluster.cut(one, other)
        await until(lambda: through(one, other) in ("c", "d"))
        first, second = (third, fourth) if through(one, other) == "c" else (fourth, third)
        first.plane.node.drain()
        first.cluster.registry.announce()
        await until(lambda: through(one, other) == through(other, one) == second.name)


@pytest.mark.timeout(60)
async def test_without_a_third_node_each_keeps_the_others_people_as_it_knew_them(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", wired=True) as cluster:
        one, other = cluster.nodes
        alice, _ = (await cluster.peer(one, "alice")).signaling, await cluster.peer(other, "bob")
        await until(lambda: one.participant("bob") and other.participant("alice"))
        cluster.cut(one, other)
        await until(lambda: not one.cluster.cascade.peers["b"].is_open)
        await cluster.peer(one, "late")
        await asyncio.sleep(5.0)
        assert other.participant("late") is None
        await cluster.mend(one, other)
        await until(lambda: other.participant("late"))
        await until(lambda: is_straight(one, other))
        assert not gone(alice)


@pytest.mark.timeout(60)
async def test_nodes_that_were_never_connected_begin_through_a_third(tmp_path: Path) -> None:
    async with RealCluster(tmp_path, "a", "b", "c", wired=True) as cluster:
        one, other, _ = cluster.nodes
        cluster.cut(one, other)
        await cluster.peer(one, "alice")
        await cluster.peer(other, "bob")
        await until(lambda: one.participant("bob") and other.participant("alice"))
        assert through(one, other) == "c"
        assert not one.cluster.cascade.peers["b"].relays.is_there, "no keys are told through another node"
        await cluster.mend(one, other)
        await until(lambda: is_straight(one, other))
        await until(lambda: one.cluster.cascade.peers["b"].relays.is_there)
