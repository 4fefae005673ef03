"""Rooms that span nodes, with cores that only write down what they are asked for."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest_asyncio

from control_plane.auth import Grants, Token, create_token
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.waiting import until
from tests.control_plane.conftest import KEY, SECRET, token
from tests.control_plane.recording import RecordingMedia


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[TestCluster]:
    async with TestCluster(RecordingMedia) as running:
        yield running


@pytest_asyncio.fixture
async def pair(cluster: TestCluster) -> tuple[ClusterNode, ClusterNode]:
    """Two nodes that hold one room."""
    one, other = await cluster.node("a"), await cluster.node("b")
    cluster.hold(one, other)
    return one, other


async def test_who_joins_on_one_node_is_seen_on_the_other(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", name="Alice")
    bob = await other.client("bob")
    seen = await bob.until_participant("alice")
    assert (seen.id, seen.name) == (alice.joined.participant.id, "Alice")
    await alice.until_participant("bob")
    assert one.identities() == other.identities() == {"alice", "bob"}


async def test_who_leaves_there_leaves_here(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice")
    bob = await other.client("bob")
    await bob.until_participant("alice")
    await alice.send(leave=signaling_pb2.Leave())
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_DISCONNECTED)
    assert other.identities() == {"bob"}


async def test_who_comes_later_is_told_of_everybody_at_once(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    for identity in ("alice", "carol"):
        await one.client(identity)
    await other.client("bob")
    await until(lambda: other.identities() == {"alice", "bob", "carol"})
    dave = await other.client("dave")
    assert {item.identity for item in dave.joined.others} == {"alice", "bob", "carol"}


async def test_same_identity_on_the_other_node_replaces(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    first = await one.client("alice")
    bob = await other.client("bob")
    await bob.until_participant("alice")
    second = await other.client("alice")
    left = await first.until("left")
    assert left.reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY
    await until(lambda: one.participant("alice") and one.participant("alice").id == second.joined.participant.id)
    assert other.participant("alice").session is not None


async def test_same_identity_at_the_same_time_leaves_the_later(cluster: TestCluster) -> None:
    one, other = await cluster.node("a"), await cluster.node("b")
    first = await one.client("alice")
    second = await other.client("alice")
    cluster.hold(one, other)
    left = await first.until("left")
    assert left.reason == models_pb2.DISCONNECT_REASON_DUPLICATE_IDENTITY
    later = second.joined.participant.id
    await until(lambda: {node.participant("alice").id for node in (one, other)} == {later})
    assert other.participant("alice").session is not None


async def test_hidden_participants_are_hidden_everywhere(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    bob = await other.client("bob")
    await one.client("ghost", bearer=token(identity="ghost", hidden=True))
    await one.client("alice")
    await bob.until_participant("alice")
    assert "ghost" in other.identities()
    seen = {item.identity for response in bob.seen for item in response.participants_changed.participants}
    assert "ghost" not in seen
    carol = await other.client("carol")
    assert {item.identity for item in carol.joined.others} == {"alice", "bob"}


async def test_metadata_of_participants_and_rooms_crosses(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    grants = Grants(room="room", room_join=True, can_update_own_metadata=True)
    alice = await one.client("alice", bearer=create_token(KEY, SECRET, Token("alice", grants)))
    bob = await other.client("bob")
    await bob.until_participant("alice")
    await alice.send(update_participant=signaling_pb2.UpdateParticipant(metadata="of alice", attributes={"a": "1"}))
    seen = await bob.until_participant("alice", lambda item: item.metadata == "of alice")
    assert dict(seen.attributes) == {"a": "1"}
    one.live().set_metadata("of the room")
    assert (await bob.until("room_changed")).metadata == "of the room"


async def test_links_are_made_once_between_workers(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    await one.client("alice")
    await other.client("bob")
    await until(lambda: one.media.named("add_link") and other.media.named("add_link"))
    (mine,), (theirs,) = one.media.named("add_link"), other.media.named("add_link")
    assert (mine["send"], mine["receive"]) == (theirs["receive"], theirs["send"])
    assert (mine["link"], mine["theirs"]) == (theirs["theirs"], theirs["link"])
    assert len(mine["send"]) == 28
    assert mine["send"] != mine["receive"]
    assert mine["remote"] == ("127.0.0.1", 7882)


async def test_a_stream_that_breaks_is_made_again_and_nothing_is_lost(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice")
    bob = await other.client("bob")
    carol = await one.client("carol")
    await until(lambda: other.identities() == {"alice", "bob", "carol"})
    await other.deafen()
    await until(lambda: not one.cascade.peer("b").is_open)
    # Nobody is gone only because nothing is heard.
    assert other.identities() == one.identities() == {"alice", "bob", "carol"}
    await carol.send(leave=signaling_pb2.Leave())
    await one.client("dave")
    await until(lambda: one.identities() == {"alice", "bob", "dave"})
    await other.listen()
    await until(lambda: other.identities() == {"alice", "bob", "dave"})
    assert len(one.media.named("add_link")) == 1, "links outlive streams"
    await bob.until_participant("dave")
    told = [item for response in bob.seen for item in response.participants_changed.participants]
    assert [item.id for item in told].count(alice.joined.participant.id) == 1


async def test_participants_of_a_dead_node_are_gone(cluster: TestCluster) -> None:
    one, other = await cluster.node("a"), await cluster.node("b")
    cluster.hold(one, other)
    await one.client("alice")
    bob = await other.client("bob")
    await bob.until_participant("alice")
    await other.deafen()
    await until(lambda: not one.cascade.peer("b").is_open and not other.cascade.peer("a").is_open)
    cluster.gone.update(("a", "b"))
    other.cascade.node_gone("a")
    assert other.identities() == {"bob"}
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_DISCONNECTED)


async def test_a_room_that_ends_ends_everywhere(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice")
    bob = await other.client("bob")
    await bob.until_participant("alice")
    one.plane.node.end_room(one.live())
    for client in (alice, bob):
        assert (await client.until("left")).reason == models_pb2.DISCONNECT_REASON_ROOM_ENDED


async def test_subscription_rules_hold_across_nodes(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    bob = await other.client("bob")
    await bob.until_participant("alice")
    await alice.send(subscription_permission=signaling_pb2.SubscriptionPermission(all=False))
    await until(lambda: not other.participant("alice").rules.everyone)
    await alice.send(subscription_permission=signaling_pb2.SubscriptionPermission(all=True))
    await until(lambda: other.participant("alice").rules.everyone)


async def test_a_track_is_mirrored_and_subscribed_to_there(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    bob = await other.client("bob")
    await bob.until_participant("alice")
    answer = await alice.offer("chromium_publish")
    ids = set(answer.mid_to_track_id.values())
    seen = await bob.until_participant("alice", lambda item: {track.id for track in item.tracks} == ids)
    handles = {call["theirs"] for call in other.media.named("mirror")}
    assert handles == {call["handle"] for call in one.media.named("publish")}
    assert {track.mime_type for track in seen.tracks} == {
        track.info.mime_type for track in one.participant("alice").tracks.values()
    }


async def test_data_reaches_those_who_are_named_and_everyone_else(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    for node, identity in ((one, "alice"), (other, "bob"), (other, "carol")):
        client = await node.client(identity)
        await client.offer("chromium_sendrecv")
        node.media.emit("connected", node.media.named("add_peer")[-1]["handle"], "aead_aes_128_gcm")
    await until(lambda: one.identities() == other.identities() == {"alice", "bob", "carol"})
    peers = [call["handle"] for call in other.media.named("add_peer")]
    alice = one.participant("alice").session
    alice.handle(data_to("hello"))
    call = (await until(lambda: other.media.named("send_data")))[0]
    assert (call["peers"], call["payload"]) == (peers, b"hello")
    alice.handle(data_to("to carol", destination_identities=["carol"]))
    call = (await until(lambda: other.media.named("send_data")[1:]))[0]
    assert (call["peers"], call["payload"]) == (peers[1:], b"to carol")
    # What concerns nobody there is not told there.
    alice.handle(data_to("to herself", destination_identities=["alice"]))
    alice.handle(data_to("last"))
    call = (await until(lambda: other.media.named("send_data")[2:]))[0]
    assert call["payload"] == b"last"
    assert not one.media.named("send_data")


def data_to(text: str, **to: Any) -> signaling_pb2.SessionRequest:
    message = models_pb2.DataMessage(label="chat", payload=text.encode())
    return signaling_pb2.SessionRequest(send_data=signaling_pb2.SendData(message=message, **to))


async def test_who_speaks_there_is_heard_of_here(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    await alice.offer("chromium_publish")
    bob = await other.client("bob")
    await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    track = next(track for track in one.participant("alice").tracks.values() if track.kind == "audio")
    one.media.emit("audio_levels", [(track.first.handle, 20, True)])
    (speaker,) = (await bob.until("speakers_changed")).speakers
    assert (speaker.participant_id, speaker.active) == (alice.joined.participant.id, True)
    assert speaker.level > 0.05
    # Its own levels of what comes from there are no news.
    other.media.emit("audio_levels", [(other.media.named("mirror")[0]["handle"], 127, False)])
    one.media.emit("audio_levels", [(track.first.handle, 127, False)])
    (speaker,) = (await bob.until("speakers_changed")).speakers
    assert not speaker.active


async def test_mute_crosses_and_unpublished_tracks_go(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    await alice.offer("chromium_publish")
    bob = await other.client("bob")
    seen = await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    track_id = seen.tracks[0].id
    await alice.send(mute=signaling_pb2.Mute(track_id=track_id, muted=True))
    await bob.until_participant("alice", lambda item: item.tracks[0].muted)
    await alice.send(unpublish=signaling_pb2.Unpublish(track_id=track_id))
    seen = await bob.until_participant("alice", lambda item: len(item.tracks) == 1)
    assert seen.tracks[0].id != track_id
    assert len(other.media.named("unmirror")) == 1


async def test_first_subscriber_there_is_told_here(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    await alice.offer("chromium_publish")
    bob = await other.client("bob")
    ids = {(await alice.until("first_subscriber")).track_id for _ in range(2)}
    assert ids == set(one.participant("alice").tracks)
    await bob.offer("chromium_receive")
    mirrors = {call["handle"] for call in other.media.named("mirror")}
    assert {call["track"] for call in other.media.named("subscribe")} == mirrors


async def test_a_mirror_that_ends_is_made_again(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    alice = await one.client("alice", auto_publish=True)
    await alice.offer("chromium_publish")
    bob = await other.client("bob")
    await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    await bob.offer("chromium_receive")
    first = other.media.named("mirror")[0]
    other.media.emit("mirror_ended", first["handle"])
    again = other.media.named("mirror")[-1]
    assert (again["theirs"], again["kind"]) == (first["theirs"], first["kind"])
    assert again["handle"] in {track.first.handle for track in other.participant("alice").tracks.values()}
    await bob.offer("chromium_receive")
    assert again["handle"] in {call["track"] for call in other.media.named("subscribe")}


async def test_a_node_that_starts_anew_is_told_everything_and_nothing_stays(cluster: TestCluster) -> None:
    one, other = await cluster.node("a"), await cluster.node("b")
    cluster.hold(one, other)
    alice = await one.client("alice", auto_publish=True)
    await alice.offer("chromium_publish")
    bob = await other.client("bob")
    await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    await one.crash()
    again = await cluster.node("a")
    cluster.hold(again, other)
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_DISCONNECTED)
    await again.client("alice")
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_JOINED)
    assert len(other.media.named("remove_link")) == 1
    assert len(other.media.named("add_link")) == 2


def rotated(node: ClusterNode, times: int) -> bool:
    return len(node.media.named("rotate_link")) == times


async def test_keys_change_under_traffic(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    await one.client("alice")
    await other.client("bob")
    await until(lambda: one.media.named("add_link") and other.media.named("add_link"))
    for generation in (1, 2):
        one.cascade.peer("b").relays.rotate()
        await until(partial(rotated, one, generation))
        sent, taken = one.media.named("rotate_link")[-1], other.media.named("rotate_link")[-1]
        # It is known there before it is used here.
        assert sent["send"] == taken["receive"] != one.media.named("add_link")[0]["send"]
        assert (sent["receive"], taken["send"]) == (None, None)


async def test_a_node_that_leaves_takes_its_participants_along(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    await one.client("alice")
    bob = await other.client("bob")
    await bob.until_participant("alice")
    await one.stop()
    await bob.until_participant("alice", lambda item: item.state == models_pb2.Participant.STATE_DISCONNECTED)


async def test_nobody_speaks_on_whose_microphone_or_whose_node_is_gone(pair: tuple[ClusterNode, ClusterNode]) -> None:
    one, other = pair
    clients = [await one.client(identity, auto_publish=True) for identity in ("alice", "carol")]
    for client in clients:
        await client.offer("chromium_publish")
    bob = await other.client("bob")
    await until(lambda: sum(len(one.tracks) for one in other.live().room.participants.values()) == 4)
    speaking: dict[str, bool] = {}

    async def heard(expected: dict[str, bool]) -> None:
        while speaking != expected:
            for speaker in (await bob.until("speakers_changed")).speakers:
                speaking[speaker.participant_id] = speaker.active

    ids = {identity: one.participant(identity).id for identity in ("alice", "carol")}
    microphones = {
        identity: next(track for track in one.participant(identity).tracks.values() if track.kind == "audio")
        for identity in ids
    }
    one.media.emit("audio_levels", [(track.first.handle, 20, True) for track in microphones.values()])
    await heard({ids["alice"]: True, ids["carol"]: True})
    await clients[0].send(unpublish=signaling_pb2.Unpublish(track_id=microphones["alice"].id))
    await heard({ids["alice"]: False, ids["carol"]: True})
    await other.deafen()
    await heard({ids["alice"]: False, ids["carol"]: False})
    await other.listen()
    await heard({ids["alice"]: False, ids["carol"]: True})
