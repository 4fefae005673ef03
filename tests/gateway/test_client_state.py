"""What LiveKit's clients say of what they have when they resume."""

import pytest
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane.gateway.livekit import from_livekit


def described(sdp: str, *tracks: str) -> lr.SignalRequest:
    published = [lr.TrackPublishedResponse(cid="mic", track=lm.TrackInfo(sid=sid)) for sid in tracks]
    offer = lr.SessionDescription(type="offer", sdp=sdp)
    return lr.SignalRequest(sync_state=lr.SyncState(offer=offer, publish_tracks=published))


@pytest.mark.parametrize(
    ("sdp", "expected"),
    [
        ("v=0\r\no=- 4611686018427387904 7 IN IP4 0.0.0.0\r\ns=-\r\n", (4611686018427387904, 7)),
        ("v=0\r\no=mozilla...THIS_IS 1 0 IN IP4 0.0.0.0\r\n", (1, 0)),
        ("", (0, 0)),
        ("v=0\r\no=- 99999999999999999999 7 IN IP4 0.0.0.0\r\n", (0, 0)),
        ("v=0\r\no=- 7 99999999999999999999999999 IN IP4 0.0.0.0\r\n", (0, 0)),
        ("v=0\r\no=- \u0661 \u0662 IN IP4 0.0.0.0\r\n", (0, 0)),
    ],
)
def test_which_offer_it_has(sdp: str, expected: tuple[int, int]) -> None:
    (request,) = from_livekit.requests(described(sdp, "TR_1", "TR_2"))
    state = request.client_state
    assert (state.sdp_session_id, state.sdp_version) == expected
    assert list(state.track_ids) == ["TR_1", "TR_2"]
