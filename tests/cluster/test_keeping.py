"""When a node tells another of its sessions: two nodes with mutual TLS, of which one looks when the test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from control_plane.cluster.moving import kept
from control_plane.cluster.moving.keeping import LATEST, LOOK, REMIND, RESTS, Keeping
from control_plane.cluster.moving.kept import Kept
from control_plane.errors import UnavailableError
from pysfu.v1 import moving_pb2, signaling_pb2
from tests.cluster.members import Member, started
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import token


class Watched:
    """Alice, who is on node a, and what it tells node b of her."""

    def __init__(self, one: Member, other: Member, client: SignalingClient) -> None:
        self.now = 0.0
        self.is_cut = False
        """Node a does not reach b."""
        self.keeping = Keeping(
            one.plane.node, lambda _: "b", lambda _: True, self._channel, lambda: None, lambda: self.now
        )
        self.told: list[str] = []
        """Her metadata each time."""
        self.calls = 0
        """How often b heard anything."""
        self._one = one
        self._other = other
        self._client = client
        self._watch(other.cluster.moving.kept)

    async def change(self, metadata: str) -> None:
        await self._client.send(update_participant=signaling_pb2.UpdateParticipant(metadata=metadata))
        await until(lambda: self._one.person("alice").info.metadata == metadata)

    async def look(self, seconds: float) -> list[str]:
        """What is told so many seconds after the look before."""
        self.now += seconds
        self.told.clear()
        assert await self.keeping.look() is not self.is_cut
        return self.told

    def is_kept(self) -> bool:
        """What b has of all who are on a is as they are now."""
        return self.keeping.untold == 0 and len(self._kept) == self._one.plane.node.num_sessions

    def keeper_restarts(self) -> None:
        self._other.cluster.moving.kept = Kept()
        self._watch(self._other.cluster.moving.kept)

    async def keeper_forgets(self) -> None:
        """It has not heard a's heartbeats, and nothing else for so long that nobody is waited for any more."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kept, "LINGER", 0.0)
            self._kept.gone("a")
        await until(lambda: len(self._kept) == 0)

    def _channel(self, node: str) -> grpc.aio.Channel:
        if self.is_cut:
            raise UnavailableError("the path is cut")
        return self._one.cluster.channel(node)

    def _watch(self, store: Kept) -> None:
        self._kept, self._keep = store, store.keep
        store.keep = self._note  # type: ignore[method-assign]

    def _note(self, home: str, request: moving_pb2.KeepSessions) -> moving_pb2.SessionsKept:
        self.calls += 1
        self.told.extend(state.participant.metadata for state in request.sessions)
        return self._keep(home, request)


@pytest_asyncio.fixture
async def alice(tmp_path: Path) -> AsyncIterator[Watched]:
    bearer = token(can_update_own_metadata=True)
    async with started("ab", tmp_path) as (one, other), SignalingClient(one.channel, bearer) as client:
        await client.join(metadata="at first")
        yield Watched(one, other, client)


async def test_what_changes_is_told_once_it_rests(alice: Watched) -> None:
    assert await alice.look(LOOK) == []
    assert await alice.look(RESTS) == ["at first"]
    for number in range(10):
        await alice.change(str(number))
        assert await alice.look(RESTS / 4) == [], "it does not rest yet"
    assert not alice.is_kept()
    assert await alice.look(RESTS / 2) == []
    assert await alice.look(RESTS / 2) == ["9"]
    assert alice.is_kept()
    for _ in range(10):
        assert await alice.look(LATEST) == [], "what has not changed is not told again"


async def test_what_never_rests_is_told_all_the_same(alice: Watched) -> None:
    await alice.look(LOOK)
    await alice.look(RESTS)
    told = []
    for number in range(20):
        await alice.change(str(number))
        told += await alice.look(LATEST / 8)
    # Eight looks after it began to change, and so again.
    assert told == ["8", "17"]


async def test_what_was_refused_is_not_kept_and_told_again_when_it_changes(
    alice: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MAX_SESSION", 0)
    await alice.look(LOOK)
    assert await alice.look(RESTS) == ["at first"]
    assert not alice.is_kept()
    assert alice.keeping.untold == 1
    assert await alice.look(LATEST) == []
    monkeypatch.undo()
    await alice.change("smaller")
    await alice.look(LOOK)
    assert await alice.look(RESTS) == ["smaller"]
    assert alice.is_kept()


async def test_the_keeper_hears_from_time_to_time_that_nothing_is_new(alice: Watched) -> None:
    await alice.look(LOOK)
    await alice.look(RESTS)
    for _ in range(3):
        alice.calls = 0
        for _ in range(4):
            assert await alice.look(REMIND / 4) == []
        assert alice.calls == 1
    assert alice.is_kept()


@pytest.mark.parametrize("reason", ["it starts anew", "it took this node for dead"])
async def test_a_keeper_that_has_nothing_any_more_is_told_everything_again(alice: Watched, reason: str) -> None:
    await alice.look(LOOK)
    await alice.look(RESTS)
    assert alice.is_kept()
    if reason == "it starts anew":
        alice.keeper_restarts()
    else:
        await alice.keeper_forgets()
    assert await alice.look(REMIND) == []
    assert alice.keeping.untold == 1
    assert await alice.look(LOOK) == ["at first"]
    assert alice.is_kept()


@pytest.mark.parametrize("is_long", [False, True], ids=["for a moment", "for long"])
async def test_a_keeper_that_does_not_answer_is_told_again_what_it_may_not_have(alice: Watched, is_long: bool) -> None:
    await alice.look(LOOK)
    await alice.look(RESTS)
    alice.is_cut = True
    await alice.look(REMIND)
    assert alice.is_kept(), "nothing was said that it does not have"
    if is_long:
        await alice.look(REMIND)
        assert alice.keeping.untold == 1
    alice.is_cut = False
    assert await alice.look(LOOK) == (["at first"] if is_long else [])
    assert alice.is_kept()
