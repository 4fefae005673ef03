"""Clients that give up on one gateway and try another while their session is on its way: it has one home in the end."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from control_plane.cluster.cascade import cascade
from control_plane.cluster.moving.leaving import session_state
from control_plane.server_offers import GAP
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster.members import SPLIT, Member, answer, disconnected, publish, quiet, started
from tests.cluster.test_dead_nodes import all_kept
from tests.cluster.test_dead_nodes import members as members
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient, recorded


@pytest.mark.parametrize("anew", ["b", "c"])
async def test_who_has_joined_anew_meanwhile_is_not_replaced(tmp_path: Path, anew: str) -> None:
    async with started("abc", tmp_path, keep_sessions=True) as trio:
        one, other, _ = trio
        alice, carol = await one.client("alice"), await other.client("carol")
        await publish(alice)
        await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
        await until(lambda: one.cluster.keeping.keeper and one.cluster.keeping.untold == 0)
        await one.die()
        place = {member.cluster.id: member for member in trio}[anew]
        again = await place.client("alice")
        await publish(again)
        await until(lambda: other.person("alice").id == again.joined.participant.id)
        late = await other.client("alice", resume_session_id=alice.joined.session_id)
        assert late.seen[0].left.reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH
        for member in (other, place):
            assert member.person("alice").id == again.joined.participant.id
        assert place.person("alice").session.ended is False
        await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
        await carol.offer("chromium_sendrecv")
        await until(lambda: len(other.person("carol").session.subscriptions) == 2)
        subscribed = other.person("carol").session.subscriptions.values()
        assert {one.track.owner for one in subscribed} == {other.person("alice")}
        assert all(one.handle is not None for one in subscribed)


async def goes(member: Member, alice: SignalingClient) -> SignalingClient:
    """Its client resumes there by what it knew of the node that died."""
    again = await member.client("alice", resume_session_id=alice.joined.session_id)
    assert (again.joined.resumed, again.joined.rebuilt) == (True, True)
    assert again.joined.participant.id == alice.joined.participant.id
    return again


async def is_whole(home: Member, other: Member, alice: SignalingClient, *, here: str, there: str) -> None:
    """Alice is at `home` alone, and everybody else receives what she publishes there."""
    await until(lambda: home.person("alice").session is not None and not home.person("alice").session.arriving)
    await until(lambda: other.person("alice") is not None and other.person("alice").session is None)
    for member in (home, other):
        assert member.person("alice").id == alice.joined.participant.id
        assert [session.participant.identity for session in member.plane.node.sessions()].count("alice") == (
            member is home
        )
    published = {track.id: track.first.handle for track in home.person("alice").tracks.values()}
    remote = other.cluster.cascade._rooms["room"]

    def comes_from_home() -> bool:
        told = {encoding.track.id: known.source for encoding, known in remote._told.items()}
        sources = [mirror.source for mirror in other.cluster.cascade.mirrors.all() if mirror.told is not None]
        return (
            {key: source and (source.node, source.handle) for key, source in told.items()}
            == {key: (home.cluster.id, handle) for key, handle in published.items()}
            and {(source.node, source.handle) for source in sources}
            == {(home.cluster.id, handle) for handle in published.values()}
            and remote._moving == {}
        )

    assert len(published) == 2
    assert None not in published.values()
    await until(comes_from_home)
    for member, listener in ((home, here), (other, there)):
        heard = member.person(listener).session.subscriptions.values()
        tracks = member.person("alice").tracks
        assert {one.track for one in heard} == set(tracks.values())
        assert all(one.handle is not None and one.encoding is one.track.first for one in heard)


ORDERS = {
    "before the offer": (False, True),
    "after the offer": (True, True),
    "before the offer, its end is noticed late": (False, False),
    "after the offer, its end is noticed late": (True, False),
}


@pytest.mark.parametrize("order", [*ORDERS, "while the offer is in flight"])
@pytest.mark.parametrize("back", [False, True], ids=["there", "and back"])
async def test_a_client_that_tries_another_way_is_at_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, back: bool
) -> None:
    monkeypatch.setattr(cascade, "MISSED", 20.0)
    async with started("abc", tmp_path, keep_sessions=True) as (one, other, third):
        alice = await one.client("alice")
        carol, bob = await other.client("carol"), await third.client("bob")
        await publish(alice)
        for client in (carol, bob):
            await client.until_participant("alice", lambda item: len(item.tracks) == 2)
            await client.offer("chromium_sendrecv")
        for member in (other, third):
            await until(partial(member.media.named, "subscribe"))
        await until(lambda: one.cluster.keeping.keeper and one.cluster.keeping.untold == 0)
        await one.die()
        first = await goes(other, alice)
        is_offered, is_cut = ORDERS.get(order, (False, True))
        if order == "while the offer is in flight":
            await first.send(offer=signaling_pb2.SessionDescription(sdp=recorded("chromium_sendrecv")))
        elif is_offered:
            await first.offer("chromium_sendrecv")
        if is_cut:
            first.call.cancel()
        if order == "while the offer is in flight":
            second = await third.client("alice", resume_session_id=alice.joined.session_id)
            assert second.joined.resumed
        elif is_offered:
            second = await third.client("alice", resume_session_id=alice.joined.session_id)
            assert (second.joined.resumed, second.joined.moved) == (True, True)
        else:
            second = await goes(third, alice)
        home, away = third, other
        if back:
            second.call.cancel()
            second = await other.client("alice", resume_participant_id=alice.joined.participant.id)
            assert second.joined.resumed
            home, away = other, third
        await second.offer("chromium_sendrecv")
        if home is other:
            await is_whole(home, away, alice, here="carol", there="bob")
        else:
            await is_whole(home, away, alice, here="bob", there="carol")
        for client in (bob, carol):
            await quiet(client)
            assert list(disconnected(client)) == []


@pytest.mark.parametrize("is_offered", [False, True], ids=["before the offer", "after the offer"])
async def test_a_client_that_tries_the_same_node_again_finds_its_session(tmp_path: Path, is_offered: bool) -> None:
    async with started("ab", tmp_path, keep_sessions=True) as (one, other):
        alice = await one.client("alice")
        await publish(alice)
        await all_kept(one, other)
        await one.die()
        first = await goes(other, alice)
        if is_offered:
            await first.offer("chromium_sendrecv")
        first.call.cancel()
        again = await other.client("alice", resume_session_id=alice.joined.session_id)
        assert (again.joined.resumed, again.joined.rebuilt) == (True, not is_offered)
        await again.offer("chromium_sendrecv")
        assert len(other.person("alice").tracks) == 2
        assert other.plane.node.num_sessions == 1


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_is_given_on_is_all_that_is_known(tmp_path: Path, is_known: bool) -> None:
    async with started("abc", tmp_path, keep_sessions=True) as (one, other, third):
        alice, bob = await one.client("alice"), await one.client("bob", layout=SPLIT, data_channels=["_reliable"])
        camera = await publish(alice)
        before = await bob.until("offer")
        while camera not in before.mid_to_track_id.values():
            await answer(bob, before)
            before = await bob.until("offer")
        await answer(bob, before)
        peer = one.person("bob").session.subscriber.peer
        one.media.emit("data_channel_opened", peer.handle, "_reliable", True, (1, True, None, None))
        await until(lambda: one.cluster.keeping.keeper and one.cluster.keeping.untold == 0)
        await one.die()
        first = await other.client("bob", resume_session_id=bob.joined.session_id)
        await first.until("offer")
        again = await third.client("bob", resume_session_id=bob.joined.session_id)
        assert again.joined.rebuilt
        offer = await again.until("offer")
        assert dict(offer.mid_to_track_id) == dict(before.mid_to_track_id)
        assert offer.id > before.id + GAP + 1, "the other node has made that one"
        (restored,) = third.media.named("restore_data_channels")
        assert restored["channels"] == [(1, "_reliable", True, None, None)]
        session = int(offer.sdp.split("o=- ")[1].split()[0])
        version = before.id if is_known else before.id + 1
        await again.send(client_state=signaling_pb2.ClientState(sdp_session_id=session, sdp_version=version))
        if is_known:
            await answer(again, offer)
            await quiet(again)
            assert third.person("bob").session.ended is False
        else:
            assert (await again.until("left")).reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH


async def test_layers_are_known_by_their_sources_wherever_it_is_given_on(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice")
    await publish(alice)
    await all_kept(one, other)
    await one.die()
    await goes(other, alice)
    session = other.person("alice").session
    for track in session.participant.tracks.values():
        track.first.sources = {"q": (1, 2), "f": (3, None)}
    state = session_state(session, "SE_given.c", other.media.snapshot().layers)
    assert state.rebuilt
    for publication in state.publications:
        told = [(source.rid, source.ssrc, source.rtx_ssrc) for source in publication.forms[0].sources]
        assert told == [("q", 1, 2), ("f", 3, 0)]
        assert publication.forms[0].section


async def test_who_comes_back_to_a_node_that_lives_is_there_for_all(tmp_path: Path) -> None:
    async with started("ab", tmp_path) as (one, other):
        alice, bob = await one.client("alice"), await other.client("bob")
        await publish(alice)
        await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
        away = await other.client("alice", resume_session_id=alice.joined.session_id)
        assert other.person("alice").session.arriving
        for number in range(3):
            one.person("alice").session.publications.mute(next(iter(one.person("alice").tracks.values())), number != 1)
        await asyncio.sleep(0.3)
        assert other.person("alice").session is not None, "what is told of it where it was changes nothing"
        away.call.cancel()
        again = await one.client("alice", resume_session_id=alice.joined.session_id)
        assert (again.joined.resumed, again.joined.moved) == (True, False)
        await until(lambda: other.person("alice").session is None)
        assert other.person("alice").home.node == "a"
        assert other.plane.node.num_sessions == 1
        await quiet(bob)
        assert list(disconnected(bob)) == []
