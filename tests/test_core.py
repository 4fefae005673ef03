"""The core from Python: settings, handles, events, statistics."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from pysfu import BindError, Sfu, UnknownIdError

OPUS = [(111, None, "opus", 48_000, False, False)]
PWD = "p" * 24


@pytest.fixture
def sfu() -> Iterator[Sfu]:
    with Sfu(workers=2, port=0) as running:
        yield running


def add_peer(sfu: Sfu) -> int:
    return sfu.add_peer(ice_ufrag="abcd", ice_pwd=PWD)


def test_peers_spread_over_workers(sfu: Sfu) -> None:
    ports = [sfu.candidates(add_peer(sfu))[0][1] for _ in range(4)]
    assert len(set(ports)) == 2
    assert ports[:2] != ports[:1] * 2


def test_port_taken_names_address_and_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(BindError) as refused:
            Sfu(bind=["127.0.0.1"], port=port)
    assert refused.value.args[:2] == ("127.0.0.1", port)


def test_external_addresses_replace_those_of_their_family() -> None:
    with Sfu(bind=["127.0.0.1", "::1"], port=0, external_ips=["192.0.2.9"]) as sfu:
        addresses = {address for address, _ in sfu.candidates(add_peer(sfu))}
    assert addresses == {"192.0.2.9", "::1"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"bind": ["nowhere"]}, "nowhere"),
        ({"bind": []}, "address"),
        ({"limits": {"max_speed": 1}}, "max_speed"),
        ({"external_ips": ["x"]}, "x"),
    ],
)
def test_bad_settings_are_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Sfu(port=0, **arguments)  # type: ignore[arg-type]


def test_bad_commands_are_named(sfu: Sfu) -> None:
    peer = add_peer(sfu)
    with pytest.raises(ValueError, match="fragment"):
        sfu.add_peer(ice_ufrag="a", ice_pwd=PWD)
    with pytest.raises(ValueError, match="32 bytes"):
        sfu.set_remote(peer, ice_ufrag="abcd", ice_pwd=PWD, fingerprints=[b"short"])
    with pytest.raises(ValueError, match="flash"):
        sfu.publish(peer, kind="audio", mid="0", codecs=[(111, None, "flash", 48_000, False, False)])
    with pytest.raises(ValueError, match="127"):
        sfu.publish(peer, kind="audio", mid="0", codecs=[(200, None, "opus", 48_000, False, False)])
    with pytest.raises(ValueError, match="smell"):
        sfu.set_extensions(peer, {"smell": 1})
    track = sfu.publish(peer, kind="video", mid="1", codecs=[(96, 97, "vp8", 90_000, True, True)])
    with pytest.raises(ValueError, match="window"):
        sfu.describe(track, source="window")
    with pytest.raises(ValueError, match="8 layers"):
        sfu.describe(track, source="camera", sizes=[(1, 1)] * 9)
    with pytest.raises(ValueError, match="16 bytes"):
        sfu.publish(peer, kind="audio", mid="m" * 17, codecs=OPUS)


def test_unknown_ids_are_refused_and_gone_ones_too(sfu: Sfu) -> None:
    for command in (sfu.remove_peer, sfu.unpublish, sfu.unsubscribe, sfu.candidates):
        with pytest.raises(UnknownIdError):
            command(12_345)
    publisher, subscriber = add_peer(sfu), add_peer(sfu)
    track = sfu.publish(publisher, kind="audio", mid="0", codecs=OPUS)
    subscription = sfu.subscribe(subscriber, track, mid="0", ssrc=1, rtx_ssrc=None, payloads=[(111, 111, None)])
    sfu.set_wanted(subscription, paused=True, max_spatial=0, max_temporal=0)
    sfu.set_view(subscription, width=640, height=360, priority=-6)
    sfu.describe(track, source="screen", sizes=[(1_920, 1_080)])
    sfu.set_speaker(track, 0)
    sfu.remove_peer(publisher)
    with pytest.raises(UnknownIdError):
        sfu.set_muted(track, True)


async def test_what_nobody_takes_is_reported_after_a_while() -> None:
    events: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    with Sfu(port=0, workers=2) as sfu:
        sfu.listen(events.put_nowait)
        publisher = add_peer(sfu)
        track = sfu.publish(publisher, kind="video", mid="1", codecs=[(96, 97, "vp8", 90_000, True, True)])
        assert await asyncio.wait_for(events.get(), 10) == ("layers_wanted", track, None)
        # The second peer is on the other worker.
        subscription = sfu.subscribe(
            add_peer(sfu), track, mid="0", ssrc=1, rtx_ssrc=2, payloads=[(96, 96, 97)], max_temporal=1
        )
        assert await asyncio.wait_for(events.get(), 5) == ("layers_wanted", track, (255, 1))
        sfu.unsubscribe(subscription)
        assert await asyncio.wait_for(events.get(), 10) == ("layers_wanted", track, None)


async def test_a_peer_that_never_connects_is_reported() -> None:
    events: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    with Sfu(port=0, limits={"ice_timeout": 50}) as sfu:
        sfu.listen(events.put_nowait)
        peer = add_peer(sfu)
        event = await asyncio.wait_for(events.get(), 5)
        assert event == ("disconnected", peer, "ice_timeout")
        with pytest.raises(UnknownIdError):
            sfu.candidates(peer)


def test_shutdown_may_be_repeated() -> None:
    sfu = Sfu(port=0)
    sfu.shutdown()
    sfu.shutdown()
