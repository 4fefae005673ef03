"""What a node keeps of others' sessions: to whom it is given, how much it is, when it is forgotten."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from control_plane.cluster.moving import kept
from control_plane.cluster.moving.keeping import REMIND
from control_plane.cluster.moving.kept import LINGER, SILENCE, Kept
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


Passes = Callable[[float], Awaitable[None]]


@pytest_asyncio.fixture
async def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """So many seconds pass for all timers, at once."""
    ahead = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + ahead)

    async def passes(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        # The loop looks at its timers after what is ready: they have run after the second time.
        for _ in range(2):
            await asyncio.sleep(0)

    return passes


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


async def test_a_node_that_is_heard_after_it_was_gone_is_kept_while_it_speaks(passes: Passes) -> None:
    store = Kept()
    store.keep("a", moving_pb2.KeepSessions(begins=True, sessions=[state("PA_1")]))
    await passes(1)
    store.gone("a")
    for _ in range(40):
        await passes(REMIND)
        assert not store.keep("a", moving_pb2.KeepSessions()).unknown
    assert take(store, participant_id="PA_1").participant.id == "PA_1"


async def test_a_node_that_dies_is_kept_for_as_long_as_its_clients_may_come(passes: Passes) -> None:
    store = Kept()
    store.keep("a", moving_pb2.KeepSessions(begins=True, sessions=[state("PA_1")]))
    # Its path to this node may have been broken for long before.
    await passes(SILENCE - 1)
    store.gone("a")
    await passes(LINGER - 1)
    assert len(store) == 1
    await passes(2)
    assert (len(store), store.bytes) == (0, 0)


@pytest.mark.parametrize("is_gone", [True, False], ids=["after it was gone", "before it was known"])
async def test_a_node_that_speaks_and_is_never_heard_of_again_is_forgotten(passes: Passes, is_gone: bool) -> None:
    store = Kept()
    store.keep("a", moving_pb2.KeepSessions(begins=True, sessions=[state("PA_1")]))
    if is_gone:
        store.gone("a")
        store.keep("a", moving_pb2.KeepSessions(sessions=[state("PA_2", "bob")]))
    await passes(SILENCE - 1)
    assert store.home_of("room", "alice") == "a"
    await passes(2)
    assert (len(store), store.bytes) == (0, 0)


async def test_a_node_is_told_when_nothing_was_kept_of_it(passes: Passes) -> None:
    store = Kept()
    assert not store.keep("a", moving_pb2.KeepSessions(begins=True)).unknown
    assert not store.keep("a", moving_pb2.KeepSessions()).unknown, "it has no sessions, and is known"
    # What it says is kept: it may die before it says the rest.
    assert store.keep("c", moving_pb2.KeepSessions(sessions=[state("PA_1")])).unknown
    assert len(store) == 1
    store.gone("a")
    await passes(LINGER + 1)
    assert store.keep("a", moving_pb2.KeepSessions()).unknown
