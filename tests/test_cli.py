"""The `pysfu` command as a process."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from control_plane.auth import Verifier
from pysfu import __version__
from tests.e2e.harness.ports import free_port
from tests.e2e.harness.server import Server

PROGRAM = Path(sys.executable).with_name("pysfu")


async def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PROGRAM, *arguments, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_version() -> None:
    assert await run("version") == (0, f"{__version__}\n", "")


async def test_a_created_token_is_accepted() -> None:
    code, out, _ = await run("token", "create", "--dev", "--room", "demo", "--identity", "alice", "--no-publish")
    assert code == 0
    token = Verifier({"devkey": "secret"}).verify(out.strip())
    assert (token.identity, token.grants.room) == ("alice", "demo")
    assert (token.grants.can_publish, token.grants.can_subscribe) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["serve"], 2, "keys: none given"),
        (["serve", "--dev", "--http-port", "99999"], 2, "http_port"),
        (["serve", "--dev", "--config", "/nonexistent.toml"], 2, "No such file"),
        (["token", "create", "--room", "r", "--identity", "i"], 2, "keys: none given"),
        (["room", "list", "--dev", "--url", "127.0.0.1:1"], 1, "no node answers at 127.0.0.1:1"),
    ],
)
async def test_faults_are_one_line(arguments: list[str], code: int, named: str) -> None:
    got, _, err = await run(*arguments)
    assert got == code
    assert named in err
    assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port", "--udp-port"])
async def test_port_taken_names_the_port_and_its_flag(flag: str) -> None:
    kind = socket.SOCK_DGRAM if flag == "--udp-port" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        ports = {"--http-port": free_port(), "--grpc-port": free_port(), "--udp-port": 0} | {flag: port}
        arguments = [str(word) for pair in ports.items() for word in pair]
        code, _, err = await run("serve", "--dev", "--workers", "1", *arguments)
    assert code == 1
    assert str(port) in err
    assert flag in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_end_it_quietly(number: signal.Signals) -> None:
    async with Server(workers=1) as server:
        assert server.process is not None
        server.process.send_signal(number)
        assert await asyncio.wait_for(server.process.wait(), 15) == 0
        assert "pysfu is ready: http://localhost:" in server.log
        assert "Traceback" not in server.log


async def test_rooms_over_grpc() -> None:
    async with Server(workers=1) as server:
        where = ["--dev", "--url", server.grpc_address]
        assert (await run("room", "create", "standup", *where))[0] == 0
        assert "standup" in (await run("room", "list", *where))[1]
        assert (await run("room", "end", "standup", *where))[0] == 0
        assert "standup" not in (await run("room", "list", *where))[1]
        code, _, err = await run("room", "end", "standup", *where)
        assert code == 1
        assert "standup" in err
