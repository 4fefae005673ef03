"""Reliable data messages over streams that break: each arrives once, in order."""

import random
from typing import Any

import pytest

from control_plane.cluster.cascade import deliveries
from control_plane.cluster.cascade.deliveries import Deliveries
from pysfu.v1 import cascade_pb2, models_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage


def said(text: str) -> bytes:
    message = models_pb2.DataMessage(label="chat", payload=text.encode())
    return CascadeMessage(data=cascade_pb2.RemoteData(room="room", message=message)).SerializeToString()


def hello(received: int | None = 0, incarnation: int = 7) -> cascade_pb2.CascadeHello:
    return cascade_pb2.CascadeHello(incarnation=incarnation, data_received=received)


def read(sender: Deliveries, most: int | None = None) -> list[cascade_pb2.RemoteData]:
    found: list[cascade_pb2.RemoteData] = []
    while (most is None or len(found) < most) and (message := sender.next_message()) is not None:
        found.append(CascadeMessage.FromString(message).data)
    return found


def texts(messages: list[cascade_pb2.RemoteData]) -> list[str]:
    return [message.message.payload.decode() for message in messages]


def test_what_was_not_confirmed_comes_again_and_what_came_is_passed_over() -> None:
    sender, receiver = Deliveries(), Deliveries()
    sender.opened(hello())
    receiver.opened(hello())
    for text in "abcde":
        assert sender.put(said(text))
    on_their_way = read(sender)
    assert [(message.room, message.number) for message in on_their_way] == [("room", number) for number in range(1, 6)]
    arrived = [message for message in on_their_way[:3] if receiver.is_new(message.number)]
    sender.confirmed(1)
    assert sender.put(said("f")), "while there is no stream it waits"
    # One end has confirmed less than the other has received.
    sender.opened(hello(1))
    again = read(sender)
    assert texts(again) == list("bcdef")
    arrived += [message for message in again if receiver.is_new(message.number)]
    assert texts(arrived) == list("abcdef")


def test_to_a_release_that_confirms_nothing_nothing_is_sent_again() -> None:
    sender = Deliveries()
    sender.opened(hello(None))
    sender.put(said("a"))
    assert texts(read(sender)) == ["a"]
    sender.opened(hello(None))
    assert read(sender) == []
    assert Deliveries().is_new(0), "and what it says counts as new"


def test_a_node_that_has_started_anew_is_not_told_what_it_was_told_before_and_counts_from_one() -> None:
    sender, receiver = Deliveries(), Deliveries()
    sender.opened(hello())
    receiver.opened(hello(incarnation=1))
    sender.put(said("a"))
    (message,) = read(sender)
    assert receiver.is_new(message.number)
    sender.opened(hello(incarnation=8))
    assert read(sender) == []
    receiver.opened(hello(incarnation=2))
    assert receiver.received == 0
    assert receiver.is_new(1)


@pytest.mark.parametrize(("name", "value", "size"), [("MAX_WAITING", 3, 1), ("MAX_WAITING_BYTES", 3_200, 1_000)])
def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, value: int, size: int) -> None:
    monkeypatch.setattr(deliveries, name, value)
    sender = Deliveries()
    sender.opened(hello())
    assert [sender.put(said("x" * size)) for _ in range(4)] == [True, True, True, False]
    assert len(read(sender)) == 3
    assert sender.put(said("x"))


@pytest.mark.parametrize(("name", "value"), [("MAX_SENT", 2), ("MAX_SENT_BYTES", 2_200)])
def test_what_is_kept_until_it_is_confirmed_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(deliveries, name, value)
    sender = Deliveries()
    sender.opened(hello())
    for text in "abc":
        sender.put(said(text * 1_000))
    read(sender)
    sender.opened(hello())
    assert [text[0] for text in texts(read(sender))] == ["b", "c"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_breaks_each_arrives_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    sender, receiver = Deliveries(), Deliveries()
    arrived: list[Any] = []
    total = 0
    sender.opened(hello())
    receiver.opened(hello())
    while total < 300:
        for _ in range(chance.randrange(6)):
            total += 1
            sender.put(said(str(total)))
        on_their_way = read(sender, chance.randrange(8))
        breaks = chance.random() < 0.3
        came = on_their_way[: chance.randrange(len(on_their_way) + 1)] if breaks else on_their_way
        arrived += [message for message in came if receiver.is_new(message.number)]
        if breaks:
            sender.opened(hello(receiver.received))
        elif chance.random() < 0.5:
            sender.confirmed(receiver.received)
    arrived += [message for message in read(sender) if receiver.is_new(message.number)]
    assert texts(arrived) == [str(number) for number in range(1, total + 1)]
