"""The `pysfu` command as a process."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from control_plane.auth import Verifier
from pysfu import __version__
from pysfu.room_table import table
from pysfu.v1 import models_pb2, stats_pb2
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


async def test_an_operators_token_is_for_every_room_and_no_participant() -> None:
    code, out, _ = await run("token", "operator", "--dev", "--ttl", "60")
    assert code == 0
    grants = Verifier({"devkey": "secret"}).verify(out.strip()).grants
    grants.require_room_admin("")
    assert (grants.room, grants.room_join) == ("", False)


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


async def test_statistics_of_a_room_are_a_table() -> None:
    async with Server(workers=1) as server:
        where = ["--dev", "--url", server.grpc_address]
        assert (await run("room", "create", "standup", *where))[0] == 0
        code, out, _ = await run("stats", "standup", *where)
        assert code == 0
        assert out.split()[:2] == ["subscriber", "feedback"]
        code, _, err = await run("stats", "nowhere", *where)
        assert code == 1
        assert "nowhere" in err


def test_the_table_says_what_each_gets() -> None:
    stats = stats_pb2.RoomStats(
        tracks=[
            stats_pb2.TrackStats(
                track_id="TR_1",
                participant_id="PA_1",
                kind=models_pb2.MEDIA_KIND_VIDEO,
                layers=[
                    stats_pb2.LayerStats(
                        rid="q",
                        active=True,
                        bitrate_bps=150e3,
                        packets=995,
                        packets_lost=30,
                        packets_recovered=25,
                        packets_recovered_fec=20,
                        rtt_ms=120,
                        jitter_ms=7,
                    ),
                    stats_pb2.LayerStats(rid="h", spatial=1),
                ],
            )
        ],
        subscriptions=[
            stats_pb2.SubscriptionStats(
                track_id="TR_1",
                publisher_id="PA_1",
                subscriber_id="PA_2",
                spatial=1,
                temporal=2,
                target_spatial=2,
                target_temporal=-1,
                bitrate_bps=1.5e6,
                pictures=100,
                pictures_delivered=97,
                freezes=2,
                freeze_seconds=1.25,
                rtx_share=0.02,
                fec_share=0.11,
            ),
            stats_pb2.SubscriptionStats(
                track_id="TR_1",
                publisher_id="PA_1",
                subscriber_id="PA_3",
                spatial=-1,
                target_spatial=-1,
                pause_reason=stats_pb2.SubscriptionStats.PAUSE_REASON_BANDWIDTH,
            ),
        ],
        downlinks=[
            stats_pb2.DownlinkStats(
                participant_id="PA_2",
                feedback=stats_pb2.DownlinkStats.FEEDBACK_TRANSPORT_WIDE,
                limited_by=stats_pb2.DownlinkStats.LIMIT_LOSS,
                estimate_bps=640e3,
                desired_bps=2e6,
                loss=0.031,
                rtt_ms=48,
                bytes=1_000,
                rtx_bytes=40,
                fec_bytes=20,
            )
        ],
    )
    lines = table(stats, {"PA_1": "alice", "PA_2": "bob"}).splitlines()
    assert lines[2].split("  ")[0] == "PA_3"
    assert "too little bandwidth" in lines[3]
    for part in ("bob", "transport-wide", "loss", "640 kb/s", "2.00 Mb/s", "3.1%", "48 ms", "6.0%"):
        assert part in lines[4]
    for part in ("alice", "S1T2", "S2", "1.50 Mb/s", "97/100", "1.2 s", "2.0%", "11.0%"):
        assert part in lines[5]
    assert lines[6] == ""
    assert lines[7].split()[0] == "publisher"
    assert lines[8].split() == [
        "alice",
        "TR_1",
        "video",
        "q",
        "150",
        "kb/s",
        "3.0%",
        "25",
        "20",
        "120",
        "ms",
        "7",
        "ms",
    ]
    # A layer that sends nothing has no rate.
    assert lines[9].split()[:6] == ["alice", "TR_1", "video", "h", "off", "-"]
