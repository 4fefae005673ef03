"""Text and messages of strangers, mutated by seeded chance: each is read, or refused with the error that says so."""

import base64
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane.auth import Grants, Token, Verifier, create_token
from control_plane.errors import UnauthenticatedError
from control_plane.gateway.fragment import FragmentError, parse_fragment, write_fragment
from control_plane.gateway.livekit import connect, from_livekit
from control_plane.gateway.livekit.from_livekit import BadRequestError
from control_plane.negotiation.answer import answer
from control_plane.negotiation.model import IceCredentials, LocalTransport, NegotiationError
from control_plane.negotiation.offer import OfferedSection, read_answer
from control_plane.negotiation.parse import parse
from tests.control_plane.client import OFFERS, recorded

LOCAL = LocalTransport(IceCredentials("locl", "p" * 24), ":".join(["AB"] * 32), (("192.0.2.1", 7882),))
NAMES = sorted(path.stem for path in OFFERS.glob("*.sdp"))
ROUNDS: Final = 400
# Where formats change their mind.
NASTY: Final = [
    *("0", "-1", "1e309", "255", "256", "65535", "65536", "4294967296", "9" * 40, "٣", "²", "\x00", "\ud800", "\u2028"),
    *("*", "%", "=", ":", ";", "/", " ", "\t", "\r", "\n", "\r\n", "a=", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0"),
    *("a=group:BUNDLE 0 0", "x" * 300, "a=ssrc:1 cname:" + "y" * 300, "a=rtpmap:96 VP8/90000", "a=fmtp:97 apt=97"),
]


def mutated_text(chance: random.Random, text: str, other: str) -> str:
    """One to four changes of lines or of characters."""
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\r\n")
        at, where = chance.randrange(len(lines)), chance.randrange(len(text) + 1)
        match chance.randrange(8):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                lines.insert(at, chance.choice(other.split("\r\n")))
            case 3:
                to = chance.randrange(len(lines))
                lines[at], lines[to] = lines[to], lines[at]
            case 4:
                words = lines[at].split(" ")
                words[chance.randrange(len(words))] = chance.choice(NASTY)
                lines[at] = " ".join(words)
            case 5:
                name, _, _ = lines[at].partition(":")
                lines[at] = f"{name}:{chance.choice(NASTY)}"
            case 6:
                lines = (text[:where] + chance.choice(NASTY) + text[where:]).split("\r\n")
            case _:
                lines = (text[:where] + text[where + chance.randint(1, 40) :]).split("\r\n")
        text = "\r\n".join(lines)
    return text


def mutated_octets(chance: random.Random, data: bytes) -> bytes:
    octets = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets) or 1)
        match chance.randrange(5):
            case 0 if octets:
                octets[at] ^= 1 << chance.randrange(8)
            case 1:
                octets.insert(at, chance.choice((0, 1, 0x7F, 0x80, 0xFF)))
            case 2:
                del octets[at : at + chance.randint(1, 8)]
            case 3:
                octets[at:at] = octets[: chance.randrange(64)]
            case _:
                octets[at:at] = chance.randbytes(chance.randint(1, 8))
    return bytes(octets)


@pytest.mark.parametrize("name", NAMES)
def test_descriptions(name: str) -> None:
    chance = random.Random(name)
    accepted = 0
    for _ in range(ROUNDS):
        sdp = mutated_text(chance, recorded(name), recorded(chance.choice(NAMES)))
        try:
            description = parse(sdp)
            result = answer(description, LOCAL, {}, session_id=1, version=1).sdp
        except NegotiationError:
            continue
        accepted += 1
        assert parse(sdp) == description
        # A section for each, and nothing of the offer makes lines of its own.
        assert result.count("\r\nm=") == len(description.sections)
        lines = result.removesuffix("\r\n").split("\r\n")
        assert all(line[1:2] == "=" and line.isprintable() for line in lines), result
        assert len(result) < 10 * len(sdp) + 10_000
    assert ROUNDS // 20 < accepted < ROUNDS, "changes are small, and some are refused"


@pytest.mark.parametrize("data", [False, True])
def test_answers(data: bool) -> None:
    chance = random.Random(1)
    refused = 0
    for name in NAMES:
        sdp = recorded(name).replace("a=setup:actpass", "a=setup:active")
        mids = [section.mid for section in parse(sdp).sections if section.is_media]
        sections = [OfferedSection(mid, "video", None, ()) for mid in mids]
        for _ in range(ROUNDS // 4):
            changed = mutated_text(chance, sdp, recorded(name))
            refused += refuses(lambda: read_answer(parse(changed), sections, data=data), NegotiationError)  # noqa: B023
    assert refused > ROUNDS // 4


def test_fragments() -> None:
    chance = random.Random(2)
    text = (
        "a=ice-ufrag:abcd\r\na=ice-pwd:"
        + "p" * 24
        + "\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
    )
    accepted = 0
    for _ in range(4 * ROUNDS):
        changed = mutated_text(chance, text, recorded(NAMES[0]))
        try:
            fragment = parse_fragment(changed)
        except FragmentError:
            continue
        accepted += 1
        again = parse_fragment(write_fragment(fragment))
        assert again == replace(fragment, mid=fragment.mid or "0")
    assert accepted > ROUNDS // 4


def signals() -> list[lr.SignalRequest]:
    layers = [lm.VideoLayer(width=640, height=360, bitrate=500_000)]
    return [
        lr.SignalRequest(offer=lr.SessionDescription(type="offer", sdp=recorded(NAMES[0]), id=3)),
        lr.SignalRequest(answer=lr.SessionDescription(type="answer", sdp="v=0")),
        lr.SignalRequest(
            trickle=lr.TrickleRequest(candidateInit='{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host"}')
        ),
        lr.SignalRequest(add_track=lr.AddTrackRequest(cid="c", name="n", width=1, height=2, layers=layers)),
        lr.SignalRequest(mute=lr.MuteTrackRequest(sid="TR_1", muted=True)),
        lr.SignalRequest(subscription=lr.UpdateSubscription(track_sids=["TR_1"], subscribe=True)),
        lr.SignalRequest(track_setting=lr.UpdateTrackSettings(track_sids=["TR_1"], width=5, height=6, fps=7)),
        lr.SignalRequest(subscription_permission=lr.SubscriptionPermission(all_participants=True)),
        lr.SignalRequest(update_metadata=lr.UpdateParticipantMetadata(metadata="m", attributes={"a": "b"})),
        lr.SignalRequest(leave=lr.LeaveRequest()),
        lr.SignalRequest(ping_req=lr.Ping(timestamp=1, rtt=2)),
    ]


# What a connection answers and counts; anything else would end it as a fault of ours.
REFUSED = (BadRequestError, DecodeError, json_format.ParseError, ValueError)


def refuses(act: Callable[[], object], *errors: type[Exception]) -> bool:
    try:
        act()
    except errors:
        return True
    return False


def translated(content: bytes | str) -> object:
    """As a connection does."""
    if isinstance(content, str):
        request = json_format.Parse(content, lr.SignalRequest(), ignore_unknown_fields=True)
    else:
        request = lr.SignalRequest.FromString(content)
    return from_livekit.requests(request)


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_messages(form: str) -> None:
    chance = random.Random(form)
    refused = 0
    for request in signals():
        for _ in range(ROUNDS):
            content: bytes | str
            if form == "protobuf":
                content = mutated_octets(chance, request.SerializeToString())
            else:
                content = mutated_text(chance, json_format.MessageToJson(request), '{"offer":{"offer":[[]]}}')
            refused += refuses(partial(translated, content), *REFUSED)
    assert 0 < refused < len(signals()) * ROUNDS


def test_deep_messages() -> None:
    deep = '{"offer":' * 5_000 + "1" + "}" * 5_000
    assert refuses(lambda: json_format.Parse(deep, lr.SignalRequest(), ignore_unknown_fields=True), *REFUSED)
    unknown = '{"x":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert refuses(lambda: json_format.Parse(unknown, lr.SignalRequest(), ignore_unknown_fields=True), *REFUSED)
    for value in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "}" * 100_000, "9" * 10_000):
        nested = lr.TrickleRequest(candidateInit=f'{{"candidate":{value}}}')
        assert refuses(lambda nested=nested: from_livekit.requests(lr.SignalRequest(trickle=nested)), *REFUSED)  # type: ignore[misc]


def test_what_a_client_says_when_it_connects() -> None:
    chance = random.Random(3)
    request = lr.JoinRequest(client_info=lm.ClientInfo(protocol=16), reconnect=True, participant_sid="PA_1")
    content = request.SerializeToString()
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = gzip.compress(content) + gzip.flush()
    refused = 0
    for index in range(8 * ROUNDS):
        inner = packed if index % 2 else content
        wrapped = lr.WrappedJoinRequest(compression=index % 2, join_request=mutated_octets(chance, inner))  # type: ignore[arg-type]
        octets = wrapped.SerializeToString()
        text = base64.urlsafe_b64encode(mutated_octets(chance, octets) if index % 3 == 0 else octets).decode()
        if index % 5 == 0:
            text = mutated_text(chance, text, text)

        def join(text: str = text) -> object:
            return from_livekit.join(connect.from_v1({"join_request": text}), split=False, resume="")

        refused += refuses(join, BadRequestError, ValueError)
        connect.from_v0({"protocol": chance.choice(NASTY), "sdk": chance.choice(NASTY), "reconnect": "1"})
    assert 0 < refused < 8 * ROUNDS


def test_tokens() -> None:
    chance = random.Random(4)
    verifier = Verifier({"key": "secret"})
    token = create_token("key", "secret", Token("alice", Grants(room="r", room_join=True)))
    assert verifier.verify(token).identity == "alice"
    for _ in range(4 * ROUNDS):
        parts = token.split(".")
        part = chance.randrange(3)
        padded = base64.urlsafe_b64decode(parts[part] + "==")
        parts[part] = base64.urlsafe_b64encode(mutated_octets(chance, padded)).decode().rstrip("=")
        for changed in (".".join(parts), mutated_text(chance, token, token)):
            if changed != token and not refuses(lambda changed=changed: verifier.verify(changed), UnauthenticatedError):  # type: ignore[misc]
                # Octets that say nothing more than the same.
                assert verifier.verify(changed) == verifier.verify(token), changed
