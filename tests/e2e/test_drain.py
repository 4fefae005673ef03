"""A node is drained while a call goes on: its participants move to another node, heard all the time."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from statistics import median
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.conftest import OpenPage
from tests.e2e.harness.nodes import Nodes
from tests.e2e.harness.pages import Participant, until
from tests.e2e.harness.sdk import SdkParticipant
from tests.e2e.harness.server import token

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Milliseconds. The goal is 300 for 95 of 100 voices, which the cluster's bench measures; here two cores share browsers,
# nodes and whatever else is tested, and what must not happen is that somebody waits for a timeout.
TYPICAL_GAP = 600
LONGEST_GAP = 2_000
GONE = ("participantDisconnected", "trackUnsubscribed", "trackUnpublished", "disconnected")


@pytest_asyncio.fixture(loop_scope="session")
async def nodes() -> AsyncIterator[Nodes]:
    async with Nodes("one", "two") as running:
        yield running


async def here(nodes: Nodes, name: str) -> int:
    """Participants on a node."""
    return int((await nodes[name].metrics())["pysfu_participants"])


async def heard(page: Participant, others: set[str]) -> bool:
    """Every other's voice has come to this page since it is watched."""
    gaps: dict[str, float] = (await page.call("watched"))["gaps"]
    return gaps.keys() == others


async def watched(people: list[Participant]) -> dict[str, Any]:
    """The longest gap of each voice at each page in ms; nobody has seen anybody leave."""
    gaps = {}
    for person in people:
        seen = await person.call("watched")
        assert not [event for event, _ in seen["told"] if event in GONE], (person.identity, seen["told"])
        gaps[person.identity] = seen["gaps"]
        summary = await person.summary()
        assert summary["connection"] == "connected"
    return gaps


def check_gaps(gaps: dict[str, dict[str, float]]) -> None:
    found = [gap for voices in gaps.values() for gap in voices.values()]
    assert max(found) < LONGEST_GAP, gaps
    assert len(found) < 4 or median(found) < TYPICAL_GAP, gaps


async def hear_each_other(people: list[Participant]) -> None:
    """Everybody hears everybody, watched anew."""
    everybody = {person.identity for person in people}
    for _ in range(2):
        for person in people:
            await person.call("watch")
        for person in people:
            await until(partial(heard, person, everybody - {person.identity}), bool, 15, "all are heard")


@pytest.mark.parametrize("single", [True, False], ids=["single", "split"])
async def test_a_call_moves_with_its_node(nodes: Nodes, open_page: OpenPage, room: str, single: bool) -> None:
    people = [await open_page(identity) for identity in ("alice", "bob", "carol")]
    for person in people:
        # Carol is on the other node all the time.
        url = nodes["two" if person.identity == "carol" else "one"].ws_url
        options = {"singlePeerConnection": single}
        await person.join(url, token(room, person.identity), microphone=True, room=options)
    await hear_each_other(people)
    assert (await here(nodes, "one"), await here(nodes, "two")) == (2, 1)

    said = await nodes.pysfu("node", "drain", "one")
    assert "2 of 2 moved, 0 left, 0 told to join anew" in said
    assert (await here(nodes, "one"), await here(nodes, "two")) == (0, 3)
    await asyncio.sleep(2)

    gaps = await watched(people)
    print(json.dumps(gaps))
    check_gaps(gaps)
    for person in people:
        assert len((await person.summary())["participants"]) == 2
    await people[0].call("send", {"text": "still here", "reliable": True, "topic": "t"})
    for person in people[1:]:
        await until(person.summary, lambda found: [d for d in found["data"] if d["text"] == "still here"], 5, "data")


async def test_a_node_that_is_stopped_hands_over_and_ends(nodes: Nodes, open_page: OpenPage, room: str) -> None:
    """As a rolling upgrade does it: SIGTERM, and clients behind a load balancer."""
    url = await nodes.balancer()
    people = [await open_page(identity) for identity in ("alice", "bob")]
    for person in people:
        await person.join(url, token(room, person.identity), microphone=True)
    await hear_each_other(people)
    assert await here(nodes, "one") == 2
    assert await nodes["one"].stop() == 0
    await until(lambda: here(nodes, "two"), lambda count: count == 2, 10, "they are there")
    # Their WebSockets went to the node that has ended; they resume at the other's gateway, after waits of their own.
    await asyncio.sleep(1)
    for person in people:
        await until(person.summary, lambda found: found["connection"] == "connected", 15, "signaling is back")
    gaps = await watched(people)
    print(json.dumps(gaps))
    check_gaps(gaps)
    await people[0].call("send", {"text": "after it", "reliable": True, "topic": "t"})
    await until(people[1].summary, lambda found: [d for d in found["data"] if d["text"] == "after it"], 10, "data")


async def test_the_python_sdk_moves_too(nodes: Nodes, open_page: OpenPage, room: str) -> None:
    alice = await open_page("alice")
    await alice.join(nodes["one"].ws_url, token(room, "alice"), microphone=True)
    python = SdkParticipant()
    gone: list[str] = []
    python.room.on("participant_disconnected", lambda who: gone.append(who.identity))
    python.room.on("track_unsubscribed", lambda track, _, who: gone.append(who.identity))
    await python.room.connect(nodes["one"].ws_url, token(room, "python"))
    try:
        await python.publish()
        sid = python.room.local_participant.sid
        tracks = set(python.room.local_participant.track_publications)
        await until(partial(loudness_of, python), lambda peak: peak > 500, 15, "Python hears Chromium")
        await alice.call("watch")
        await until(partial(heard, alice, {"python"}), bool, 15, "Chromium hears Python")
        await alice.call("watch")

        assert "2 of 2 moved, 0 left, 0 told to join anew" in await nodes.pysfu("node", "drain", "one")
        await asyncio.sleep(2)
        gaps = await watched([alice])
        print(json.dumps(gaps))
        check_gaps(gaps)
        python.loudest.clear()
        await until(partial(loudness_of, python), lambda peak: peak > 500, 10, "Python hears Chromium still")
        assert gone == []
        assert python.room.local_participant.sid == sid
        assert set(python.room.local_participant.track_publications) == tracks
        await alice.call("send", {"text": "to python", "reliable": True, "topic": "t"})
        await until(partial(data_of, python), lambda found: b"to python" in found, 10, "data")
    finally:
        await python.close()


async def loudness_of(python: SdkParticipant) -> int:
    return python.loudest.get("alice", 0)


async def data_of(python: SdkParticipant) -> list[bytes]:
    return [payload for _, payload in python.data]
