"""When a node tells another of its sessions: two nodes with mutual TLS, of which one looks when the test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.cluster.moving import kept
from control_plane.cluster.moving.keeping import LATEST, LOOK, RESTS, Keeping
from pysfu.v1 import moving_pb2, signaling_pb2
from tests.cluster.members import Member, started
from tests.cluster.waiting import until
from tests.control_plane.client import SignalingClient
from tests.control_plane.conftest import token


class Watched:
    """Alice, who is on node a, and what it tells node b of her."""

    def __init__(self, one: Member, other: Member, client: SignalingClient) -> None:
        self.now = 0.0
        self.keeping = Keeping(
            one.plane.node, lambda _: "b", lambda _: True, one.cluster.channel, lambda: None, lambda: self.now
        )
        self.told: list[str] = []
        """Her metadata each time."""
        self._one = one
        self._client = client
        self._kept = other.cluster.moving.kept
        self._keep = self._kept.keep
        self._kept.keep = self._note  # type: ignore[method-assign]

    async def change(self, metadata: str) -> None:
        await self._client.send(update_participant=signaling_pb2.UpdateParticipant(metadata=metadata))
        await until(lambda: self._one.person("alice").info.metadata == metadata)

    async def look(self, seconds: float) -> list[str]:
        """What is told so many seconds after the look before."""
        self.now += seconds
        self.told.clear()
        assert await self.keeping.look()
        return self.told

    def is_kept(self) -> bool:
        """What b has of all who are on a is as they are now."""
        return self.keeping.untold == 0 and len(self._kept) == self._one.plane.node.num_sessions

    def _note(self, home: str, request: moving_pb2.KeepSessions) -> moving_pb2.SessionsKept:
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
