"""Sessions that outlive their node: whole nodes with mutual TLS, with cores that only write down their commands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane import client_offers
from control_plane.cluster.cascade import cascade
from control_plane.server_offers import GAP
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster.members import (
    SPLIT,
    Member,
    answer,
    disconnected,
    fingerprint,
    mids,
    publish,
    quiet,
    started,
    take_offers,
)
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient


@pytest_asyncio.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Two nodes, a and b, of which each keeps the other's sessions."""
    async with started("ab", tmp_path, keep_sessions=True) as running:
        yield running


async def all_kept(member: Member, keeper: Member) -> None:
    """What the keeper has of all who are here is as they are now."""
    cluster = member.cluster
    await until(lambda: cluster.keeping.keeper == keeper.cluster.id and cluster.keeping.untold == 0)
    assert len(keeper.cluster.moving.kept) == member.plane.node.num_sessions


async def alice_to_carol(
    one: Member, other: Member, layout: signaling_pb2.Join.Layout.ValueType = signaling_pb2.Join.LAYOUT_SINGLE
) -> tuple[SignalingClient, SignalingClient, str]:
    """Alice, who publishes at one node, Carol, who receives it at another, and the id of Alice's camera."""
    alice, carol = await one.client("alice", metadata="kept"), await other.client("carol", layout=layout)
    camera = await publish(alice)
    await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
    if layout == SPLIT:
        assert camera in (await take_offers(carol)).mid_to_track_id.values()
    else:
        await carol.offer("chromium_sendrecv")
    await until(lambda: len(other.media.named("subscribe")) == 2)
    return alice, carol, camera


def links_break(member: Member) -> None:
    """All of this node's."""
    for link in list(member.cluster.link_nodes()):
        member.media.emit("link_alive", link, False)


async def test_who_was_on_a_node_that_dies_goes_on_at_another(members: list[Member]) -> None:
    one, other = members
    alice, carol, camera = await alice_to_carol(one, other)
    await all_kept(one, other)
    await one.die()
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    assert (again.joined.resumed, again.joined.moved, again.joined.rebuilt) == (True, True, True)
    assert again.joined.session_id.endswith(".b")
    assert again.joined.participant.id == alice.joined.participant.id
    assert again.joined.participant.metadata == "kept"
    assert {item.identity for item in again.joined.others} == {"carol"}
    answered = await again.offer("chromium_sendrecv")
    assert camera in answered.mid_to_track_id.values()
    await until(lambda: len(other.media.named("redirect")) == 2)
    assert other.media.named("unsubscribe") == []
    await quiet(carol)
    assert list(disconnected(carol)) == []
    # Not twice, and by nobody else.
    assert len(other.cluster.moving.kept) == 0


@pytest.mark.parametrize("layout", [signaling_pb2.Join.LAYOUT_SINGLE, SPLIT])
async def test_who_negotiates_after_the_dead_are_forgotten_is_received_all_the_same(
    members: list[Member],
    monkeypatch: pytest.MonkeyPatch,
    layout: signaling_pb2.Join.Layout.ValueType,
) -> None:
    monkeypatch.setattr(cascade, "MISSED", 0.5)
    one, other = members
    alice, carol, _ = await alice_to_carol(one, other, layout)
    await all_kept(one, other)
    await one.die()
    links_break(other)
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    assert again.joined.rebuilt
    remote = other.cluster.cascade._rooms["room"]
    await until(lambda: not remote._known.get("a"))
    assert other.media.named("redirect") == []
    await again.offer("chromium_sendrecv")
    await until(lambda: len(other.person("alice").tracks) == 2)
    heard = other.person("carol").session.subscriptions

    async def receives() -> None:
        if layout == SPLIT:
            await answer(carol, await carol.until("offer"))
        else:
            await carol.until("media_sections_required")
            await carol.offer("chromium_sendrecv")

    for _ in range(4):
        if len(heard) == 2 and all(one.handle is not None for one in heard.values()):
            break
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receives(), 1)
    assert other.media.named("redirect") == [], "what it came from is gone"
    published = {call["handle"] for call in other.media.named("publish")}
    assert {one.encoding.handle for one in heard.values()} <= published
    assert len(heard) == 2
    assert all(one.handle is not None for one in heard.values())


async def test_what_ended_with_the_dead_and_is_published_here_stays(members: list[Member]) -> None:
    one, other = members
    alice, _, _ = await alice_to_carol(one, other)
    await all_kept(one, other)
    await one.die()
    links_break(other)
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    tracks = other.person("alice").tracks
    for handle in [handle for track in tracks.values() for handle in track.handles()]:
        other.media.emit("mirror_ended", handle)
    await until(lambda: not any(track.announced for track in tracks.values()))
    await again.offer("chromium_sendrecv")
    assert all(track.announced for track in tracks.values())
    remote = other.cluster.cascade._rooms["room"]
    await until(lambda: not remote._known.get("a"))
    assert len(tracks) == 2
    assert all(track.announced for track in tracks.values())
    assert other.media.named("unpublish") == []


async def test_what_ends_with_the_dead_before_it_comes_from_elsewhere_is_received_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started("abc", tmp_path, keep_sessions=True) as (one, other, third):
        alice, carol, _ = await alice_to_carol(one, third)
        await until(lambda: one.cluster.keeping.keeper and one.cluster.keeping.untold == 0)
        await one.die()
        mirrors = third.cluster.cascade.mirrors
        take = mirrors._take
        monkeypatch.setattr(mirrors, "_take", lambda mirror, hop, *how: hop != "b" and take(mirror, hop, *how))
        again = await other.client("alice", resume_session_id=alice.joined.session_id)
        assert again.joined.rebuilt
        await again.offer("chromium_sendrecv")
        await until(lambda: third.person("alice").home.node == "b")
        for track in third.person("alice").tracks.values():
            for handle in track.handles():
                third.media.emit("mirror_ended", handle)
        await until(lambda: not any(track.announced for track in third.person("alice").tracks.values()))
        monkeypatch.undo()
        mirrors.links_ready("b")
        heard = third.person("carol").session.subscriptions
        await until(lambda: len(heard) == 2)
        await carol.until("media_sections_required")
        await carol.offer("chromium_sendrecv")
        await carol.until("media_sections_required")
        await carol.offer("chromium_sendrecv")
        await until(lambda: [one.handle for one in heard.values()].count(None) == 0)
        assert third.media.named("redirect") == []
        assert len(third.media.named("subscribe")) == 4


async def test_a_room_that_was_on_the_dead_node_alone_goes_on(members: list[Member]) -> None:
    one, other = members
    alice, bob = await one.client("alice"), await one.client("bob", layout=SPLIT)
    camera = await publish(alice)
    before = await take_offers(bob)
    assert camera in before.mid_to_track_id.values()
    await all_kept(one, other)
    await one.die()
    again = await other.client("alice", resume_participant_id=alice.joined.participant.id)
    assert again.joined.rebuilt
    assert again.joined.room.id == alice.joined.room.id
    await again.offer("chromium_sendrecv")
    viewer = await other.client("bob", resume_participant_id=bob.joined.participant.id)
    offer = await viewer.until("offer")
    assert dict(offer.mid_to_track_id) == dict(before.mid_to_track_id)
    assert mids(offer.sdp) == mids(before.sdp)
    assert offer.id == before.id + GAP + 1
    assert fingerprint(offer.sdp) == other.media.fingerprint, "nobody sends from where it was"
    await answer(viewer, offer)
    await until(lambda: len(other.media.named("subscribe")) == 2)


@pytest.mark.parametrize("comes", [True, False])
async def test_sections_wait_for_tracks_of_those_who_have_not_come_yet(
    members: list[Member],
    monkeypatch: pytest.MonkeyPatch,
    comes: bool,
) -> None:
    monkeypatch.setattr(client_offers, "EXPECTED", 2.0)
    one, other = members
    alice, bob = await one.client("alice"), await one.client("bob")
    await publish(alice)
    theirs = {await publish(bob)}
    await alice.until_participant("bob", lambda item: len(item.tracks) == 2)
    await alice.until("media_sections_required")
    before = await alice.offer("chromium_sendrecv")
    assert theirs <= set(before.mid_to_track_id.values())
    await until(lambda: len(one.media.named("subscribe")) == 2)
    await all_kept(one, other)
    await one.die()
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    answered = await again.offer("chromium_sendrecv")
    assert dict(answered.mid_to_track_id) == dict(before.mid_to_track_id)
    if not comes:
        await again.until("media_sections_required")
        answered = await again.offer("chromium_sendrecv")
        assert theirs.isdisjoint(answered.mid_to_track_id.values())
        return
    late = await other.client("bob", resume_session_id=bob.joined.session_id)
    await late.offer("chromium_sendrecv")
    heard = other.person("alice").session.subscriptions
    await until(lambda: [one.handle for one in heard.values()].count(None) == 0 and len(heard) == 2)
    await quiet(again)
    assert not any(response.HasField("media_sections_required") for response in again.seen)


@pytest.mark.parametrize(
    ("version", "tracks", "is_known"),
    [
        pytest.param(0, ("camera",), True, id="as it is known"),
        pytest.param(-1, (), True, id="less than is known: the offer had not come"),
        pytest.param(GAP + 1, ("camera",), True, id="it has taken an offer of the new node already"),
        pytest.param(1, ("camera",), False, id="an offer that the new node does not know"),
        pytest.param(0, ("camera", "TR_newer"), False, id="a track that the new node does not know"),
    ],
)
async def test_a_client_that_has_more_than_is_known_joins_anew(
    members: list[Member],
    version: int,
    tracks: tuple[str, ...],
    is_known: bool,
) -> None:
    one, other = members
    bob = await one.client("bob", layout=SPLIT)
    camera = await publish(bob)
    alice = await one.client("alice")
    await publish(alice)
    offer = await take_offers(bob)
    await all_kept(one, other)
    session, known = (int(word) for word in offer.sdp.split("o=- ")[1].split()[:2])
    await one.die()
    again = await other.client("bob", resume_session_id=bob.joined.session_id)
    had = [camera if name == "camera" else name for name in tracks]
    state = signaling_pb2.ClientState(sdp_session_id=session, sdp_version=known + version, track_ids=had)
    await again.send(client_state=state)
    if is_known:
        await again.offer("chromium_sendrecv")
        return
    left = await again.until("left")
    assert (left.can_rejoin, left.reason) == (True, models_pb2.DISCONNECT_REASON_STATE_MISMATCH)


async def test_a_node_that_was_taken_for_dead_gives_way(members: list[Member]) -> None:
    one, other = members
    alice, bob, carol = await one.client("alice"), await one.client("bob"), await other.client("carol")
    await publish(alice)
    for client in (bob, carol):
        await client.until_participant("alice", lambda item: len(item.tracks) == 2)
    await all_kept(one, other)
    registry = other.cluster.registry
    registry.suspect("a")
    again = await other.client("alice", resume_participant_id=alice.joined.participant.id)
    assert again.joined.rebuilt
    await again.offer("chromium_sendrecv")
    await until(lambda: one.person("alice").session is None)
    assert one.person("alice").id == other.person("alice").id == alice.joined.participant.id
    await until(lambda: registry.answers("a"))
    for client in (bob, carol):
        await quiet(client)
        assert list(disconnected(client)) == []


async def test_what_has_ended_is_not_kept(members: list[Member]) -> None:
    one, other = members
    alice, bob = await one.client("alice"), await one.client("bob")
    await one.client("encoder", auto_publish=True)
    await until(lambda: len(other.cluster.moving.kept) == 2)
    await alice.send(leave=signaling_pb2.Leave())
    await until(lambda: len(other.cluster.moving.kept) == 1)
    again = await other.client("bob", resume_session_id=bob.joined.session_id)
    await again.offer("chromium_sendrecv")
    await until(lambda: len(other.cluster.moving.kept) == 0)
    await until(lambda: len(one.cluster.moving.kept) == 1)
    await one.die()
    gone = await other.client("alice", resume_session_id=alice.joined.session_id)
    assert gone.seen[0].left.can_rejoin
