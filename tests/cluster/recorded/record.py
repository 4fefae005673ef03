"""Records what a node says that has a bit of everything to say: `python -m tests.cluster.recorded.record NAME`.

Run it with each new protocol version and keep the former files: every release understands those of the one before.
"""

import asyncio
import sys
from typing import Any

from control_plane.cluster.cascade import stream
from pysfu.v1 import models_pb2, signaling_pb2
from tests.cluster import recorded
from tests.cluster.nodes import TestCluster
from tests.cluster.waiting import until
from tests.control_plane.recording import RecordingMedia


class _Tap:
    """A pipe that keeps what is written."""

    def __init__(self, pipe: Any, said: list[bytes]) -> None:
        self._pipe = pipe
        self._said = said
        self.read = pipe.read

    async def write(self, message: bytes) -> None:
        self._said.append(message)
        await self._pipe.write(message)


async def record(name: str) -> None:
    said: list[bytes] = []
    async with TestCluster(RecordingMedia) as cluster:
        one, other = await cluster.node("a"), await cluster.node("b")
        real = stream.Stream.__init__

        def tapped(self: Any, pipe: Any, user: Any, patience: float = stream.HELLO_TIMEOUT) -> None:
            real(self, _Tap(pipe, said) if user is one.cascade.peer("b") else pipe, user, patience)

        stream.Stream.__init__ = tapped  # type: ignore[method-assign]
        cluster.hold(one, other)
        await other.client("bob", auto_subscribe=False)
        alice = await one.client("alice", name="Alice", auto_publish=True)
        track = signaling_pb2.AddTrack(cid="screen", kind=models_pb2.MEDIA_KIND_VIDEO, backup_codecs=["video/VP8"])
        await alice.send(add_track=track)
        await alice.offer("chromium_publish")
        await alice.send(
            subscription_permission=signaling_pb2.SubscriptionPermission(
                allowed=[signaling_pb2.SubscriptionPermission.Allowed(identity="bob", all_tracks=True)]
            )
        )
        await one.client("carol")
        await until(lambda: other.participant("carol") and not other.participant("alice").rules.everyone)
        session = one.participant("alice").session
        handle = next(track.first.handle for track in session.participant.tracks.values() if track.kind == "audio")
        one.media.emit("audio_levels", [(handle, 30, True)])
        session.handle(
            signaling_pb2.SessionRequest(
                send_data=signaling_pb2.SendData(message=models_pb2.DataMessage(label="chat", payload=b"hello"))
            )
        )
        one.live().set_metadata("of the room")
        one.cascade.peer("b").relays.rotate()
        one.participant("carol").session.leave(models_pb2.DISCONNECT_REASON_CLIENT_INITIATED)
        await asyncio.sleep(1.0)
        one.plane.node.end_room(one.live())
        await asyncio.sleep(0.5)
    recorded.write(name, said)
    print(f"{len(said)} messages, {sum(len(message) for message in said)} octets")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
