"""Calls through a third node: who may, for whom, and how many."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.cluster import certs
from control_plane.cluster.cascade.peer import CONNECT, INVITE, REACH
from control_plane.cluster.through import FOR, TO, Through, around, straight
from control_plane.services import through as service
from pysfu.v1 import cascade_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage
from tests.cluster.nodes import TestCluster
from tests.cluster.real import RealCluster, RealNode
from tests.cluster.waiting import until
from tests.control_plane.recording import RecordingMedia


def test_names_of_calls_that_go_round() -> None:
    assert around(CONNECT) == "/pysfu.v1.ThroughService/CascadeService.Connect"
    for method in (CONNECT, INVITE, REACH, "/pysfu.v1.SignalingService/Session"):
        assert straight(around(method)) == method


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[list[RealNode]]:
    async with RealCluster(folder, "a", "b", "c") as running:
        await until(lambda: all(len(node.cluster.registry.nodes()) == 3 for node in running.nodes))
        yield running.nodes


def call(channel: Any, method: str, *marks: tuple[str, str]) -> Any:
    return channel.unary_unary(method)(b"", metadata=marks, timeout=5)


async def refusal(awaited: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaited
    code: grpc.StatusCode = refused.value.code()
    return code


@pytest.mark.timeout(60)
async def test_the_target_takes_the_caller_for_whom_the_third_node_names(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, _):
        # The greater id is not to be invited by the lesser: which of them calls is known at the other end.
        assert await call(Through(one.cluster.straight("c"), "b"), REACH) == b""
        assert await refusal(call(Through(one.cluster.straight("c"), "b"), INVITE)) is grpc.StatusCode.PERMISSION_DENIED
        await call(Through(other.cluster.straight("c"), "a"), INVITE)
        await until(lambda: "b" in one.cluster.cascade.peers)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("marks", "code"),
    [
        # To itself, to the third node, to nobody.
        ([(TO, "a")], grpc.StatusCode.INVALID_ARGUMENT),
        ([(TO, "c")], grpc.StatusCode.INVALID_ARGUMENT),
        ([(TO, "nobody")], grpc.StatusCode.UNAVAILABLE),
        # Not through more than one, and not without saying where to.
        ([(TO, "b"), (FOR, "a")], grpc.StatusCode.UNIMPLEMENTED),
        ([], grpc.StatusCode.UNIMPLEMENTED),
        # In the name of the one that is called, of itself, of nobody.
        ([(FOR, "c")], grpc.StatusCode.PERMISSION_DENIED),
        ([(FOR, "a")], grpc.StatusCode.PERMISSION_DENIED),
        ([(FOR, "nobody")], grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_goes_in_a_circle_or_to_nobody_is_refused(
    tmp_path: Path, marks: list[tuple[str, str]], code: grpc.StatusCode
) -> None:
    async with cluster(tmp_path) as (one, _, _):
        assert await refusal(call(one.cluster.straight("c"), around(REACH), *marks)) is code


@pytest.mark.timeout(60)
async def test_a_third_node_that_cannot_reach_the_target_either_says_so_and_does_not_ask_a_fourth(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (one, _, third):
        third.cut.add("b")
        assert await refusal(call(Through(one.cluster.straight("c"), "b"), REACH)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "method", ["/pysfu.v1.ThroughService/Stats.Node", "/pysfu.v1.ThroughService/StatsService.Node", "/pysfu.v1.Other/X"]
)
async def test_other_calls_are_not_passed_on(tmp_path: Path, method: str) -> None:
    async with cluster(tmp_path) as (one, _, _):
        assert await refusal(call(one.cluster.straight("c"), method, (TO, "b"))) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.timeout(60)
async def test_strangers_are_not_let_through(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, _, third):
        folder = tmp_path / "strangers"
        certs.make(["a"], folder)
        mine = certs.load(folder / "ca.pem", folder / "a.pem", folder / "a.key")
        theirs = certs.load(tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "c.key")
        credentials = grpc.ssl_channel_credentials(theirs.ca, mine.key, mine.cert)
        name = (("grpc.ssl_target_name_override", certs.name_of("c")),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{third.cluster.port}", credentials, name) as channel:
            assert await refusal(call(Through(channel, "b"), REACH)) is grpc.StatusCode.UNAVAILABLE
        assert third.cluster.through.passed_on == 0


@pytest.mark.timeout(60)
async def test_who_calls_is_told_when_the_third_node_knows_the_target_no_more(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, _, third):
        stream: Any = Through(one.cluster.straight("c"), "b").stream_stream(CONNECT)()
        await until(lambda: third.cluster.through.calls == 1)
        await third.cluster.channels.forget("b")

        async def read() -> None:
            # What came before is to be read before the end.
            while await stream.read() is not grpc.aio.EOF:
                pass

        assert await refusal(asyncio.wait_for(read(), 2)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.timeout(60)
async def test_calls_that_are_passed_on_are_bounded_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_CALLS", 1)
    async with cluster(tmp_path) as (one, other, third):
        connect: Callable[..., Any] = Through(one.cluster.straight("c"), "b").stream_stream(
            CONNECT, request_serializer=bytes, response_deserializer=CascadeMessage.FromString
        )
        stream = connect()
        hello = cascade_pb2.CascadeHello(oldest_protocol=1, newest_protocol=1, incarnation=7)
        hello.workers.add().addresses.add(ip="127.0.0.1", port=9)
        await stream.write(CascadeMessage(hello=hello).SerializeToString())
        assert (await stream.read()).hello.newest_protocol == 1
        assert other.cluster.cascade.peers["a"].third == "c"
        assert third.cluster.through.calls == 1
        refused = await refusal(call(Through(one.cluster.straight("c"), "b"), REACH))
        assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.cancel()
        await until(lambda: third.cluster.through.calls == 0)
        assert await call(Through(one.cluster.straight("c"), "b"), REACH) == b""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("former", ["b", "c"])
async def test_a_third_node_or_a_target_of_a_former_release_is_passed_over(former: str) -> None:
    """They do not know these calls: then all is as if there were no third node, and nobody is mistaken for another."""
    async with TestCluster(RecordingMedia) as running:
        one, other, third = [await running.node(name, former=name == former) for name in "abc"]
        running.hold(one, other, third)
        for node, identity in ((one, "alice"), (other, "bob"), (third, "carol")):
            await node.client(identity)
        await until(lambda: one.identities() == other.identities() == {"alice", "bob", "carol"})
        before = [other.cascade.peer("c").streams, one.cascade.peer("c").streams]
        one.channels.cut.add("b")
        other.channels.cut.add("a")
        for node, name in ((one, "b"), (other, "a")):
            stream = node.cascade.peer(name)._stream
            assert stream is not None
            stream.close("cut")
        await one.client("late")
        await until(lambda: third.participant("late"))
        await until(lambda: one.cascade.peer("b").is_unreachable)
        assert other.participant("late") is None
        assert [other.cascade.peer("c").streams, one.cascade.peer("c").streams] == before
        one.channels.cut.clear()
        other.channels.cut.clear()
        await until(lambda: other.participant("late"))
        assert one.cascade.peer("b").third is None
