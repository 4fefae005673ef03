"""The load engine against a running pysfu: through every adapter, in every standard scenario, at its own limits.

What it sends from recordings is decoded by others.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc.mediastreams import MediaStreamTrack
from av.codec import CodecContext
from av.packet import Packet

from bench import record
from bench.forward import servers
from tests.e2e.harness.media import loudness, picture
from tests.e2e.harness.pages import until
from tests.e2e.harness.server import Server, token
from tests.e2e.test_whip_whep import HttpPeer

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[1]
LIMIT = 40
"""Seconds that any run here may take."""
ADAPTERS = ["pysfu", "whip", "livekit-1", "livekit-0"]
ATTEMPTS = 5
"""A shared machine may keep the load engine from sending in time, which it tells; a quiet moment comes."""


class LoadError(Exception):
    """pysfu-load failed; what it wrote."""


Load = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def programs() -> servers.Programs:
    command = ["cargo", "build", "--locked", "--package", "pysfu-load", "--package", "pysfu-ceiling"]
    command += ["--message-format", "json-render-diagnostics"]
    build = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    written, _ = await build.communicate()
    assert build.returncode == 0
    messages = (json.loads(line) for line in written.splitlines())
    built = {
        message["target"]["name"]: Path(message["executable"]) for message in messages if message.get("executable")
    }
    return servers.Programs(load=built["pysfu-load"], ceiling=built["pysfu-ceiling"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with Server(workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def relay(programs: servers.Programs) -> Iterator[str]:
    """The URL of the bare relay: unlike pysfu it goes on sending to who does not keep up."""
    with servers.ceiling(programs, 0, crypto="gcm", gso="on") as running:
        yield running.url


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room name of the test's own: letters, digits and dashes."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
def load(programs: servers.Programs, room: str) -> Load:
    """Runs pysfu-load in a room, the test's own unless told otherwise, and returns its report."""

    async def run(command: str, url: str, *arguments: str, room: str = room) -> dict[str, Any]:
        told = [command, "--server", url, "--room", room, *arguments]
        child = await asyncio.create_subprocess_exec(
            programs.load, *told, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            report, wrote = await asyncio.wait_for(child.communicate(), LIMIT)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise LoadError(wrote.decode())
        return dict(json.loads(report))

    return run


def url_of(server: Server, adapter: str, credentials: str = "") -> str:
    """What --server takes to reach `server` through `adapter`. `credentials` end with @."""
    http = f"{credentials}127.0.0.1:{server.http_port}"
    return {
        "pysfu": f"pysfu://{credentials}{server.grpc_address}",
        "whip": f"whip+http://{http}",
        "livekit-1": f"livekit+ws://{http}?protocol=1",
        "livekit-0": f"livekit+ws://{http}?protocol=0",
    }[adapter]


def check(step: dict[str, Any], streams: int) -> None:
    """Everything came, whole and genuine, and the time it took is known."""
    counts, latency = step["counts"], step["latency_ms"]
    assert step["delivered_pps"] > 0
    assert step["loss"] == 0
    assert counts["streams"] == streams
    assert counts["authenticated"] >= latency["samples"] >= streams
    assert counts["authentication_failed"] == counts["duplicates"] == counts["unexpected"] == 0
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < 1_000
    if step["shortfall"] is not None:
        frames = step["rate"] * step["seconds"] if step["rate"] > 1 else 30 * step["seconds"]
        assert step["shortfall"] <= 2 / frames, "more than what is on its way when the step ends"
    # Late it may be on a busy machine, and tells so; short of CPU and of buffers it is not.
    assert set(step["load_limits"]) <= {"late"}
    assert (step["bottleneck"] == "load") == bool(step["load_limits"])


@pytest.mark.timeout(900)  # The first builds the program.
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_every_adapter_delivers_all(load: Load, server: Server, adapter: str) -> None:
    report = await load("fanout", url_of(server, adapter), "--subscribers", "4", "--seconds", "2", "--sample", "11")
    (step,) = report["steps"]
    check(step, streams=4)
    assert step["offered_pps"] == pytest.approx(4 * 30 * 5, rel=0.1)
    assert step["counts"]["feedback_sent"] > 0
    # Nobody waits for the server to miss them.
    await until(server.metrics, lambda metrics: metrics["pysfu_participants"] == 0, 2, "their leaving")


async def test_many_sections_fit_into_a_join(load: Load, server: Server) -> None:
    call = ("--mesh", "--publishers", "12", "--steps", "5", "--video", "200x1", "--seconds", "1", "--sample", "3")
    report = await load("fanout", url_of(server, "livekit-1"), *call)
    (step,) = report["steps"]
    check(step, streams=12 * 11)


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_who_may_not_enter_is_told_why(load: Load, server: Server, adapter: str) -> None:
    with pytest.raises(LoadError, match=r"1 of 1 participants could not join: the server refused: .*API key"):
        await load("fanout", url_of(server, adapter, "nobody:knows@"))


async def test_what_a_protocol_has_no_words_for_is_said(load: Load, server: Server) -> None:
    with pytest.raises(LoadError, match="no words for publishing and playing in one session"):
        await load("fanout", url_of(server, "whip"), "--mesh", "--publishers", "2")
    with pytest.raises(LoadError, match="is no URL of a server"):
        await load("fanout", "http://127.0.0.1:1")
    with pytest.raises(LoadError, match="there is no process 999999999"):
        await load("fanout", url_of(server, "pysfu"), "--server-pid", "999999999")
    with pytest.raises(LoadError, match=r"nowhere/vp8-single.ivf: No such file.*`make recordings`"):
        await load("fanout", url_of(server, "pysfu"), "--recorded", "vp8", "--recordings", "nowhere")
    wrong = ("--steps", "0"), ("--seconds", "-1"), ("--receive-loss", "2"), ("--video", "1150"), ("--video", "9000x1")
    for arguments in wrong:
        with pytest.raises(LoadError, match=r"invalid value|unexpected argument"):
            await load("fanout", url_of(server, "pysfu"), *arguments)
    with pytest.raises(LoadError, match=r"cannot be reached: 127\.0\.0\.1:1: .*refused"):
        await load("fanout", "livekit+ws://127.0.0.1:1")


@pytest.mark.parametrize(("name", "size", "streams"), [("A", 4, 12), ("B", 4, 4), ("E", 4, 4)])
async def test_scenarios_of_steady_traffic(load: Load, server: Server, name: str, size: int, streams: int) -> None:
    sizes = ("--size", str(size), "--seconds", "1.5", "--sample", "11", "--synthetic")
    report = await load("scenario", url_of(server, "pysfu"), *sizes, name)
    assert report["media"] == "synthetic"
    assert [step["rate"] for step in report["steps"]] == ([50] if name == "A" else [22, 54])
    for step in report["steps"]:
        counts = step["counts"]
        if name == "E":
            # What was lost in the last moment could not be repaired any more.
            assert counts["lost_video"] <= 0.02 * counts["received_video"]["packets"]
            assert counts["nacks_sent"] >= counts["received_rtx"] >= counts["repaired"] > 0
            step = step | {"loss": 0, "shortfall": None}
        check(step, streams)


async def test_everyone_sees_every_layer(load: Load, server: Server) -> None:
    arguments = ("--size", "3", "--seconds", "4.5", "--sample", "5", "--synthetic")
    report = await load("scenario", url_of(server, "livekit-1"), *arguments, "C")
    (step,) = report["steps"]
    check(step | {"shortfall": None}, streams=6)
    assert step["delivered_pps"] == pytest.approx(step["offered_pps"], rel=0.1)
    samples = step["counts"]["sampled_layers"]
    assert min(samples) > 0.15 * sum(samples) > 0, "each layer is wanted for a third of the time"
    assert step["counts"]["plis_received"] > 0, "a switch begins with a keyframe"


async def test_viewers_who_hold_get_nothing(load: Load, server: Server) -> None:
    assert server.process is not None
    arguments = ("--size", "5", "--seconds", "1.5", "--synthetic", "--server-pid", str(server.process.pid))
    report = await load("scenario", url_of(server, "pysfu"), *arguments, "D")
    (step,) = report["steps"]
    assert (step["offered_pps"], step["delivered_pps"], step["shortfall"]) == (0, 0, 0)
    assert step["counts"]["published"]["packets"] > 0
    assert step["latency_ms"]["p50"] is None
    assert step["server"]["process_us"] is None, "there is no packet to share it"
    assert step["server"]["busy"] >= 0
    assert step["server"]["pss_kb"] > 1_000


async def test_who_comes_and_goes_sees_something(load: Load, server: Server, room: str) -> None:
    arguments = ("--size", "12", "--synthetic", "F")
    runs = [load("scenario", url_of(server, adapter), *arguments, room=f"{room}-{adapter}") for adapter in ADAPTERS]
    for adapter, report in zip(ADAPTERS, await asyncio.gather(*runs), strict=True):
        assert (report["joins"], report["failed"], report["failures"]) == (12, 0, [])
        assert report["seconds"] >= 11 / report["rate"]
        for before in ("joined_ms", "connected_ms"):
            assert 0 < report[before]["p50"] <= report["first_media_ms"]["p50"] < 5_000
        assert len(report["first_media_each_ms"]) == 12
        assert (report["rpc_ms"] is not None) == (adapter == "pysfu")


async def test_a_load_that_is_easy_is_no_bottleneck(load: Load, server: Server) -> None:
    for _ in range(ATTEMPTS):
        report = await load("fanout", url_of(server, "pysfu"), "--subscribers", "2", "--seconds", "1")
        (step,) = report["steps"]
        if step["load_limits"] != ["late"]:
            break
    assert (step["bottleneck"], step["load_limits"], step["load_drops"]) == ("none", [], 0)
    assert step["load_busy"] < 0.5


async def test_who_drops_packets_says_so(load: Load, relay: str) -> None:
    frames = ("--video", "1150x40", "--subscribers", "2", "--seconds", "1", "--receive-buffer", "4096")
    report = await load("fanout", relay, *frames)
    (step,) = report["steps"]
    assert step["bottleneck"] == "load"
    assert "drops" in step["load_limits"]
    assert step["load_drops"] > 0
    assert step["loss"] > 0


async def test_who_cannot_send_in_time_says_so(load: Load, relay: str) -> None:
    report = await load("fanout", relay, "--subscribers", "1", "--seconds", "1", "--steps", "1e6")
    (step,) = report["steps"]
    assert step["bottleneck"] == "load"
    assert "late" in step["load_limits"]
    assert step["offered_pps"] < 0.9 * 5e6


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small single layer by each encoder, and sound."""
    folder = tmp_path_factory.mktemp("recordings")
    pictures = [record.Picture("single", 320, 180, 400_000)]
    for path, rate in [*record.record_video(folder, pictures), record.record_audio(folder)]:
        assert path.stat().st_size < 300_000
        assert 10_000 < rate < 600_000
    return folder


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_decoder_decodes_recorded_video(
    load: Load, server: Server, room: str, recordings: Path, codec: str
) -> None:
    with av.open(str(recordings / f"{codec}-single.ivf")) as file:
        frames = list(file.decode(video=0))
    assert [frame.key_frame for frame in frames] == [True] + [False] * (record.SECONDS * record.FRAME_RATE - 1)
    recorded = {frame.to_ndarray(format="yuv420p").tobytes() for frame in frames}
    async with watching(load, server, room, "video", codec, recordings) as track:
        received = [await picture(track) for _ in range(45)]
    # Not a bit differs.
    strange = [frame for frame in received if frame.to_ndarray(format="yuv420p").tobytes() not in recorded]
    assert not strange, f"{len(strange)} of {len(received)} frames are not as recorded"


async def test_a_decoder_decodes_recorded_sound(load: Load, server: Server, room: str, recordings: Path) -> None:
    decoder = CodecContext.create("libopus", "r")
    frames = [frame for packet in ivf(recordings / "opus.ivf") for frame in decoder.decode(Packet(packet))]
    whole = [loudness(frame) for frame in frames if isinstance(frame, av.AudioFrame)]
    async with watching(load, server, room, "audio", "opus", recordings) as track:
        heard: list[float] = []
        while len(heard) < 100:
            frame = await asyncio.wait_for(track.recv(), 10)
            assert isinstance(frame, av.AudioFrame)
            heard.append(loudness(frame))
    # The same rise and fall of loudness, from some packet on, round the end.
    rounds = np.array(whole + whole)
    likeness = max(np.corrcoef(rounds[at : at + len(heard)], heard)[0, 1] for at in range(len(whole)))
    assert likeness > 0.95
    assert max(heard) == pytest.approx(max(whole), rel=0.1)


@contextlib.asynccontextmanager
async def watching(
    load: Load, server: Server, room: str, kind: str, codec: str, recordings: Path
) -> AsyncIterator[MediaStreamTrack]:
    """What aiortc receives by WHEP while the load engine publishes a recording by WHIP, and plays it itself."""
    arguments = ("--recorded", codec, "--recordings", str(recordings), "--subscribers", "1", "--seconds", "3")
    publishing = asyncio.create_task(load("fanout", url_of(server, "whip"), *arguments))
    async with aiohttp.ClientSession() as http:
        viewer = HttpPeer(http, f"{server.url}/whep/{room}?publisher=publisher-0", token(room, "aiortc"))
        viewer.connection.addTransceiver(kind, direction="recvonly")
        await viewer.open()
        yield viewer.connection.getTransceivers()[0].receiver.track
        assert await viewer.delete() == 200
        await viewer.close()
    report = await publishing
    assert report["media"] == "recorded"
    for step in report["steps"]:
        check(step, streams=1)


def ivf(file: Path) -> Iterator[bytes]:
    """The frames of an IVF file."""
    content = file.read_bytes()
    at = 32
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        yield content[at + 12 : at + 12 + length]
        at += 12 + length
