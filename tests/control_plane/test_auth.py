"""Tokens: which are refused and why, what is granted, and that we read what LiveKit's own library signs."""

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from livekit import api

from control_plane.auth import Grants, Token, Verifier, create_token
from control_plane.errors import PermissionDeniedError, UnauthenticatedError

KEY, SECRET = "devkey", "secret"
VERIFIER = Verifier({KEY: SECRET})


def signed(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    body = {"iss": KEY, "sub": "me", "exp": int(time.time()) + 60, "video": {"roomJoin": True}, **claims}
    return jwt.encode({k: v for k, v in body.items() if v is not None}, secret, algorithm=algorithm)


def unsigned(**header: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"iss": KEY, "sub": "me", "exp": int(time.time()) + 60}
    return f"{part({'typ': 'JWT', **header})}.{part(claims)}."


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: "", "no access token"),
        (lambda: "not a token", "malformed"),
        (lambda: "a.b.c", "malformed"),
        (lambda: "x" * 20_000, "longer than"),
        (lambda: signed(exp=int(time.time()) - 3_600), "expired"),
        (lambda: signed(exp=None), "no 'exp'"),
        (lambda: signed(nbf=int(time.time()) + 3_600), "not valid yet"),
        (lambda: signed(secret="another"), "signature does not match"),
        (lambda: signed(iss="nobody"), "not a known API key"),
        (lambda: signed(iss=None), "not a known API key"),
        (lambda: unsigned(alg="none"), "'none', only HS256"),
        (lambda: unsigned(), "only HS256"),
        (lambda: signed(algorithm="HS384"), "'HS384', only HS256"),
        (lambda: signed(video="all"), "'video' is not of type dict"),
        (lambda: signed(video={"roomJoin": "yes"}), "'roomJoin' is not of type bool"),
        (lambda: signed(video={"canPublishSources": ["sensor"]}), "unknown source 'sensor'"),
        (lambda: signed(attributes={"a": 1}), "not all strings"),
        (lambda: signed(sub="x" * 300), "identity is longer"),
    ],
)
def test_refused_tokens_say_why(make: Any, reason: str) -> None:
    with pytest.raises(UnauthenticatedError, match=reason):
        VERIFIER.verify(make())


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_a_minute_of_leeway_either_way() -> None:
    now = int(time.time())
    assert VERIFIER.verify(signed(exp=now - 30)).identity == "me"
    assert VERIFIER.verify(signed(nbf=now + 30)).identity == "me"


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_tokens_of_livekits_library_are_read() -> None:
    grants = api.VideoGrants(room_join=True, room="r", can_publish=False, can_publish_sources=["camera"], hidden=True)
    made = api.AccessToken(KEY, SECRET).with_identity("me").with_name("Me").with_grants(grants)
    token = VERIFIER.verify(made.with_attributes({"a": "b"}).with_ttl(timedelta(hours=1)).to_jwt())
    assert (token.identity, token.name, token.attributes) == ("me", "Me", {"a": "b"})
    assert token.grants.can_publish is False
    assert token.grants.can_publish_sources == ("camera",)
    assert token.grants.hidden


def test_created_token_is_read_back_as_it_was() -> None:
    grants = Grants(room="r", room_join=True, room_admin=True, can_subscribe=False, can_publish_sources=("camera",))
    token = Token("me", grants, name="Me", metadata="m", attributes={"a": "b"}, kind="agent")
    read = VERIFIER.verify_authorization(f"Bearer {create_token(KEY, SECRET, token, ttl=60)}")
    assert (read.identity, read.grants, read.name, read.kind) == ("me", grants, "Me", "agent")
    assert read.expires_at == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer"])
def test_authorization_must_be_a_bearer_token(header: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        VERIFIER.verify_authorization(header)


def test_unset_can_is_allowed_and_rooms_are_kept_apart() -> None:
    grants = Grants(room="r", room_join=True)
    assert grants.can_publish is None
    grants.require_room_join("r")
    grants.require_room_read("r")
    refusals: list[tuple[Callable[[], None], str]] = [
        (lambda: grants.require_room_join("other"), "for room 'r', not for 'other'"),
        (lambda: grants.require_room_read("other"), "neither roomList nor room"),
        (lambda: grants.require_room_admin("r"), "roomAdmin"),
        (grants.require_room_list, "roomList"),
        (grants.require_room_create, "roomCreate"),
        (lambda: Grants(room="r", room_admin=True).require_room_admin("x"), "administers room 'r'"),
        (lambda: Grants(room="r").require_room_join("r"), "roomJoin"),
        (lambda: Grants(room_join=True).require_room_read(""), "neither"),
    ]
    for refused, reason in refusals:
        with pytest.raises(PermissionDeniedError, match=reason):
            refused()
