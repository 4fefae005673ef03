"""Access tokens: JWT signed with HS256 by an API key's secret, and what they grant.

Claims: `iss` is the API key, `sub` the identity, `exp` is required, `nbf` is honoured; 60 s of leeway.
Grants are in `video`, named as LiveKit names them, so that one token serves its SDKs and our gRPC. An unset `can*`
means allowed.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from jwt.algorithms import HMACAlgorithm

from control_plane.errors import PermissionDeniedError, UnauthenticatedError

LEEWAY_SECONDS: Final = 60
MAX_TOKEN_LENGTH: Final = 16_384
MAX_IDENTITY_LENGTH: Final = 256
# Tokens that are not verified again while they are valid: a join shows its token to the gateway, to be assigned a node,
# and to the node. More spare more crowds the work, at some 2 kB each.
REMEMBERED: Final = 1_024
SOURCES: Final = ("camera", "microphone", "screen_share", "screen_share_audio")


class _AnyLength(HMACAlgorithm):
    """Secrets of any length: how long they must be is a matter of settings, and `--dev` has a short one."""

    def check_key_length(self, key: bytes) -> str | None:
        return None

    def prepare_key(self, key: str | bytes) -> bytes:
        """Nothing is looked for in it: no other algorithm is accepted, whose public key it could be."""
        return key.encode() if isinstance(key, str) else key


_JWT: Final = jwt.PyJWT()
_JWT._jws.unregister_algorithm("HS256")
_JWT._jws.register_algorithm("HS256", _AnyLength(HMACAlgorithm.SHA256))


@dataclass(frozen=True, slots=True)
class Grants:
    """What a token allows. Field names are the claims' in snake case; `None` is unset."""

    room: str = ""
    room_join: bool = False
    room_create: bool = False
    room_list: bool = False
    room_admin: bool = False
    room_record: bool = False
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: tuple[str, ...] = ()
    can_update_own_metadata: bool | None = None
    hidden: bool = False
    recorder: bool = False
    agent: bool = False
    ingress_admin: bool = False

    def require_room_join(self, room: str) -> None:
        self._require(self.room_join, "roomJoin")
        if self.room and room != self.room:
            raise PermissionDeniedError(f"the token is for room {self.room!r}, not for {room!r}")

    def require_room_create(self) -> None:
        self._require(self.room_create, "roomCreate")

    def require_room_list(self) -> None:
        self._require(self.room_list, "roomList")

    def require_room_read(self, room: str) -> None:
        """roomList, or any grant that names this room."""
        if not self.room_list and not (room and self.room == room):
            raise PermissionDeniedError(f"the token grants neither roomList nor room {room!r}")

    def require_room_admin(self, room: str) -> None:
        self._require(self.room_admin, "roomAdmin")
        if self.room and room != self.room:
            raise PermissionDeniedError(f"the token administers room {self.room!r}, not {room!r}")

    @staticmethod
    def _require(granted: bool, name: str) -> None:
        if not granted:
            raise PermissionDeniedError(f"the token does not grant {name}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was verified, or that is to be signed by `create_token`."""

    identity: str
    grants: Grants
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    kind: str = "standard"
    sha256: str = ""
    expires_at: float = 0.0
    key: str = ""


class Verifier:
    """Checks tokens against a table of API key → secret."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        self._valid: OrderedDict[str, Token] = OrderedDict()

    def verify(self, token: str) -> Token:
        """Raises UnauthenticatedError that says why."""
        known = self._valid.get(token)
        if known is not None and time.time() < known.expires_at:
            return known
        verified = self._verified(token)
        self._valid[token] = verified
        if len(self._valid) > REMEMBERED:
            self._valid.popitem(last=False)
        return verified

    def _verified(self, token: str) -> Token:
        if not token:
            raise UnauthenticatedError("no access token")
        if len(token) > MAX_TOKEN_LENGTH:
            raise UnauthenticatedError(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
        try:
            claimed = _JWT.decode_complete(token, options={"verify_signature": False})
            algorithm, issuer = claimed["header"].get("alg"), claimed["payload"].get("iss")
            if algorithm != "HS256":
                raise UnauthenticatedError(f"the token is signed with {str(algorithm)[:20]!r}, only HS256 is accepted")
            secret = self._keys.get(issuer) if isinstance(issuer, str) else None
            if secret is None:
                raise UnauthenticatedError("the token's issuer is not a known API key")
            options: Any = {"require": ["exp"], "verify_aud": False, "verify_iat": False, "verify_sub": False}
            claims = _JWT.decode(token, secret, algorithms=["HS256"], leeway=LEEWAY_SECONDS, options=options)
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("the token has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise UnauthenticatedError("the token is not valid yet") from error
        except jwt.InvalidSignatureError as error:
            raise UnauthenticatedError("the token's signature does not match") from error
        except jwt.MissingRequiredClaimError as error:
            raise UnauthenticatedError(f"the token has no {error.claim!r}") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError("the token is malformed") from error
        return _from_claims(claims, str(issuer))

    def renew(self, token: Token, *, ttl: float) -> str:
        """Signs `token`, which was verified here, with the same key again: valid for `ttl` seconds from now."""
        return create_token(token.key, self._keys[token.key], token, ttl=ttl)

    def verify_authorization(self, header: str | None) -> Token:
        """`header` is the value of `authorization`: `Bearer <token>`."""
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("authorization must be `Bearer <token>`")
        return self.verify(token.strip())


def create_token(key: str, secret: str, token: Token, *, ttl: float = 21_600) -> str:
    """Signs `token`, valid for `ttl` seconds from now."""
    now = time.time()
    grants = token.grants
    video: dict[str, Any] = {
        "room": grants.room,
        "roomJoin": grants.room_join,
        "roomCreate": grants.room_create,
        "roomList": grants.room_list,
        "roomAdmin": grants.room_admin,
        "roomRecord": grants.room_record,
        "canPublish": grants.can_publish,
        "canSubscribe": grants.can_subscribe,
        "canPublishData": grants.can_publish_data,
        "canPublishSources": list(grants.can_publish_sources),
        "canUpdateOwnMetadata": grants.can_update_own_metadata,
        "hidden": grants.hidden,
        "recorder": grants.recorder,
        "agent": grants.agent,
        "ingressAdmin": grants.ingress_admin,
    }
    claims: dict[str, Any] = {
        "iss": key,
        "sub": token.identity,
        "nbf": int(now),
        "exp": int(now + ttl),
        "name": token.name,
        "metadata": token.metadata,
        "attributes": dict(token.attributes),
        "kind": "" if token.kind == "standard" else token.kind,
        "sha256": token.sha256,
        # `False` is kept only where it differs from unset.
        "video": {name: value for name, value in video.items() if value or (value is False and name.startswith("can"))},
    }
    return _JWT.encode({name: value for name, value in claims.items() if value}, secret, algorithm="HS256")


def _from_claims(claims: Mapping[str, Any], key: str) -> Token:
    identity = _claim(claims, "sub", str, "")
    if len(identity) > MAX_IDENTITY_LENGTH:
        raise UnauthenticatedError(f"the token's identity is longer than {MAX_IDENTITY_LENGTH} characters")
    video = _claim(claims, "video", dict, {})
    attributes = _claim(claims, "attributes", dict, {})
    if not all(isinstance(value, str) for value in attributes.values()):
        raise UnauthenticatedError("the token's 'attributes' are not all strings")
    sources = _claim(video, "canPublishSources", list, [])
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise UnauthenticatedError(f"the token's 'canPublishSources' names an unknown source {str(unknown[0])[:40]!r}")
    grants = Grants(
        room=_claim(video, "room", str, ""),
        room_join=_claim(video, "roomJoin", bool, False),
        room_create=_claim(video, "roomCreate", bool, False),
        room_list=_claim(video, "roomList", bool, False),
        room_admin=_claim(video, "roomAdmin", bool, False),
        room_record=_claim(video, "roomRecord", bool, False),
        can_publish=_claim(video, "canPublish", bool, None),
        can_subscribe=_claim(video, "canSubscribe", bool, None),
        can_publish_data=_claim(video, "canPublishData", bool, None),
        can_publish_sources=tuple(sources),
        can_update_own_metadata=_claim(video, "canUpdateOwnMetadata", bool, None),
        hidden=_claim(video, "hidden", bool, False),
        recorder=_claim(video, "recorder", bool, False),
        agent=_claim(video, "agent", bool, False),
        ingress_admin=_claim(video, "ingressAdmin", bool, False),
    )
    return Token(
        identity=identity,
        grants=grants,
        name=_claim(claims, "name", str, ""),
        metadata=_claim(claims, "metadata", str, ""),
        attributes=attributes,
        kind=_claim(claims, "kind", str, "") or "standard",
        sha256=_claim(claims, "sha256", str, ""),
        expires_at=float(claims["exp"]),
        key=key,
    )


def _claim(claims: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = claims.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise UnauthenticatedError(f"the token's {name!r} is not of type {kind.__name__}")
    return value
