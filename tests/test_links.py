"""Two and three cores of one process, joined by links over loopback: real sockets, real DTLS clients."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from bench.common.wire_peer import PATIENCE, WirePeer
from pysfu import Sfu, UnknownIdError

OPUS = [(111, None, "opus", 48_000, False, False)]
SSRC = 7_000


async def until(done: Callable[[], object]) -> None:
    """Looks again and again: statistics tell nobody that they are new."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not done():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


class Node:
    """A core with what it tells."""

    def __init__(self, workers: int) -> None:
        self.core = Sfu(workers=workers, port=0)
        self.events: list[tuple[Any, ...]] = []
        self.core.listen(self.events.append)
        self.peers: list[WirePeer] = []

    async def join(self, worker: int = 0) -> WirePeer:
        peer = await WirePeer.connect(self.core, worker=worker)
        self.peers.append(peer)
        return peer

    async def told(self, *event: Any) -> None:
        await until(lambda: event in self.events)

    async def close(self) -> None:
        for peer in self.peers:
            await peer.close()
        self.core.shutdown()


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[list[Node]]:
    running = [Node(workers=2) for _ in range(3)]
    yield running
    for node in running:
        await node.close()


def join(one: Node, other: Node, *, workers: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """A link between a worker of each, as the two call it."""
    keys = os.urandom(28), os.urandom(28)
    ids = one.core.new_link(), other.core.new_link()
    (here, there) = (node.core.worker_addresses(worker)[0] for node, worker in zip((one, other), workers, strict=True))
    one.core.add_link(ids[0], worker=workers[0], theirs=ids[1], send=keys[0], receive=keys[1], remote=there)
    other.core.add_link(ids[1], worker=workers[1], theirs=ids[0], send=keys[1], receive=keys[0], remote=here)
    return ids


class Speaker:
    """Publishes a numbered voice."""

    def __init__(self, node: Node, peer: WirePeer) -> None:
        self.peer = peer
        self.track = node.core.publish(peer.handle, kind="audio", mid="0", codecs=OPUS, ssrcs=[(SSRC, None)])
        self.sent: list[bytes] = []

    async def say(self) -> None:
        number = len(self.sent)
        payload = b"voice %06d" % number
        await self.peer.send(111, number, 960 * number, SSRC, payload)
        self.sent.append(payload)

    async def talk(self) -> None:
        while True:
            await self.say()
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def talking() -> AsyncIterator[Any]:
    tasks: list[asyncio.Task[None]] = []

    def begin(speaker: Speaker) -> None:
        tasks.append(asyncio.create_task(speaker.talk()))

    yield begin
    for task in tasks:
        task.cancel()


SSRCS: Iterator[int] = count(100)


def listen(node: Node, peer: WirePeer, track: int) -> int:
    ssrc = next(SSRCS)
    return node.core.subscribe(peer.handle, track, mid="1", ssrc=ssrc, rtx_ssrc=None, payloads=[(111, 111, None)])


def voices(peer: WirePeer) -> list[bytes]:
    return [packet[-12:] for packet in peer.packets]


def assert_unbroken(peer: WirePeer) -> None:
    """Payloads follow each other, and so do the numbers of their packets."""
    numbers = [int.from_bytes(packet[2:4], "big") for packet in peer.packets]
    said = [int(voice[-6:]) for voice in voices(peer)]
    assert said == list(range(said[0], said[0] + len(said)))
    assert [(number - numbers[0]) & 0xFFFF for number in numbers] == list(range(len(numbers)))


@pytest.mark.timeout(60)
async def test_a_voice_crosses_a_link_to_every_worker(nodes: list[Node], talking: Any) -> None:
    home, away, _ = nodes
    ours, theirs = join(home, away)
    speaker = Speaker(home, await home.join())
    assert home.core.worker_of(speaker.track) == 0
    talking(speaker)
    mirror = away.core.mirror(theirs, speaker.track, kind="audio")
    assert away.core.worker_of(mirror) == 0
    for worker in (0, 1):
        listener = await away.join(worker)
        listen(away, listener, mirror)
        await listener.until(lambda peer: len(peer.packets) >= 20)
        assert_unbroken(listener)
    await until(lambda: away.core.snapshot().links["media_received"].sum())
    row = away.core.snapshot().links[0]
    assert (row["link"], row["mirrors"], row["alive"], row["refused"]) == (theirs, 1, 1, 0)
    assert 0 < row["rtt_ms"] < 1_000
    assert ours in home.core.snapshot().links["link"]


@pytest.mark.timeout(60)
async def test_a_link_finds_a_track_of_another_worker(nodes: list[Node], talking: Any) -> None:
    home, away, _ = nodes
    _, theirs = join(home, away, workers=(1, 1))
    speaker = Speaker(home, await home.join(worker=0))
    talking(speaker)
    mirror = away.core.mirror(theirs, speaker.track, kind="audio")
    listener = await away.join()
    subscription = listen(away, listener, mirror)
    await listener.until(lambda peer: len(peer.packets) >= 20)
    assert_unbroken(listener)
    away.core.unsubscribe(subscription)
    # Nobody takes it any more: it does not cross.
    await until(lambda: not home.core.snapshot().workers["mirrors"].sum())


@pytest.mark.timeout(60)
async def test_a_mirror_moves_to_a_way_over_a_third_node(nodes: list[Node], talking: Any) -> None:
    home, away, third = nodes
    direct, theirs = join(home, away)
    _, to_third = join(home, third)
    _, to_away = join(third, away)
    speaker = Speaker(home, await home.join())
    talking(speaker)
    mirror = away.core.mirror(theirs, speaker.track, kind="audio")
    listener = await away.join()
    listen(away, listener, mirror)
    await listener.until(lambda peer: len(peer.packets) >= 20)
    transit = third.core.mirror(to_third, speaker.track, kind="audio")
    assert away.core.mirror(to_away, transit, kind="audio", track=mirror) == mirror
    heard = len(listener.packets)
    await listener.until(lambda peer: len(peer.packets) >= heard + 20)
    home.core.remove_link(direct)
    away.core.remove_link(theirs)
    heard = len(listener.packets)
    await listener.until(lambda peer: len(peer.packets) >= heard + 20)
    assert_unbroken(listener)
    assert ("mirror_ended", mirror) not in away.events
    # The end of the track goes the same way.
    home.core.unpublish(speaker.track)
    await away.told("mirror_ended", mirror)
    with pytest.raises(UnknownIdError):
        away.core.worker_of(mirror)


@pytest.mark.timeout(60)
async def test_keys_change_and_what_ends_is_told(nodes: list[Node], talking: Any) -> None:
    home, away, _ = nodes
    ours, theirs = join(home, away)
    speaker = Speaker(home, await home.join())
    talking(speaker)
    mirror = away.core.mirror(theirs, speaker.track, kind="audio")
    listener = await away.join()
    listen(away, listener, mirror)
    for _ in range(3):
        heard = len(listener.packets)
        await listener.until(lambda peer, heard=heard: len(peer.packets) >= heard + 5)  # type: ignore[misc]
        key = os.urandom(28)
        away.core.rotate_link(theirs, receive=key)
        await asyncio.sleep(0.1)
        home.core.rotate_link(ours, send=key)
    heard = len(listener.packets)
    await listener.until(lambda peer: len(peer.packets) >= heard + 10)
    assert_unbroken(listener)
    home.core.remove_link(ours)
    await away.told("link_alive", theirs, False)
    away.core.remove_link(theirs)
    await away.told("mirror_ended", mirror)


@pytest.mark.timeout(60)
async def test_a_track_that_nobody_has_ends(nodes: list[Node]) -> None:
    home, away, _ = nodes
    _, theirs = join(home, away)
    # One of the two workers has no such track, the other knows it at once.
    mirror = away.core.mirror(theirs, 64, kind="audio")
    listen(away, await away.join(), mirror)
    await away.told("mirror_ended", mirror)


async def test_bad_links_are_named(nodes: list[Node]) -> None:
    home, away, _ = nodes
    keys = os.urandom(28)
    with pytest.raises(ValueError, match="octets, not 5"):
        home.core.add_link(1, worker=0, theirs=1, send=b"short", receive=keys)
    with pytest.raises(ValueError, match="nowhere"):
        home.core.add_link(1, worker=0, theirs=1, send=keys, receive=keys, remote=("nowhere", 1))
    with pytest.raises(ValueError, match="reaches"):
        home.core.add_link(1, worker=0, theirs=1, send=keys, receive=keys, remote=("::1", 1))
    with pytest.raises(UnknownIdError):
        home.core.add_link(1, worker=9, theirs=1, send=keys, receive=keys)
    for command in (home.core.remove_link, home.core.rotate_link):
        with pytest.raises(UnknownIdError):
            command(5)
    with pytest.raises(UnknownIdError):
        home.core.mirror(5, 1, kind="audio")
    with pytest.raises(UnknownIdError):
        home.core.unmirror(5)
    ours, _ = join(home, away)
    with pytest.raises(ValueError, match="id"):
        home.core.add_link(ours, worker=0, theirs=1, send=keys, receive=keys)
    mirror = home.core.mirror(ours, 128, kind="audio")
    elsewhere, _ = join(home, away, workers=(1, 0))
    with pytest.raises(ValueError, match="worker"):
        home.core.mirror(elsewhere, 128, kind="audio", track=mirror)
    with pytest.raises(ValueError, match="kind"):
        home.core.mirror(ours, 128, kind="video", track=mirror)
    home.core.unmirror(mirror)
    with pytest.raises(UnknownIdError):
        home.core.worker_of(mirror)
