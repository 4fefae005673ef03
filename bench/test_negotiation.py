"""What negotiating an offer costs the control plane, apart from transport and media."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from control_plane.negotiation.answer import Answer, answer
from control_plane.negotiation.model import Description, IceCredentials, LocalTransport
from control_plane.negotiation.parse import parse
from tests.control_plane.client import recorded

LOCAL = LocalTransport(IceCredentials("locl", "p" * 24), ":".join(["AB"] * 32), (("192.0.2.1", 7882),))
# A simulcast publisher, a receiver of several tracks, and what LiveKit's client offers at first: all from Chromium.
OFFERS = ["chromium_simulcast", "chromium_receive", "livekit_js_v1"]


@pytest.mark.parametrize("name", OFFERS)
def test_parse(benchmark: BenchmarkFixture, name: str) -> None:
    sdp = recorded(name)
    description: Description = benchmark(parse, sdp)
    assert description.sections
    benchmark.extra_info["bytes"] = len(sdp)
    benchmark.extra_info["sections"] = len(description.sections)


@pytest.mark.parametrize("name", OFFERS)
def test_offer_to_answer(benchmark: BenchmarkFixture, name: str) -> None:
    sdp = recorded(name)

    def negotiate() -> Answer:
        return answer(parse(sdp), LOCAL, {}, session_id=1, version=1)

    result: Answer = benchmark(negotiate)
    assert result.sdp.count("\r\nm=") == sdp.count("\r\nm=")
    benchmark.extra_info["bytes"] = len(sdp)
