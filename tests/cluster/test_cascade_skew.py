"""Nodes of other releases, and nodes that say what they should not."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from control_plane import splice
from control_plane.cluster.cascade.peer import CONNECT, INVITE
from control_plane.cluster.cascade.stream import OLDEST_PROTOCOL, PROTOCOL
from pysfu.v1 import cascade_pb2, models_pb2
from pysfu.v1.cascade_pb2 import CascadeMessage
from tests.cluster import recorded
from tests.cluster.nodes import ClusterNode, TestCluster
from tests.cluster.waiting import until
from tests.control_plane.recording import RecordingMedia


class OtherNode:
    """A node of which only the wire is known: calls `node` under a name."""

    def __init__(self, node: ClusterNode, cluster: TestCluster, name: str = "a") -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{cluster.ports[node.name]}")
        connect: Any = self._channel.stream_stream(
            CONNECT, request_serializer=bytes, response_deserializer=CascadeMessage.FromString
        )
        self.call = connect(metadata=(("node", name),))

    async def say(self, *messages: bytes | CascadeMessage) -> None:
        for message in messages:
            await self.call.write(message if isinstance(message, bytes) else message.SerializeToString())

    async def close(self) -> None:
        self.call.cancel()
        await self._channel.close()


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[TestCluster]:
    async with TestCluster(RecordingMedia) as running:
        yield running


@pytest_asyncio.fixture
async def node(cluster: TestCluster) -> ClusterNode:
    """With a room in which bob is."""
    node = await cluster.node("b")
    await node.client("bob")
    return node


@pytest_asyncio.fixture
async def other(cluster: TestCluster, node: ClusterNode) -> AsyncIterator[OtherNode]:
    opened = OtherNode(node, cluster)
    yield opened
    await opened.close()


def hello(oldest: int = OLDEST_PROTOCOL, newest: int = PROTOCOL) -> CascadeMessage:
    said = cascade_pb2.CascadeHello(oldest_protocol=oldest, newest_protocol=newest, version="other", incarnation=7)
    said.workers.add().addresses.add(ip="127.0.0.1", port=9)
    return CascadeMessage(hello=said)


def participant(identity: str, **info: Any) -> cascade_pb2.RemoteParticipant:
    told = models_pb2.Participant(id=f"PA_{identity}", identity=identity, version=1, **info)
    return cascade_pb2.RemoteParticipant(info=told)


def snapshot(*participants: cascade_pb2.RemoteParticipant, room: str = "room") -> CascadeMessage:
    return CascadeMessage(
        room=cascade_pb2.RemoteRoom(room=room, begins=True, completes=True, participants=participants)
    )


def newer(message: bytes) -> bytes:
    """As a release would say it that knows more: with a field that this one does not know."""
    return message + splice.field(1_000, b"what is new")


@pytest.mark.parametrize("name", ["protocol-1", "protocol-1-counted"])
@pytest.mark.parametrize("also", [bytes, newer])
async def test_what_former_releases_say_is_understood(
    cluster: TestCluster, node: ClusterNode, other: OtherNode, name: str, also: Any
) -> None:
    bob = node.clients[0]
    said = recorded.messages(name)
    kinds = [CascadeMessage.FromString(message).WhichOneof("message") for message in said]
    last = kinds.index("room_left")
    await other.say(*[also(message) for message in said[:last]])
    alice = await bob.until_participant("alice", lambda item: len(item.tracks) == 2)
    assert (alice.name, {track.mime_type for track in alice.tracks}) == ("Alice", {"audio/opus", "video/VP8"})
    await until(lambda: not node.participant("alice").rules.everyone)
    assert [entry.identity for entry in node.participant("alice").rules.allowed] == ["bob"]
    backups = [
        encoding.codec for track in node.participant("alice").tracks.values() for encoding in track.encodings[1:]
    ]
    assert backups == ["vp8"]
    (speaker,) = (await bob.until("speakers_changed")).speakers
    assert speaker.participant_id == alice.id
    await until(lambda: node.live().room.info.metadata == "of the room")
    await until(lambda: "carol" not in node.identities())
    assert len(node.media.named("add_link")) == 1
    assert len(node.media.named("mirror")) == 2
    await until(lambda: node.media.named("rotate_link"))
    await other.say(*[also(message) for message in said[last:]])
    assert (await bob.until("left")).reason == models_pb2.DISCONNECT_REASON_ROOM_ENDED


async def test_what_is_not_known_is_passed_over(node: ClusterNode, other: OtherNode) -> None:
    await other.say(hello(newest=PROTOCOL + 1), splice.field(900, b"a message of a newer release"))
    await other.say(snapshot(participant("alice")))
    await until(lambda: "alice" in node.identities())


@pytest.mark.parametrize(
    "first", [hello(PROTOCOL + 1, PROTOCOL + 2), hello(0, OLDEST_PROTOCOL - 1), snapshot(), CascadeMessage()]
)
async def test_who_cannot_be_understood_is_not_spoken_to(
    node: ClusterNode, other: OtherNode, first: CascadeMessage
) -> None:
    await other.say(first)
    while (answer := await other.call.read()) is not grpc.aio.EOF:
        assert answer.HasField("hello"), "nothing is told"
    assert not node.cascade.peer("a").is_open
    assert not node.media.named("new_link")


async def test_hellos_that_are_none_are_refused(node: ClusterNode, other: OtherNode) -> None:
    bad = hello()
    bad.hello.workers[0].addresses[0].ip = "not an address"
    await other.say(bad)
    while await other.call.read() is not grpc.aio.EOF:
        pass
    assert not node.cascade.peer("a").is_open


async def test_bad_participants_are_refused_and_the_others_are_there(node: ClusterNode, other: OtherNode) -> None:
    crowded, twins, odd = participant("crowded"), participant("twins"), participant("odd")
    for index in range(300):
        crowded.tracks.add().info.id = f"TR_{index:05}"
    for _ in range(2):
        twins.tracks.add(info=models_pb2.Track(id="TR_same", kind=models_pb2.MEDIA_KIND_AUDIO)).encodings.add()
    odd.tracks.add(info=models_pb2.Track(id="../etc", kind=models_pb2.MEDIA_KIND_AUDIO)).encodings.add()
    loud = participant("loud", metadata="x" * 70_000)
    nobody = cascade_pb2.RemoteParticipant()
    await other.say(hello(), snapshot(crowded, twins, odd, loud, nobody, participant("alice")))
    await until(lambda: "alice" in node.identities())
    assert node.identities() == {"bob", "alice"}


@pytest.mark.parametrize(
    "encoding",
    [
        cascade_pb2.RemoteEncoding(handle=1, codec="opus"),
        cascade_pb2.RemoteEncoding(handle=1, codec="mp3", codecs=[cascade_pb2.RemoteCodec(payload_type=1, name="mp3")]),
        cascade_pb2.RemoteEncoding(handle=1, codecs=[cascade_pb2.RemoteCodec(payload_type=300, name="opus")]),
        cascade_pb2.RemoteEncoding(handle=1, codecs=[cascade_pb2.RemoteCodec(name="opus")] * 100),
    ],
)
async def test_tracks_that_cannot_be_are_refused(
    node: ClusterNode, other: OtherNode, encoding: cascade_pb2.RemoteEncoding
) -> None:
    alice = participant("alice")
    track = alice.tracks.add(info=models_pb2.Track(id="TR_a", kind=models_pb2.MEDIA_KIND_AUDIO))
    track.encodings.append(encoding)
    await other.say(hello(), snapshot(alice), snapshot(alice, participant("carol")))
    await until(lambda: "carol" in node.identities())
    assert not node.participant("alice").tracks
    assert not node.media.named("mirror")


async def test_nobody_speaks_for_another_nodes_people(
    cluster: TestCluster, node: ClusterNode, other: OtherNode
) -> None:
    bob = node.participant("bob")
    await node.clients[0].offer("chromium_sendrecv")
    node.media.emit("connected", node.media.named("add_peer")[-1]["handle"], "aead_aes_128_gcm")
    voice = models_pb2.Speaker(participant_id=bob.id, level=1.0, active=True)
    message = models_pb2.DataMessage(label="chat", payload=b"forged", sender_id=bob.id)
    await other.say(
        hello(),
        snapshot(participant("alice")),
        CascadeMessage(voices=cascade_pb2.RemoteVoices(room="room", speakers=[voice])),
        CascadeMessage(data=cascade_pb2.RemoteData(room="room", message=message)),
        CascadeMessage(data=cascade_pb2.RemoteData(room="another", message=message)),
        CascadeMessage(room=cascade_pb2.RemoteRoom(room="room", gone=[cascade_pb2.RemoteGone(participant_id=bob.id)])),
        snapshot(participant("alice"), participant("last")),
    )
    await until(lambda: "last" in node.identities())
    assert node.participant("bob") is bob
    assert not node.media.named("send_data")
    assert not node.live().voices._elsewhere


async def test_the_greater_id_does_not_call_and_the_lesser_is_not_invited(
    cluster: TestCluster, node: ClusterNode
) -> None:
    for name in ("c", "b"):
        wrong = OtherNode(node, cluster, name)
        assert await wrong.call.code() is grpc.StatusCode.PERMISSION_DENIED
        await wrong.close()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{cluster.ports['b']}") as channel:
        invite: Any = channel.unary_unary(INVITE, request_serializer=cascade_pb2.CascadeInvitation.SerializeToString)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await invite(cascade_pb2.CascadeInvitation(), metadata=(("node", "a"),))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await invite(cascade_pb2.CascadeInvitation())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_node_that_says_nothing_more_is_given_up(node: ClusterNode, other: OtherNode) -> None:
    await other.say(hello(), snapshot(participant("alice")))
    await until(lambda: "alice" in node.identities())
    await until(lambda: not node.cascade.peer("a").is_open, patience=3)
    assert "alice" in node.identities(), "who is only not heard is not gone"
