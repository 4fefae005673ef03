"""Clients that give up on one gateway and try another while their session is on its way: it has one home in the end."""

from pathlib import Path

import pytest

from pysfu.v1 import models_pb2
from tests.cluster.test_kept import all_kept
from tests.cluster.test_moving import Member, disconnected, publish, quiet, started
from tests.cluster.waiting import until


@pytest.mark.parametrize("anew", ["b", "c"])
async def test_who_has_joined_anew_meanwhile_is_not_replaced(tmp_path: Path, anew: str) -> None:
    async with started("abc", tmp_path, keep_sessions=True) as trio:
        one, other, _ = trio
        alice, carol = await one.client("alice"), await other.client("carol")
        await publish(alice)
        await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
        await until(lambda: one.cluster.keeping.keeper and one.cluster.keeping.untold == 0)
        await one.die()
        place = {member.cluster.id: member for member in trio}[anew]
        again = await place.client("alice")
        await publish(again)
        await until(lambda: other.person("alice").id == again.joined.participant.id)
        late = await other.client("alice", resume_session_id=alice.joined.session_id)
        assert late.seen[0].left.reason == models_pb2.DISCONNECT_REASON_STATE_MISMATCH
        for member in (other, place):
            assert member.person("alice").id == again.joined.participant.id
        assert place.person("alice").session.ended is False
        await carol.until_participant("alice", lambda item: len(item.tracks) == 2)
        await carol.offer("chromium_sendrecv")
        await until(lambda: len(other.person("carol").session.subscriptions) == 2)
        subscribed = other.person("carol").session.subscriptions.values()
        assert {one.track.owner for one in subscribed} == {other.person("alice")}
        assert all(one.handle is not None for one in subscribed)
