"""What nodes of one release say of sessions is understood by the next: messages of earlier releases are kept in files.

`python -m tests.cluster.test_moving_format` writes those of this release; files of earlier ones stay as they are.
"""

import asyncio
from pathlib import Path

import pytest

from control_plane.auth import Grants, Token
from control_plane.cluster.moving import arriving
from control_plane.cluster.moving.leaving import FORMAT, session_state
from control_plane.errors import FailedPreconditionError, InvalidArgumentError
from control_plane.node import Node, NodeLimits
from control_plane.session import Session
from control_plane.store import InProcessStore
from pysfu.v1 import models_pb2, moving_pb2, signaling_pb2
from tests.control_plane.client import recorded
from tests.control_plane.recording import RecordingMedia

RECORDED = Path(__file__).parent / "recorded"
RELEASE = "0.1"
VIEWER = signaling_pb2.UpdateTrackSettings(width=320, height=180, priority=4)


def test_a_session_of_an_earlier_release_goes_on() -> None:
    for path in sorted(RECORDED.glob("session-*.bin")):
        state = moving_pb2.SessionState.FromString(path.read_bytes())
        asyncio.run(_goes_on(state))


def test_requests_of_an_earlier_release_are_understood() -> None:
    for path in sorted(RECORDED.glob("take-*.bin")):
        request = moving_pb2.TakeSession.FromString(path.read_bytes())
        assert (request.room, request.identity) == ("room", "alice")
        assert request.session_id.startswith("SE_")
        assert 1 <= request.format <= FORMAT
    for path in sorted(RECORDED.glob("prepare-*.bin")):
        prepare = moving_pb2.PrepareMove.FromString(path.read_bytes())
        assert (prepare.room, list(prepare.participant_ids)) == ("room", ["PA_alice"])


def test_what_a_later_release_adds_is_skipped() -> None:
    state = moving_pb2.SessionState.FromString((RECORDED / f"session-{RELEASE}-split.bin").read_bytes())
    # Field 1000, a string, as a later release may add it: at the top and in what it holds.
    added = b"\xc2\x3e\x05hello"
    later = moving_pb2.SessionState.FromString(state.SerializeToString() + added)
    publication = later.publications[0].SerializeToString() + added
    later.publications[0].CopyFrom(moving_pb2.SessionState.Publication.FromString(publication))
    asyncio.run(_goes_on(moving_pb2.SessionState.FromString(later.SerializeToString())))


def test_a_format_that_this_release_cannot_read_is_refused() -> None:
    state = moving_pb2.SessionState.FromString((RECORDED / f"session-{RELEASE}-single.bin").read_bytes())
    state.format = FORMAT + 1
    with pytest.raises(FailedPreconditionError, match="format"):
        arriving.check(state)


@pytest.mark.parametrize("bad", ["identity", "form", "kind", "slot", "many"])
def test_a_malformed_session_is_refused(bad: str) -> None:
    state = moving_pb2.SessionState.FromString((RECORDED / f"session-{RELEASE}-split.bin").read_bytes())
    if bad == "identity":
        state.participant.identity = ""
    elif bad == "form":
        del state.publications[0].forms[:]
    elif bad == "kind":
        state.publications[0].track.kind = models_pb2.MEDIA_KIND_UNSPECIFIED
    elif bad == "slot":
        state.server_offered.slots.add(mid="x")
    else:
        state.publications.extend([state.publications[0]] * 1_000)
    with pytest.raises(InvalidArgumentError):
        arriving.check(state)


async def _goes_on(state: moving_pb2.SessionState) -> None:
    arriving.check(state)
    node = _node()
    live = node.create_room("room")
    session = arriving.revive(state, live, node.fec)
    assert (session.participant.id, session.participant.identity) == (state.participant.id, "alice")
    assert session.participant.info.metadata == "kept"
    assert not session.participant.rules.everyone
    assert session.choices.explicit == {"TR_chosen": False}
    assert session.settings["TR_chosen"] == VIEWER
    (track,) = session.participant.tracks.values()
    assert track.id == state.publications[0].track.id
    assert session.publisher.is_expecting
    again = session_state(session, state.session_id, node.core.snapshot().layers)
    assert again.client_offered.version == state.client_offered.version
    assert [slot.mid for slot in again.server_offered.slots] == [slot.mid for slot in state.server_offered.slots]
    session.handle(signaling_pb2.SessionRequest(offer=signaling_pb2.SessionDescription(sdp=recorded(_OFFER))))
    assert not session.publisher.is_expecting
    assert track.first.handle is not None
    node.stop()


_OFFER = "chromium_publish"


def _node() -> Node:
    return Node(RecordingMedia(), InProcessStore(), NodeLimits(), "test", "a")


async def _record(layout: "signaling_pb2.Join.Layout.ValueType") -> moving_pb2.SessionState:
    node = _node()
    token = Token("alice", Grants(room="room", room_join=True))
    channels = ["_reliable", "_lossy"] if layout == signaling_pb2.Join.LAYOUT_SPLIT else []
    join = signaling_pb2.Join(layout=layout, metadata="kept", auto_subscribe=True, data_channels=channels)
    session: Session = node.join(token, join, 1)
    kind, source = models_pb2.MEDIA_KIND_VIDEO, models_pb2.TRACK_SOURCE_CAMERA
    session.handle(
        signaling_pb2.SessionRequest(add_track=signaling_pb2.AddTrack(cid="camera", kind=kind, source=source))
    )
    session.handle(signaling_pb2.SessionRequest(offer=signaling_pb2.SessionDescription(sdp=recorded(_OFFER))))
    session.choices.explicit["TR_chosen"] = False
    session.settings["TR_chosen"] = VIEWER
    session.handle(signaling_pb2.SessionRequest(subscription_permission=signaling_pb2.SubscriptionPermission()))
    if session.subscriber is not None:
        session.subscriber.next_offer()
    for offers in session.transports():
        if offers.peer is not None:
            offers.peer.channels = {
                "_reliable": (1, "_reliable", True, None, None),
                "_lossy": (3, "_lossy", False, 0, None),
            }
    state = session_state(session, "SE_secret.b", node.core.snapshot().layers)
    node.stop()
    return state


async def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    for name, layout in (("single", signaling_pb2.Join.LAYOUT_SINGLE), ("split", signaling_pb2.Join.LAYOUT_SPLIT)):
        state = await _record(layout)
        (RECORDED / f"session-{RELEASE}-{name}.bin").write_bytes(state.SerializeToString(deterministic=True))
    take = moving_pb2.TakeSession(room="room", identity="alice", session_id="SE_secret.b", format=FORMAT)
    (RECORDED / f"take-{RELEASE}.bin").write_bytes(take.SerializeToString(deterministic=True))
    prepare = moving_pb2.PrepareMove(room="room", participant_ids=["PA_alice"])
    (RECORDED / f"prepare-{RELEASE}.bin").write_bytes(prepare.SerializeToString(deterministic=True))


if __name__ == "__main__":
    asyncio.run(main())
