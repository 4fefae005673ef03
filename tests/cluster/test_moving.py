"""Sessions that go from node to node: whole nodes with mutual TLS, with cores that only write down their commands."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from control_plane.cluster.cascade.cascade import HEARD
from control_plane.errors import UnavailableError
from pysfu.v1 import models_pb2, moving_pb2, signaling_pb2
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


@pytest_asyncio.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Two nodes, a and b, which know each other."""
    async with started("ab", tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def trio(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """The same with a third, c."""
    async with started("abc", tmp_path) as running:
        yield running


def two_redirects(member: Member) -> bool:
    return len(member.media.named("redirect")) >= 2


async def test_a_participant_moves_and_nobody_notices(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice", metadata="kept")
    bob = await one.client("bob")
    carol = await other.client("carol")
    camera = await publish(alice)
    for client in (bob, carol):
        await client.until_participant("alice", lambda item: len(item.tracks) == 2)
        await client.offer("chromium_sendrecv")
    for member in members:
        await until(partial(member.media.named, "subscribe"))
    drained = asyncio.create_task(one.cluster.drain(10))
    move = await alice.until("move_to")
    assert (move.node_id, move.session_id.rpartition(".")[2]) == ("b", "b")
    again = await other.client("alice", resume_session_id=move.session_id)
    assert (again.joined.resumed, again.joined.moved) == (True, True)
    assert again.joined.session_id == move.session_id
    assert again.joined.participant.id == alice.joined.participant.id
    assert again.joined.participant.metadata == "kept"
    assert {item.identity for item in again.joined.others} == {"bob", "carol"}
    assert camera in {track.id for track in again.joined.participant.tracks}
    assert one.person("alice").session is not None, "served where it was until its client has offered"

    answer = await again.offer("chromium_sendrecv")
    assert camera in answer.mid_to_track_id.values()
    await until(lambda: one.person("alice").session is None)
    assert one.person("alice").id == alice.joined.participant.id
    assert other.person("alice").session is not None
    # Those who receive it go on with other tracks of their cores, and keep their subscriptions.
    for member in members:
        await until(partial(two_redirects, member))
        assert member.media.named("unsubscribe") == [] or member is one
    await until(lambda: other.media.named("unmirror"))

    move = await bob.until("move_to")
    again_bob = await other.client("bob", resume_session_id=move.session_id)
    await again_bob.offer("chromium_sendrecv")
    progress = await drained
    assert (progress.total, progress.moved, progress.failed) == (2, 2, 0)
    for client in (again_bob, carol, again):
        await quiet(client)
    for client in (bob, again_bob, carol, again):
        assert list(disconnected(client)) == []
    assert one.plane.node.num_sessions == 0


async def test_a_third_node_goes_on_with_what_it_receives(trio: list[Member]) -> None:
    one, other, third = trio
    alice = await one.client("alice")
    await other.client("bob")
    carol = await third.client("carol")
    await publish(alice)
    await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
    await carol.offer("chromium_sendrecv")
    await until(lambda: len(third.media.named("subscribe")) == 2)
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    await again.offer("chromium_sendrecv")
    await until(partial(two_redirects, third))
    assert third.person("alice").home.node == "b"
    subscribed = {call["handle"] for call in third.media.named("subscribe")}
    assert {call["subscription"] for call in third.media.named("redirect")} == subscribed
    assert third.media.named("unsubscribe") == []
    # The node that it left tells so later, and then nothing happens either.
    await until(lambda: one.person("alice").session is None)
    await asyncio.sleep(HEARD + 0.5)
    await quiet(carol)
    assert list(disconnected(carol)) == []
    assert third.person("alice").id == alice.joined.participant.id


async def test_before_a_move_everybody_is_known_also_those_of_third_nodes(trio: list[Member]) -> None:
    one, other, third = trio
    alice, carol = await one.client("alice"), await third.client("carol")
    await until(lambda: one.person("carol"))
    drained = asyncio.create_task(one.cluster.drain(10))
    move = await alice.until("move_to")
    target = {member.cluster.id: member for member in trio}[move.node_id]
    assert target.person("carol") is not None
    again = await target.client("alice", resume_session_id=move.session_id)
    assert {item.identity for item in again.joined.others} == {"carol"}
    await again.offer("chromium_sendrecv")
    assert (await drained).moved == 1

    # Only those of the node that asks have to be known in the end: one of a third node may have left meanwhile.
    ids = {"alice": alice.joined.participant.id, "carol": carol.joined.participant.id}
    asked = moving_pb2.PrepareMove(room="room", participant_ids=[ids["carol"]], others=[ids["alice"], "PA_gone"])
    await other.cluster.moving.prepare(asked)
    assert {other.person(name).id for name in ids} == set(ids.values())
    with pytest.raises(UnavailableError, match="1 participants are not known"):
        await other.cluster.moving.prepare(moving_pb2.PrepareMove(room="room", participant_ids=["PA_gone"]))


async def test_a_split_session_is_offered_its_sections_again(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice")
    bob = await one.client("bob", layout=SPLIT, data_channels=["_reliable"])
    camera = await publish(alice)
    before = await take_offers(bob)
    assert camera in before.mid_to_track_id.values()
    peer = one.person("bob").session.subscriber.peer
    one.media.emit("data_channel_opened", peer.handle, "_reliable", True, (1, True, None, None))
    one.media.emit("connected", peer.handle, "aead_aes_128_gcm")
    drained = asyncio.create_task(one.cluster.drain(10))
    move = await bob.until("move_to")
    again = await other.client("bob", resume_session_id=move.session_id)
    offer = await again.until("offer")
    assert dict(offer.mid_to_track_id) == dict(before.mid_to_track_id)
    assert offer.id > before.id
    assert mids(offer.sdp) == mids(before.sdp)
    assert ssrcs(offer.sdp).isdisjoint(ssrcs(before.sdp)), "an SSRC is never used under two keys"
    assert fingerprint(offer.sdp) == one.media.fingerprint, "ICE comes first"
    (restored,) = other.media.named("restore_data_channels")
    assert restored["channels"] == [(1, "_reliable", True, None, None)]
    assert other.media.named("open_data_channel") == []
    await answer(again, offer)
    other.media.emit("ice_connected", other.person("bob").session.subscriber.peer.handle, "127.0.0.1", 1)
    offer = await again.until("offer")
    assert fingerprint(offer.sdp) == other.media.fingerprint, "then DTLS"
    await answer(again, offer)
    await until(lambda: len(other.media.named("subscribe")) == 2)
    other.connect_all()
    await until(lambda: one.person("bob").session is None)
    await alice.send(leave=signaling_pb2.Leave())
    progress = await drained
    assert (progress.moved, progress.left) == (1, 1)


async def test_who_does_not_come_is_told_to_join_anew(members: list[Member]) -> None:
    one, _ = members
    alice = await one.client("alice")
    progress = await one.cluster.drain(0.5)
    left = await alice.until("left")
    assert (left.can_rejoin, left.reason) == (True, models_pb2.DISCONNECT_REASON_SERVER_SHUTDOWN)
    assert (progress.total, progress.failed) == (1, 1)


async def test_who_cannot_negotiate_again_stays_until_the_end(members: list[Member]) -> None:
    one, _ = members
    encoder = await one.client("encoder", auto_publish=True)
    progress = await one.cluster.drain(0.5)
    assert (await encoder.until("left")).can_rejoin
    assert [response for response in encoder.seen if response.HasField("move_to")] == []
    assert progress.failed == 1


async def test_a_client_that_moves_and_does_nothing_more_is_served_where_it_was(members: list[Member]) -> None:
    one, other = members
    alice, bob = await one.client("alice"), await one.client("bob")
    await publish(alice)
    await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    again = await other.client("alice", resume_participant_id=alice.joined.participant.id)
    assert again.joined.moved
    again.call.cancel()
    await asyncio.sleep(0.2)
    assert one.person("alice").session is not None
    resumed = await one.client("alice", resume_session_id=alice.joined.session_id)
    assert (resumed.joined.resumed, resumed.joined.moved) == (True, False)
    await quiet(bob)
    assert list(disconnected(bob)) == []


async def test_nobody_takes_what_is_not_theirs(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice")
    for name in ({"resume_session_id": alice.joined.session_id}, {"resume_participant_id": "PA_of_somebody"}):
        thief = await other.client("thief", **name)
        assert thief.seen[0].left.reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH
    with structlog.testing.capture_logs() as logs:
        for guessed in ("SE_guessed.b", "SE_guessed.a", "SE_gu\u00e9ssed.a"):
            unknown = await other.client("alice", resume_session_id=guessed)
            assert unknown.seen[0].left.can_rejoin
    assert one.person("alice").session is not None
    assert [line for line in logs if line["log_level"] not in ("info", "debug")] == []


async def test_another_session_than_was_asked_for_is_refused_and_logged(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = members
    alice, bob = await one.client("alice"), await one.client("bob")
    moving = one.cluster.moving
    give, bobs = moving.give, moving_pb2.TakeSession(identity="bob", participant_id=bob.joined.participant.id)

    def another(node: str, request: moving_pb2.TakeSession) -> moving_pb2.SessionState:
        bobs.room = request.room
        return give(node, bobs)

    monkeypatch.setattr(moving, "give", another)
    with structlog.testing.capture_logs() as logs:
        again = await other.client("alice", resume_session_id=alice.joined.session_id)
    left = again.seen[0].left
    assert (left.can_rejoin, left.reason) == (True, models_pb2.DISCONNECT_REASON_STATE_MISMATCH)
    assert other.plane.node.num_sessions == 0
    (told,) = [line for line in logs if line["event"] == "a node gave another session than was asked for"]
    assert (told["log_level"], told["node"], told["room"]) == ("error", "a", "room")


async def test_resuming_a_session_of_a_dead_node_is_refused_at_once(members: list[Member]) -> None:
    one, other = members
    alice = await one.client("alice")
    await other.client("bob")
    await one.stop()
    again = await other.client("alice", resume_session_id=alice.joined.session_id)
    assert again.seen[0].left.can_rejoin


def ssrcs(sdp: str) -> set[str]:
    return {line.split(" ")[0] for line in sdp.split("\r\n") if line.startswith("a=ssrc:")}
