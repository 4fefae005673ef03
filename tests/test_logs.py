"""What the Rust core logs comes out of Python's logging."""

import asyncio
import io
import json
import logging
import secrets
import socket
import sys
from collections.abc import Iterator

import pytest
import structlog
from aioice import stun

from control_plane import logs
from pysfu import Sfu, _core

PWD = "p" * 24
# Version and random, no session, no cookie, one cipher suite, no extensions.
HELLO_BODY = b"\xfe\xfd" + bytes(32) + bytes.fromhex("0000 0002c02b 0100 0000")
LENGTH = len(HELLO_BODY).to_bytes(3)
# The handshake fails for want of an extended master secret, which the engine logs at debug level.
BAD_HELLO = (
    bytes.fromhex("16fefd 0000000000000000")
    + (len(HELLO_BODY) + 12).to_bytes(2)
    + b"".join([b"\1", LENGTH, bytes(2), bytes(3), LENGTH, HELLO_BODY])
)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    _core.set_log_level("off")
    _core.poll_logs()


@pytest.fixture
def sfu() -> Iterator[Sfu]:
    with Sfu(workers=1, port=0) as running:
        yield running


def connect(sfu: Sfu) -> socket.socket:
    """A client of a peer of its own that passed its check: the worker has read what it was sent before."""
    ufrag = secrets.token_hex(4)
    peer = sfu.add_peer(ice_ufrag=ufrag, ice_pwd=PWD)
    sfu.set_remote(peer, ice_ufrag="efgh", ice_pwd=PWD, fingerprints=[bytes(32)])
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect(sfu.candidates(peer)[0])
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, secrets.token_bytes(12))
    request.attributes.update({"USERNAME": f"{ufrag}:efgh", "PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None})
    request.add_message_integrity(PWD.encode())
    client.send(bytes(request))
    client.recv(1_500)
    return client


def fail_handshake(sfu: Sfu) -> None:
    """Returns when it has failed."""
    with connect(sfu) as client:
        client.send(BAD_HELLO)
        connect(sfu).close()


async def lines(capsys: pytest.CaptureFixture[str], count: int) -> list[dict[str, object]]:
    """Of the core, once there are so many."""
    found = written(capsys)
    async with asyncio.timeout(10):
        while len(found) < count:
            await asyncio.sleep(0.02)  # nothing announces what is written
            found += written(capsys)
    return found


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Of the core, since this was asked last."""
    records = map(json.loads, capsys.readouterr().err.splitlines())
    return [record for record in records if str(record["logger"]).startswith("pysfu_")]


async def test_records_keep_level_module_and_fields(sfu: Sfu, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="debug")
    with logs.core_records():
        fail_handshake(sfu)
        (line,) = await lines(capsys, 1)
    assert (line["level"], line["logger"], line["event"]) == ("debug", "pysfu_engine.dtls", "DTLS failed")
    assert isinstance(line["error"], str)
    assert line["error"]
    assert "timestamp" in line


async def test_the_level_is_honoured(sfu: Sfu, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[dict[str, object]] = []
    for level, count in (("info", 0), ("debug", 1)):
        logs.configure(level=level)
        with logs.core_records():
            fail_handshake(sfu)
            found += await lines(capsys, count)
        found += written(capsys)
        assert len(found) == count


async def test_a_client_cannot_fill_the_log(sfu: Sfu, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="debug")
    with logs.core_records():
        for _ in range(40):
            fail_handshake(sfu)
        # Other tests may have used up some of what is free.
        found = await lines(capsys, 10)
        async with asyncio.timeout(10):
            while "suppressed" not in found[-1]:
                fail_handshake(sfu)
                await asyncio.sleep(0.1)  # what is free comes back with time
                found += written(capsys)
    assert len(found) < 30
    assert int(str(found[-1]["suppressed"])) + len(found) >= 35


async def test_nothing_waits_where_nobody_asked(sfu: Sfu) -> None:
    fail_handshake(sfu)
    assert _core.poll_logs() == []
    with pytest.raises(ValueError, match="loud"):
        _core.set_log_level("loud")


async def test_names_of_ours_are_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info")
    row = ("warning", "pysfu_io.udp", "odd", {"event": 1, "level": "x", "worker": 3}, 4)
    monkeypatch.setattr(_core, "poll_logs", lambda: [row])
    with logs.core_records():
        pass
    line = json.loads(capsys.readouterr().err)
    expected = {"event": "odd", "event_": 1, "level": "warning", "level_": "x", "worker": 3, "suppressed": 4}
    assert line.items() >= expected.items()


@pytest.mark.parametrize("console", [False, True])
def test_an_exception_is_written_with_where_it_came_from(console: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", console=console)
    log = structlog.get_logger("tests.logs")
    try:
        secrets.choice([])
    except IndexError:
        log.exception("it failed", attempt=1)
    log.debug("not said")
    logging.getLogger("elsewhere").warning("by the %s", "standard library")
    text = capsys.readouterr().err
    assert "it failed" in text
    assert "Traceback" in text
    assert "IndexError" in text
    assert "by the standard library" in text
    assert "not said" not in text


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    logs.configure(level="info")
    closed.close()
    structlog.get_logger("tests.logs").warning("nobody hears it")
