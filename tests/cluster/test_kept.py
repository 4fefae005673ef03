"""What a node keeps of others' sessions: to whom it is given, how much it is, when it is forgotten."""

from typing import Any

import pytest

from control_plane.cluster.moving import kept
from control_plane.cluster.moving.kept import Kept
from control_plane.errors import NotFoundError
from pysfu.v1 import models_pb2, moving_pb2
from tests.cluster.waiting import until


def state(participant: str, identity: str = "alice", padding: int = 0) -> moving_pb2.SessionState:
    return moving_pb2.SessionState(
        session_id=f"SE_{participant}.a",
        room=models_pb2.Room(name="room"),
        participant=models_pb2.Participant(id=participant, identity=identity, metadata="x" * padding),
    )


def take(kept: Kept, **asked: Any) -> moving_pb2.SessionState:
    return kept.take(moving_pb2.TakeSession(**{"home": "a", "room": "room", "identity": "alice"} | asked))


async def test_it_is_given_to_whom_it_belongs_and_once() -> None:
    kept = Kept()
    assert list(kept.keep("a", moving_pb2.KeepSessions(sessions=[state("PA_1")])).refused) == []
    for wrong in (
        {"session_id": "SE_guessed.a"},
        {"participant_id": "PA_2"},
        {"participant_id": "PA_1", "identity": "bob"},
        {"participant_id": "PA_1", "room": "other"},
        {"participant_id": "PA_1", "home": "c"},
        {"participant_id": "PA_1", "home": ""},
        {"session_id": ""},
    ):
        with pytest.raises(NotFoundError):
            take(kept, **wrong)
    assert kept.home_of("room", "alice") == "a"
    assert take(kept, session_id="SE_PA_1.a").participant.id == "PA_1"
    assert kept.home_of("room", "alice") is None
    with pytest.raises(NotFoundError):
        take(kept, session_id="SE_PA_1.a")
    assert (len(kept), kept.bytes) == (0, 0)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_SESSION", 1_000)
    monkeypatch.setattr(kept, "MAX_BYTES", 1_500)
    store = Kept()
    many = [state(f"PA_{number}", f"person-{number}", 500) for number in range(3)]
    large = state("PA_large", "large", 2_000)
    assert list(store.keep("a", moving_pb2.KeepSessions(sessions=[*many, large])).refused) == ["PA_2", "PA_large"]
    assert store.bytes <= 1_500
    # What it was is not what it is.
    assert list(store.keep("a", moving_pb2.KeepSessions(sessions=[state("PA_1", "person-1", 2_000)])).refused) == [
        "PA_1"
    ]
    assert len(store) == 1
    store.keep("a", moving_pb2.KeepSessions(ended=["PA_0", "PA_unknown"]))
    assert (len(store), store.bytes) == (0, 0)


async def test_of_two_nodes_the_one_that_told_last_has_it() -> None:
    kept = Kept()
    kept.keep("a", moving_pb2.KeepSessions(sessions=[state("PA_1")]))
    kept.keep("c", moving_pb2.KeepSessions(sessions=[state("PA_2")]))
    assert (len(kept), kept.home_of("room", "alice")) == (1, "c")
    kept.keep("a", moving_pb2.KeepSessions(ended=["PA_1"]))
    assert take(kept, home="c", participant_id="PA_2").participant.id == "PA_2"


async def test_a_new_life_of_a_node_and_the_end_of_one_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LINGER", 0.05)
    store = Kept()
    store.keep("a", moving_pb2.KeepSessions(sessions=[state("PA_1")]))
    store.keep("c", moving_pb2.KeepSessions(sessions=[state("PA_2", "bob")]))
    store.keep("a", moving_pb2.KeepSessions(begins=True, sessions=[state("PA_3")]))
    assert len(store) == 2
    # What was to be forgotten first would be when the other is.
    store.gone("c")
    store.gone("a")
    store.keep("c", moving_pb2.KeepSessions())
    assert len(store) == 2
    await until(lambda: store.home_of("room", "alice") is None)
    assert len(store) == 1
    assert take(store, home="c", identity="bob", participant_id="PA_2").participant.id == "PA_2"
    assert store.bytes == 0
