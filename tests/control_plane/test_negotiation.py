"""Offers as real peers write them, what is answered, and what is refused."""

import re
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from control_plane.negotiation.answer import Answer, answer
from control_plane.negotiation.assign import assign
from control_plane.negotiation.codecs import OFFERED, offer_codecs, payload_map, red_payload
from control_plane.negotiation.model import (
    Codec,
    FecFormats,
    FecPolicy,
    IceCredentials,
    LocalTransport,
    NegotiationError,
    Parity,
    ReceiveOptions,
    SectionPlan,
    Sending,
)
from control_plane.negotiation.offer import OfferedSection, offer, read_answer
from control_plane.negotiation.parse import MAX_SDP_BYTES, parse
from control_plane.negotiation.write import candidate_lines
from tests.control_plane.client import OFFERS, recorded

LOCAL = LocalTransport(
    IceCredentials("locl", "p" * 24), ":".join(["AB"] * 32), (("192.0.2.1", 7882), ("2001:db8::1", 7882))
)
NAMES = sorted(path.stem for path in Path(OFFERS).glob("*.sdp"))


def answered(name_or_sdp: str, **plans: SectionPlan) -> Answer:
    sdp = name_or_sdp if name_or_sdp.startswith("v=0") else recorded(name_or_sdp)
    by_mid = {mid.removeprefix("mid"): plan for mid, plan in plans.items()}
    return answer(parse(sdp), LOCAL, by_mid, session_id=1, version=1)


def block(sdp: str, mid: str) -> list[str]:
    """Lines of one section."""
    return next(part.split("\r\n") for part in sdp.split("\r\nm=")[1:] if f"a=mid:{mid}\r\n" in part + "\r\n")


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_offer_is_answered_section_by_section(name: str) -> None:
    description = parse(recorded(name))
    result = answered(name)
    ours = re.findall(r"^a=mid:(.+)\r$", result.sdp, re.M)
    assert ours == [section.mid for section in description.sections]
    assert result.sdp.count("\r\nm=") == len(description.sections)
    assert "\r\na=ice-lite\r\n" in result.sdp
    assert result.sdp.count("a=setup:passive\r\n") == len(description.sections)
    assert result.sdp.count("a=end-of-candidates\r\n") == 1
    assert f"a=group:BUNDLE {' '.join(description.bundle)}\r\n" in result.sdp
    assert re.search(r"^m=\w+ 0 ", result.sdp, re.M) is None
    reverse = {"sendonly": "recvonly", "recvonly": "inactive", "sendrecv": "recvonly"}
    for section in description.sections:
        if section.is_media:
            assert f"a={reverse[section.direction]}" in block(result.sdp, section.mid)
            assert {"audio": "opus", "video": "vp8"}[section.kind] in {c.name for c in section.media.codecs}


@pytest.mark.parametrize(
    ("name", "layers", "ssrcs", "rtx", "extensions"),
    [
        ("chromium_simulcast", ("q", "h", "f"), 0, True, {"mid": 4, "rid": 10, "repaired_rid": 11, "transport_cc": 3}),
        ("chromium_publish", (), 1, True, {"mid": 4, "rid": 10, "audio_level": 1, "abs_send_time": 2}),
        ("firefox_simulcast", ("q", "h", "f"), 3, True, {"mid": 3, "rid": 9, "transport_cc": 7}),
        ("firefox_publish", (), 1, True, {"mid": 3, "transport_cc": 7, "playout_delay": 6}),
        ("aiortc_sendonly", (), 1, True, {"mid": 1, "audio_level": 2, "abs_send_time": 3}),
        ("safari_sendrecv", (), 1, True, {"mid": 4, "rid": 10, "video_orientation": 13}),
    ],
)
def test_what_publishers_send_is_read(
    name: str, layers: tuple[str, ...], ssrcs: int, rtx: bool, extensions: dict[str, int]
) -> None:
    agreed = answered(name).agreement
    video = next(section for section in agreed.sections.values() if section.kind == "video")
    assert video.rids == layers
    assert len(video.ssrcs) == ssrcs
    assert all((item.rtx is not None) == rtx for item in video.ssrcs)
    assert extensions.items() <= agreed.extension_ids.items()
    assert all(codec.rtx is not None for codec in video.codecs)
    assert agreed.data


@pytest.mark.parametrize("name", NAMES)
def test_an_offer_is_read_once(name: str) -> None:
    assert parse(recorded(name)) is parse(recorded(name))


@pytest.mark.parametrize("name", ["chromium_publish", "firefox_simulcast", "livekit_js_v1"])
def test_formats_are_parsed_once_for_clients_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parse(recorded(name))

    def again(_: str) -> SessionDescription:
        raise AssertionError("formats are parsed again")

    monkeypatch.setattr(SessionDescription, "parse", again)
    sdp = re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:another", recorded(name))
    other = parse(re.sub(r"(a=ssrc(?:-group:FID)?[: ])(\d+)", r"\g<1>7", sdp))
    assert other.transport != first.transport
    for one, two in zip(first.sections, other.sections, strict=True):
        assert (one.media.codecs, one.media.extensions) == (two.media.codecs, two.media.extensions)
        assert not one.media.ssrcs or two.media.ssrcs[0].ssrc == 7


def test_transport_wide_feedback_wins_over_remb() -> None:
    chromium, aiortc = answered("chromium_simulcast").agreement, answered("aiortc_sendonly").agreement
    assert (chromium.transport_cc, chromium.remb) == (True, False)
    assert (aiortc.transport_cc, aiortc.remb) == (False, True)


CCFB = "a=rtcp-fb:* ack ccfb"


def test_feedback_by_stream_is_offered_beside_transport_wide() -> None:
    publisher = offer_codecs("video", parse(recorded("chromium_publish")).sections[1].media.codecs)
    sections = [OfferedSection("0", "video", Sending("PA", "TR", 1, 2), publisher)]
    lines = block(offer(sections, LOCAL, data=False, session_id=1, version=1), "0")
    # RFC 8888 section 6: for all payload types of the section at once.
    assert lines.count(CCFB) == 1
    assert "a=rtcp-fb:96 transport-cc" in lines


@pytest.mark.parametrize(
    ("name", "keeps_transport_wide", "expected"),
    [
        ("chromium_receive", True, False),
        ("chromium_receive", False, True),
        # What the client sends is told of by transport-wide feedback, and the transport has one kind.
        ("chromium_sendrecv", False, False),
        ("chromium_publish", False, False),
    ],
)
def test_feedback_by_stream_is_taken_where_nothing_better_is_offered(
    name: str, keeps_transport_wide: bool, expected: bool
) -> None:
    sdp = recorded(name)
    if not keeps_transport_wide:
        sdp = re.sub(r"a=rtcp-fb:\d+ transport-cc\r\n", "", sdp)
    assert CCFB not in answered(sdp).sdp
    sdp = re.sub(r"(?m)^(a=mid:\d+)\r$", rf"\1\r\n{CCFB}\r", sdp)
    result = answered(sdp)
    media = [section.mid for section in parse(sdp).sections if section.is_media]
    assert [CCFB in block(result.sdp, mid) for mid in media] == [expected] * len(media)
    assert result.agreement.transport_cc is keeps_transport_wide


def test_simulcast_is_mirrored() -> None:
    lines = block(answered("chromium_simulcast").sdp, "1")
    assert "a=simulcast:recv q;h;f" in lines
    assert [line for line in lines if line.startswith("a=rid:")] == [f"a=rid:{rid} recv" for rid in "qhf"]


@pytest.mark.parametrize("name", ["livekit_js_v1", "livekit_python_v1", "chromium_receive"])
def test_first_single_layout_answer_takes_layer_ids_in_every_video_section(name: str) -> None:
    sdp = answered(name).sdp
    for section in parse(recorded(name)).sections:
        if section.kind == "video":
            text = "\n".join(block(sdp, section.mid))
            assert "sdes:rtp-stream-id" in text
            assert "sdes:repaired-rtp-stream-id" in text


def test_directions_of_extensions_are_mirrored() -> None:
    lines = block(answered("firefox_simulcast").sdp, "1")
    assert "a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" in lines
    assert "a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay" in lines


def test_a_sending_section_names_stream_and_sources() -> None:
    sending = Sending("PA_a", "TR_b", 11, 12)
    lines = block(answered("livekit_js_v1", mid3=SectionPlan(send=sending)).sdp, "3")
    assert "a=sendonly" in lines
    assert "a=msid:PA_a|TR_b TR_b" in lines
    assert "a=ssrc-group:FID 11 12" in lines
    assert "a=ssrc:12 cname:PA_a" in lines


def test_sections_may_begin_at_any_mid_and_first_rejected_moves_the_tag() -> None:
    sdp = re.sub(r"a=mid:(\d)", lambda m: f"a=mid:{int(m[1]) + 7}", recorded("chromium_simulcast"))
    sdp = sdp.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 7 8 9")
    assert "a=group:BUNDLE 7 8 9" in answered(sdp).sdp
    # Nothing in the audio section is supported: it is rejected, the candidates move on.
    nothing = sdp.replace("opus/48000/2", "opus/16000/2").replace("red/48000/2", "red/8000/2")
    result = answered(nothing)
    assert "a=group:BUNDLE 8 9" in result.sdp
    assert block(result.sdp, "7")[0].startswith("audio 0 ")
    assert "a=end-of-candidates" in block(result.sdp, "8")


def test_preferred_codec_comes_first_and_opus_is_shaped() -> None:
    plan = SectionPlan(receive=ReceiveOptions(preferred_codec="video/VP9"))
    video = answered("chromium_publish", mid1=plan).agreement.sections["1"]
    assert [codec.name for codec in video.codecs[:2]] == ["vp9", "vp9"]
    music = SectionPlan(receive=ReceiveOptions(stereo=True, dtx=True, red=False))
    lines = block(answered("chromium_publish", mid0=music).sdp, "0")
    assert "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;usedtx=1" in lines
    assert not any("red/48000" in line for line in lines)


def test_publishing_that_is_not_allowed_is_answered_inactive() -> None:
    result = answered("chromium_publish", mid1=SectionPlan(accept=False))
    assert "a=inactive" in block(result.sdp, "1")
    assert result.agreement.sections["1"].direction == "inactive"


def test_host_candidates_are_ranked() -> None:
    assert candidate_lines(LOCAL.candidates) == [
        "candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host",
        "candidate:2 1 udp 2130706175 2001:db8::1 7882 typ host",
    ]


GOOD = recorded("chromium_simulcast")
FINGERPRINT = next(line for line in GOOD.split("\r\n") if line.startswith("a=fingerprint"))


@pytest.mark.parametrize(
    ("sdp", "section", "attribute", "reason"),
    [
        ("", None, None, "does not begin with v=0"),
        ("v=0\r\n", None, None, "no media section"),
        ("hello", None, None, "not of the form"),
        ("v=0\r\n" + "a=x\r\n" * (MAX_SDP_BYTES // 4), None, None, "longer than"),
        ("v=0\r\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 2_001, None, None, "more than 2000 sections"),
        ("v=0\r\n" + "a=x\r\n" * 2_001, None, None, "more than 2000 lines"),
        (GOOD.replace("s=-", "s=ü"), None, None, "outside of ASCII"),
        (GOOD.replace("a=group:BUNDLE 0 1 2\r\n", ""), "0", "group", "not in the BUNDLE group"),
        (GOOD.replace("BUNDLE 0 1 2", "BUNDLE 0 1"), "2", "group", "not in the BUNDLE group"),
        (GOOD.replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 3"), None, "group", "unknown section '3'"),
        (GOOD.replace("a=mid:1\r\n", "a=mid:0\r\n"), "0", "mid", "two sections"),
        (GOOD.replace("a=mid:1\r\n", ""), "#1", "mid", "is missing"),
        (GOOD.replace("a=mid:1\r\n", "a=mid:" + "1" * 17 + "\r\n"), "#1", "mid", "malformed"),
        (GOOD.replace("a=rtcp-mux\r\n", "", 1), "0", "rtcp-mux", "required"),
        (GOOD.replace("a=setup:actpass", "a=setup:passive"), "0", "setup", "must be able to be active"),
        (GOOD.replace("a=setup:actpass", "a=setup:maybe"), "#0", "setup", "malformed"),
        (re.sub(r"a=ice-pwd:.*\r\n", "", GOOD), "0", "ice-ufrag", "missing"),
        (re.sub(r"a=ice-pwd:.*\r\n", "a=ice-pwd:short\r\n", GOOD), "#0", "ice-pwd", "malformed"),
        (GOOD.replace(FINGERPRINT + "\r\n", ""), "0", "fingerprint", "no SHA-256"),
        (GOOD.replace(FINGERPRINT, FINGERPRINT[:-3]), "0", "fingerprint", "32 bytes"),
        (GOOD.replace("sha-256", "sha-1"), "0", "fingerprint", "no SHA-256"),
        (GOOD.replace("SAVPF 111", "SAVPF 128"), "0", None, "'128' is not within 0 to 127"),
        (GOOD.replace("a=rtpmap:111 ", "a=rtpmap:128 "), "#0", "rtpmap", "malformed"),
        (GOOD.replace("a=rtpmap:63 ", "a=rtpmap:111 "), "0", "rtpmap", "mapped twice"),
        (GOOD.replace("a=fmtp:97 apt=96", "a=fmtp:apt"), "#1", "fmtp", "malformed"),
        (GOOD.replace("a=extmap:4 ", "a=extmap:0 "), "#0", "extmap", "malformed"),
        (GOOD.replace("a=extmap:1 urn", "a=extmap:4 urn"), "0", "extmap", "differs between"),
        (GOOD.replace("send q;h;f", "send q;h;z"), "1", "simulcast", "'z' has no a=rid"),
        (GOOD.replace("a=ssrc:2306964873 cname", "a=ssrc:9999999999 cname"), "0", "ssrc", "32-bit"),
        (GOOD.replace("m=video 9 ", "m=video x "), "#1", None, "malformed line"),
        (GOOD.replace("sctp-port:5000", "sctp-port:0"), "2", "sctp-port", "not a port"),
        (re.sub(r"m=(audio|video) 9", r"m=\1 0", GOOD).replace("n 9 U", "n 0 U"), None, None, "not rejected"),
    ],
)
def test_bad_descriptions_are_refused_by_section_and_attribute(
    sdp: str, section: str | None, attribute: str | None, reason: str
) -> None:
    with pytest.raises(NegotiationError, match=reason) as refused:
        answered(sdp) if sdp.startswith("v=0") else parse(sdp)
    assert (refused.value.section, refused.value.attribute) == (section, attribute)


def test_every_cut_and_every_lost_line_is_answered_or_refused() -> None:
    lines = GOOD.split("\r\n")
    variants = [GOOD[:cut] for cut in range(0, len(GOOD), 37)]
    variants += ["\r\n".join(lines[:index] + lines[index + 1 :]) for index in range(len(lines))]
    variants += [
        "\r\n".join([*lines[:index], lines[index][:-1], *lines[index + 1 :]]) for index in range(len(lines) - 1)
    ]
    answers, reasons = 0, []
    for sdp in variants:
        try:
            answer(parse(sdp), LOCAL, {}, session_id=1, version=1)
            answers += 1
        except NegotiationError as error:
            reasons.append(str(error))
    assert answers + len(reasons) == len(variants)
    assert answers > 0
    assert all(reason.startswith("session description: ") for reason in reasons)


def h264(payload_type: int, profile: str) -> Codec:
    fmtp = f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}"
    return Codec(payload_type, "h264", 90_000, None, fmtp, payload_type + 1)


OPUS, RED = Codec(111, "opus", 48_000, 2), Codec(63, "red", 48_000, 2, "111/111")
VP9 = [Codec(98 + profile, "vp9", 90_000, None, f"profile-id={profile}", 99 + profile) for profile in (0, 2)]


@pytest.mark.parametrize(
    ("publisher", "subscriber", "expected"),
    [
        ([OPUS], [Codec(96, "opus", 48_000, 2)], [(111, 96, None)]),
        ([OPUS, RED], [Codec(96, "opus", 48_000, 2)], [(111, 96, None)]),
        ([OPUS, RED], [OPUS, RED], [(111, 111, None)]),
        (VP9, [VP9[1], VP9[0]], [(98, 98, 99), (100, 100, 101)]),
        ([VP9[1]], [VP9[0]], []),
        ([Codec(98, "vp9", 90_000)], [VP9[0]], [(98, 98, 99)]),
        # The same profile, written differently (RFC 6184 table 5), at another level.
        ([h264(102, "42e01f")], [h264(108, "42c034")], [(102, 108, 109)]),
        ([h264(102, "42e01f")], [h264(104, "64001f"), h264(108, "42e01f")], [(102, 108, 109)]),
        # A baseline stream is a high one too; the reverse is not.
        ([h264(102, "42e01f")], [h264(104, "640c1f")], [(102, 104, 105)]),
        ([h264(102, "64001f")], [h264(104, "42e01f")], []),
        ([Codec(45, "av1", 90_000)], [Codec(45, "vp8", 90_000)], []),
    ],
)
def test_payload_types_translate(
    publisher: list[Codec], subscriber: list[Codec], expected: list[tuple[int, int, int | None]]
) -> None:
    found = [(item.source, item.target, item.rtx) for item in payload_map(publisher, subscriber)]
    assert found == expected


@pytest.mark.parametrize(
    ("sections", "bound", "wanted", "expected", "missing"),
    [
        ([("0", "audio"), ("1", "video")], {}, [("a", "audio"), ("v", "video")], {"0": "a", "1": "v"}, {}),
        ([("0", "audio")], {}, [("a", "audio"), ("b", "audio"), ("v", "video")], {"0": "a"}, {"audio": 1, "video": 1}),
        # What is bound stays, whatever the order.
        ([("0", "audio"), ("1", "audio")], {"1": "a"}, [("b", "audio"), ("a", "audio")], {"0": "b", "1": "a"}, {}),
        # A freed section rests for one answer.
        ([("0", "audio")], {"0": "gone"}, [("a", "audio")], {}, {"audio": 1}),
        ([("0", "audio"), ("1", "audio")], {"0": "gone"}, [("a", "audio")], {"1": "a"}, {}),
        # A section that no longer receives loses its track.
        ([("1", "audio")], {"0": "a"}, [("a", "audio")], {"1": "a"}, {}),
    ],
)
def test_tracks_are_assigned_to_sections(
    sections: list[tuple[str, str]],
    bound: dict[str, str],
    wanted: list[tuple[str, str]],
    expected: dict[str, str],
    missing: dict[str, int],
) -> None:
    result = assign(sections, bound, wanted)
    assert (dict(result.bound), dict(result.missing)) == (expected, missing)


@pytest.mark.parametrize(
    ("subscriber", "expected"),
    [
        ([OPUS, RED], 63),
        ([RED, OPUS], 63),
        ([OPUS], None),
        ([RED], None),
        # Of another payload type than its Opus, and of two that are.
        ([Codec(96, "opus", 48_000, 2), RED], None),
        ([OPUS, Codec(64, "red", 48_000, 2, "111/111/111")], 64),
        ([OPUS, Codec(64, "red", 48_000, 2)], None),
    ],
)
def test_redundancy_needs_blocks_of_the_subscribers_opus(subscriber: list[Codec], expected: int | None) -> None:
    assert red_payload(subscriber) == expected


def test_our_offer_carries_only_what_the_publisher_may_send() -> None:
    for publisher in ([OPUS], [RED, OPUS]):
        # Redundancy is ours to add, whatever the publisher sends.
        assert [codec.name for codec in offer_codecs("audio", publisher)] == ["opus", "red"]
    assert [codec.payload_type for codec in offer_codecs("video", [h264(120, "42e01f")])] == [102, 104, 106, 108]
    assert offer_codecs("video", VP9) == (OFFERED["video"][1], OFFERED["video"][2])


async def test_aiortc_answers_our_offer() -> None:
    sections = [
        OfferedSection("a0", "audio", Sending("PA_a", "TR_a", 1, 2), (OPUS,)),
        OfferedSection("v1", "video", Sending("PA_a", "TR_v", 3, 4), (Codec(120, "vp8", 90_000, None, "", 121),)),
    ]
    sdp = offer(sections, LOCAL, data=True, session_id=1, version=1)
    peer = RTCPeerConnection()
    try:
        await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        agreed = read_answer(parse(peer.localDescription.sdp), sections, data=True)
    finally:
        await peer.close()
    assert agreed.data
    assert [codec.payload_type for codec in agreed.sections["v1"].codecs] == [96]
    assert agreed.sections["v1"].codecs[0].rtx == 97
    assert agreed.extension_ids["mid"] == 4
    with pytest.raises(NegotiationError, match="not those of the offer"):
        read_answer(parse(sdp.replace("actpass", "active")), sections[:1], data=True)


def test_parity_is_answered_where_a_client_receives() -> None:
    # Chromium offers both for what it receives.
    plan = SectionPlan(send=Sending("PA_a", "TR_b", 11, 12, 13))
    result = answered("livekit_js_v1", mid3=plan)
    lines = block(result.sdp, "3")
    assert result.agreement.sections["3"].fec == FecFormats(flexfec=49, red=118, red_rtx=119, ulpfec=120)
    assert "a=rtpmap:118 red/90000" in lines
    assert "a=fmtp:119 apt=118" in lines
    assert "a=rtpmap:120 ulpfec/90000" in lines
    assert "a=rtpmap:49 flexfec-03/90000" in lines
    # RFC 5956: FlexFEC has a stream of its own.
    assert "a=ssrc-group:FEC-FR 11 13" in lines
    assert "a=ssrc:13 cname:PA_a" in lines


def test_without_flexfec_it_has_no_stream() -> None:
    sdp = recorded("livekit_js_v1").replace("flexfec-03/90000", "flexfec-99/90000")
    result = answered(sdp, mid3=SectionPlan(send=Sending("PA_a", "TR_b", 11, 12, 13)))
    assert result.agreement.sections["3"].fec == FecFormats(None, 118, 119, 120)
    assert "FEC-FR" not in result.sdp


def test_parity_can_be_declined() -> None:
    description = parse(recorded("livekit_js_v1"))
    plan = SectionPlan(send=Sending("PA_a", "TR_b", 11, 12, 13))
    result = answer(description, LOCAL, {"3": plan}, session_id=1, version=1, fec_policy=FecPolicy(send=False))
    assert re.search("flexfec|ulpfec|FEC-FR", result.sdp) is None
    sections = [OfferedSection("v1", "video", plan.send, (Codec(120, "vp8", 90_000, None, "", 121),))]
    sdp = offer(sections, LOCAL, data=False, session_id=1, version=1, with_fec=False)
    assert re.search("flexfec|ulpfec|FEC-FR", sdp) is None
    assert "red/90000" not in sdp


ULPFEC = FecFormats(None, 118, 119, 120)
FLEXFEC_OFFERED = ("a=rtpmap:120 ulpfec/90000\r\n", "a=rtpmap:120 ulpfec/90000\r\na=rtpmap:49 flexfec-03/90000\r\n")


@pytest.mark.parametrize(
    ("name", "mid", "change", "codec", "taken", "expected"),
    [
        ("chromium_simulcast", "1", None, "", "any", ULPFEC),
        ("chromium_publish", "1", None, "video/VP9", "any", ULPFEC),
        ("firefox_simulcast", "1", None, "", "any", FecFormats(None, 122, 119, 123)),
        # Senders leave it out beside H.264 and AV1, whose pictures have no numbers.
        ("chromium_publish", "1", None, "video/H264", "any", FecFormats()),
        ("chromium_publish", "1", None, "video/AV1", "any", FecFormats()),
        # FlexFEC is enough, for every codec.
        ("chromium_publish", "1", FLEXFEC_OFFERED, "", "any", FecFormats(flexfec=49)),
        ("chromium_publish", "1", FLEXFEC_OFFERED, "video/H264", "flexfec", FecFormats(flexfec=49)),
        ("chromium_publish", "1", None, "", "flexfec", FecFormats()),
        ("chromium_publish", "1", FLEXFEC_OFFERED, "", "off", FecFormats()),
        # One without the other is of no use.
        ("chromium_publish", "1", ("ulpfec/90000", "other/90000"), "", "any", FecFormats()),
        ("safari_sendrecv", "1", None, "", "any", FecFormats()),
        ("aiortc_sendonly", "1", None, "", "any", FecFormats()),
        ("chromium_publish", "0", None, "", "any", FecFormats()),
    ],
)
def test_parity_that_publishers_may_send(
    name: str, mid: str, change: tuple[str, str] | None, codec: str, taken: Parity, expected: FecFormats
) -> None:
    sdp = recorded(name) if change is None else recorded(name).replace(*change)
    if change == FLEXFEC_OFFERED:
        sdp = re.sub(r"(m=video [^\r]*)", r"\1 49", sdp)
    plan = SectionPlan(receive=ReceiveOptions(preferred_codec=codec))
    result = answer(
        parse(sdp), LOCAL, {mid: plan}, session_id=1, version=1, fec_policy=FecPolicy(send=False, take=taken)
    )
    agreed = result.agreement.sections[mid]
    assert agreed.fec == expected
    lines = block(result.sdp, mid)
    numbers = [number for number in (agreed.fec.red, agreed.fec.ulpfec, agreed.fec.flexfec) if number is not None]
    assert [line for line in lines if re.search("(flexfec-03|ulpfec|red)/90000", line)] == [
        f"a=rtpmap:{number} {what}/90000"
        for number, what in zip(numbers, ["red", "ulpfec"][: len(numbers)], strict=True)
    ] or numbers == [49]
    assert {str(number) for number in numbers} <= set(lines[0].split())


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({114, 115, 116, 118}, FecFormats(118, 114, 115, 116)),
        ({114, 116}, FecFormats(None, 114, None, 116)),
        ({118}, FecFormats(118)),
        # One without the other is of no use.
        ({114, 115}, FecFormats()),
        (set(), FecFormats()),
    ],
)
def test_parity_of_our_offer_is_what_was_answered(kept: set[int], expected: FecFormats) -> None:
    sending = Sending("PA_a", "TR_v", 3, 4, 5)
    sections = [OfferedSection("v0", "video", sending, (Codec(120, "vp8", 90_000, None, "", 121),))]
    sdp = offer(sections, LOCAL, data=False, session_id=1, version=1)
    assert "a=ssrc-group:FEC-FR 3 5" in sdp
    for number in {114, 115, 116, 118} - kept:
        sdp = re.sub(rf"a=(rtpmap|fmtp):{number} [^\r]*\r\n", "", sdp)
        sdp = re.sub(rf"(m=video [^\r]*?) {number}\b", r"\1", sdp)
    agreed = read_answer(parse(sdp.replace("sendonly", "recvonly")), sections, data=False)
    assert agreed.sections["v0"].fec == expected
    assert [codec.payload_type for codec in agreed.sections["v0"].codecs] == [96]
