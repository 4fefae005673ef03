"""Parts of the cascade by themselves: what is told in which pieces, links and their keys, when a stream is broken."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from control_plane.cluster.cascade import stream
from control_plane.cluster.cascade.feed import MAX_PIECE, Feed
from control_plane.cluster.cascade.relays import KEY_OCTETS, Relays
from control_plane.cluster.cascade.stream import Stream
from control_plane.errors import InvalidArgumentError
from control_plane.rooms import Participant
from pysfu.v1 import cascade_pb2, models_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage
from tests.control_plane.recording import RecordingMedia

LEFT = models_pb2.DISCONNECT_REASON_CLIENT_INITIATED


# What is told of a room.


def person(name: str, metadata: str = "") -> Any:
    info = models_pb2.Participant(id=f"PA_{name}", identity=name, metadata=metadata)
    return Participant(info, home=None)  # type: ignore[arg-type]


def encode(participant: Participant) -> bytes:
    return cascade_pb2.RemoteParticipant(info=participant.info).SerializeToString()


def piece(feed: Feed) -> tuple[bool, bool, list[str], list[str]]:
    """Whether it begins and completes a snapshot, who is told of and who is gone."""
    room = CascadeMessage.FromString(feed.next_message()).room
    told = [one.info.identity for one in room.participants]
    return room.begins, room.completes, told, [gone.participant_id for gone in room.gone]


def test_an_empty_room_is_told_of() -> None:
    feed = Feed("room", [], encode)
    assert feed.is_due
    assert piece(feed) == (True, True, [], [])
    assert not feed.is_due


def test_large_rooms_come_in_pieces_and_changes_wait_their_turn() -> None:
    people = [person(f"p{index}", "x" * (MAX_PIECE // 2)) for index in range(5)]
    feed = Feed("room", people, encode)
    assert piece(feed) == (True, False, ["p0", "p1"], [])
    # p1 is told again, p3 has gone before anybody heard of it, and somebody new comes.
    feed.changed(people[1])
    feed.left(people[3], LEFT)
    feed.changed(person("new"))
    assert piece(feed) == (False, True, ["p2", "p4"], [])
    assert piece(feed) == (False, False, ["p1", "new"], [])
    assert not feed.is_due


def test_what_changes_often_is_told_once() -> None:
    alice, bob = person("alice"), person("bob")
    feed = Feed("room", [alice, bob], encode)
    piece(feed)
    for index in range(1_000):
        alice.info.metadata = str(index)
        feed.changed(alice)
        passer = person(f"passer{index}")
        feed.changed(passer)
        feed.left(passer, LEFT)
    feed.left(bob, LEFT)
    room = CascadeMessage.FromString(feed.next_message()).room
    assert [(one.info.identity, one.info.metadata) for one in room.participants] == [("alice", "999")]
    assert [(gone.participant_id, gone.reason) for gone in room.gone] == [("PA_bob", LEFT)]
    assert not feed.is_due


# Links.


class End:
    """One of two nodes with links between them."""

    def __init__(self, workers: int, *, lesser: bool) -> None:
        self.media = RecordingMedia()
        self.media.worker_count = workers
        self.said: list[CascadeMessage] = []
        self.ready = 0
        self.incarnation = 1
        self.relays = Relays(self.media, lesser=lesser, say=self.said.append, ready=self._is_ready)

    def _is_ready(self) -> None:
        self.ready += 1

    def hello(self) -> cascade_pb2.CascadeHello:
        hello = cascade_pb2.CascadeHello(incarnation=self.incarnation)
        for worker in range(self.media.worker_count):
            hello.workers.add().addresses.add(ip="127.0.0.1", port=7_882 + worker)
        self.relays.describe(hello)
        return hello

    def hear(self, message: CascadeMessage) -> None:
        kind = message.WhichOneof("message")
        handlers: dict[str, Callable[[Any], Any]] = {
            "link_offer": self.relays.received_offer,
            "link_key": self.relays.received_key,
            "link_key_taken": self.relays.received_key_taken,
            "link_heard": self.relays.received_heard,
        }
        handlers[kind or ""](getattr(message, kind or ""))


def talk(one: End, other: End, *, lost: str = "") -> None:
    """Until nothing is left to say; messages of one kind are lost."""
    while one.said or other.said:
        for here, there in ((one, other), (other, one)):
            while here.said:
                message = here.said.pop(0)
                if message.WhichOneof("message") != lost:
                    there.hear(message)


def connect(one: End, other: End, *, lost: str = "") -> None:
    """A new stream."""
    one.said.clear()
    other.said.clear()
    hellos = one.hello(), other.hello()
    one.relays.opened(hellos[1])
    other.relays.opened(hellos[0])
    talk(one, other, lost=lost)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1), (1, 4), (4, 1), (2, 3), (4, 4)])
def test_every_worker_has_a_link_and_both_ends_agree(ours: int, theirs: int) -> None:
    one, other = End(ours, lesser=True), End(theirs, lesser=False)
    connect(one, other)
    mine, yours = one.media.named("add_link"), other.media.named("add_link")
    assert len(mine) == len(yours) == max(ours, theirs) == one.ready
    assert {link["worker"] for link in mine} == set(range(ours))
    assert {link["worker"] for link in yours} == set(range(theirs))
    for here, there in zip(mine, yours, strict=True):
        assert (here["link"], here["send"], here["receive"]) == (there["theirs"], there["receive"], there["send"])
        assert here["remote"] == ("127.0.0.1", 7_882 + there["worker"])
    assert len({key for link in mine for key in (link["send"], link["receive"])}) == 2 * len(mine)
    for worker in range(theirs):
        found = {link.worker for handle in range(8) if (link := one.relays.link_to(worker, handle)) is not None}
        assert found, "a track of any worker there has a way here"


def test_links_outlive_streams_and_those_that_one_end_alone_has_are_made_anew() -> None:
    one, other = End(2, lesser=True), End(2, lesser=False)
    connect(one, other)
    connect(one, other)
    assert len(one.media.named("add_link")) == 2
    # The stream breaks when one end has heard the other's offer, and not the other way round.
    third = End(1, lesser=False)
    half = End(1, lesser=True)
    third.incarnation = 3
    hellos = half.hello(), third.hello()
    half.relays.opened(hellos[1])
    third.relays.opened(hellos[0])
    half.hear(third.said.pop())
    assert len(half.relays.links) == 1
    connect(half, third)
    (kept,) = half.relays.links.values()
    assert [link["theirs"] for link in third.media.named("add_link")] == [kept.ours]
    assert half.media.named("remove_link")[0]["link"] != kept.ours
    keys = [link["send"] for link in half.media.named("add_link")]
    assert len(set(keys)) == len(keys) == 2, "a key is never used for two links"


def test_a_node_that_starts_anew_has_new_links() -> None:
    one, other = End(1, lesser=True), End(1, lesser=False)
    connect(one, other)
    again = End(1, lesser=False)
    again.incarnation = 2
    connect(one, again)
    assert len(one.media.named("remove_link")) == 1
    assert len(one.media.named("add_link")) == 2


@pytest.mark.parametrize("lost", ["link_key", "link_key_taken"])
def test_a_key_that_is_lost_with_the_stream_is_told_again(lost: str) -> None:
    one, other = End(1, lesser=True), End(1, lesser=False)
    connect(one, other)
    one.relays.rotate()
    talk(one, other, lost=lost)
    assert not one.media.named("rotate_link"), "not used before it is taken"
    connect(one, other)
    (sent,) = one.media.named("rotate_link")
    (taken,) = other.media.named("rotate_link")
    assert sent["send"] == taken["receive"]


@pytest.mark.parametrize(
    "offer",
    [
        cascade_pb2.LinkOffer(index=0, link=1, key=b"short"),
        cascade_pb2.LinkOffer(index=9, link=1, key=bytes(KEY_OCTETS)),
    ],
)
def test_offers_of_no_use_are_refused(offer: cascade_pb2.LinkOffer) -> None:
    one, other = End(1, lesser=True), End(1, lesser=False)
    other.relays.describe(cascade_pb2.CascadeHello())
    one.relays.opened(other.hello())
    with pytest.raises(InvalidArgumentError):
        one.relays.received_offer(offer)
    with pytest.raises(InvalidArgumentError):
        one.relays.received_key(cascade_pb2.LinkKey(link=1, generation=1, key=bytes(KEY_OCTETS)))
    assert not one.media.named("add_link")


def test_what_one_end_does_not_hear_is_silent_for_both() -> None:
    one, other = End(2, lesser=True), End(2, lesser=False)
    connect(one, other)
    first, second = one.relays.links.values()
    other.relays.set_alive(first.theirs, alive=False)
    talk(one, other)
    assert not one.relays.is_well(first.ours)
    assert one.relays.link_to(0, 0) is first, "there is no other one"
    assert not one.relays.are_silent
    one.relays.set_alive(second.ours, alive=False)
    assert one.relays.are_silent
    other.relays.set_alive(first.theirs, alive=True)
    talk(one, other)
    assert one.relays.is_well(first.ours)


def test_keys_are_told_straight_alone() -> None:
    one, other = End(2, lesser=True), End(1, lesser=False)
    hellos = one.hello(), other.hello()
    one.relays.opened(hellos[1], straight=False)
    other.relays.opened(hellos[0], straight=False)
    assert not one.said
    assert not other.said
    offer = cascade_pb2.LinkOffer(index=0, link=1, key=bytes(28))
    with pytest.raises(InvalidArgumentError):
        one.relays.received_offer(offer)
    connect(one, other)
    assert len(one.relays.links) == 2
    one.relays.rotate()
    one.said.clear()
    # The stream breaks before the new key is taken, and goes round: links stay, and the key waits.
    hellos = one.hello(), other.hello()
    one.relays.opened(hellos[1], straight=False)
    other.relays.opened(hellos[0], straight=False)
    assert len(one.relays.links) == len(other.relays.links) == 2
    assert not {message.WhichOneof("message") for message in one.said} & {"link_key", "link_offer"}
    connect(one, other)
    assert one.media.named("rotate_link")


# Streams.


class Silence:
    """A node that has said hello, and nothing after."""

    def __init__(self) -> None:
        self.written: list[CascadeMessage] = []
        self._told = False

    async def read(self) -> Any:
        if not self._told:
            self._told = True
            return CascadeMessage(hello=cascade_pb2.CascadeHello(oldest_protocol=1, newest_protocol=1))
        return await asyncio.get_running_loop().create_future()

    async def write(self, message: Any) -> None:
        self.written.append(CascadeMessage.FromString(message))


class User:
    def __init__(self, *, heard: bool) -> None:
        self.is_heard_otherwise = heard

    def hello(self) -> cascade_pb2.CascadeHello:
        return cascade_pb2.CascadeHello()

    def opened(self, hello: cascade_pb2.CascadeHello) -> None: ...
    def received(self, message: CascadeMessage) -> None: ...
    def data_received(self) -> int:
        return 0

    def data_confirmed(self, number: int) -> None: ...
    def next_message(self) -> bytes | None:
        return None


@pytest.mark.parametrize(("heard", "pings"), [(False, stream.SILENT_PINGS), (True, stream.PATIENT_PINGS)])
async def test_silence_breaks_a_stream_sooner_when_media_is_silent_too(
    monkeypatch: pytest.MonkeyPatch, heard: bool, pings: int
) -> None:
    monkeypatch.setattr(stream, "PING", 0.01)
    pipe = Silence()
    reason = await asyncio.wait_for(Stream(pipe, User(heard=heard)).run(), 5)
    assert reason == "silent"
    # The hello was heard within the first one.
    assert sum(message.HasField("ping") for message in pipe.written) == pings + 1


class NoHello(Silence):
    async def read(self) -> Any:
        return await asyncio.get_running_loop().create_future()


async def test_a_stream_without_a_hello_is_given_up_in_time_or_when_another_begins() -> None:
    assert await asyncio.wait_for(Stream(NoHello(), User(heard=False), 0.02).run(), 1) == "no hello"
    late = Stream(NoHello(), User(heard=False))
    running = asyncio.create_task(late.run())
    await asyncio.sleep(0)
    late.close("the other end has begun anew")
    assert await asyncio.wait_for(running, 1) == "the other end has begun anew"


async def test_who_cancels_a_stream_is_not_held_up() -> None:
    for delay in itertools.repeat(0.0, 3):
        running = asyncio.create_task(Stream(Silence(), User(heard=False)).run())
        await asyncio.sleep(delay)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 1)
