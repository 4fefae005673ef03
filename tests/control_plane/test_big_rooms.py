"""What a join costs does not grow with the room: every participant is serialised once, updates are gathered."""

import asyncio
from typing import Any

import pytest

from control_plane import splice
from control_plane.live_room import update_interval
from control_plane.rooms import Participant
from pysfu.v1 import models_pb2, signaling_pb2
from pysfu.v1.signaling_pb2 import SessionResponse


def test_spliced_messages_are_those_of_the_library() -> None:
    others = [models_pb2.Participant(identity=f"p{index}", metadata="m" * index * 50) for index in range(9)]
    whole = SessionResponse(request_id=5, joined=signaling_pb2.Joined(session_id="s", others=others))
    joined = signaling_pb2.Joined(session_id="s").SerializeToString()
    joined += splice.repeated(signaling_pb2.Joined.OTHERS_FIELD_NUMBER, [other.SerializeToString() for other in others])
    data = SessionResponse(request_id=5).SerializeToString() + splice.field(SessionResponse.JOINED_FIELD_NUMBER, joined)
    assert SessionResponse.FromString(data) == whole


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (1 << 21, b"\x80\x80\x80\x01")],
)
def test_varints(value: int, encoded: bytes) -> None:
    assert splice.varint(value) == encoded


@pytest.mark.parametrize(
    ("participants", "new_tracks", "seconds"),
    [(2, False, 0.05), (100, False, 0.1), (1_000, False, 1.0), (1_000, True, 0.2)],
)
def test_bigger_rooms_are_told_less_often(participants: int, new_tracks: bool, seconds: float) -> None:
    assert update_interval(participants, new_tracks=new_tracks) == pytest.approx(seconds)


async def test_a_join_serialises_the_same_few_whatever_the_size(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = 0
    plain = Participant.snapshot

    def counted(self: Participant) -> models_pb2.Participant:
        nonlocal snapshots
        snapshots += 1
        return plain(self)

    monkeypatch.setattr(Participant, "snapshot", counted)
    costs = []
    clients = []
    for size in range(1, 61):
        before = snapshots
        clients.append(await connect(f"p{size}"))
        if size > 1:
            await clients[0].until_participant(f"p{size}")
        assert len(clients[-1].joined.others) == size - 1
        costs.append(snapshots - before)
    assert max(costs[-20:]) <= max(costs[:20]), costs


async def test_a_burst_of_joins_is_told_in_few_messages_and_whole(connect: Any) -> None:
    watcher = await connect("watcher")
    await asyncio.gather(*(connect(f"p{index}") for index in range(60)))
    known: set[str] = set()
    messages = 0
    while len(known) < 60:
        update = await watcher.until("participants_changed")
        messages += 1
        known |= {participant.identity for participant in update.participants if participant.identity != "watcher"}
    assert messages <= 30
    late = await connect("late")
    assert {other.identity for other in late.joined.others} == known | {"watcher"}


async def test_who_joins_and_leaves_within_one_update_is_told_as_gone(connect: Any) -> None:
    watcher = await connect("watcher")
    others = [await connect(f"p{index}") for index in range(3)]
    await others[1].send(leave=signaling_pb2.Leave())
    gone = await watcher.until_participant(
        "p1", lambda participant: participant.state == models_pb2.Participant.STATE_DISCONNECTED
    )
    assert gone.identity == "p1"
    late = await connect("late")
    assert {other.identity for other in late.joined.others} == {"watcher", "p0", "p2"}
