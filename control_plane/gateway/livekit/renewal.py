"""Fresh tokens for a client that is connected, as LiveKit's server sends them: who loses the connection after hours has
one that is still valid to come back with. A call itself outlives its token."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final

from livekit.protocol import rtc as lr

from control_plane.auth import Token, Verifier
from pysfu.v1 import models_pb2

TTL: Final = 600.0
# Seconds. Shorter leaves more of the last one when the connection is lost, longer sends fewer.
INTERVAL: Final = 300.0
# Characters: a token must fit into the request line of the client that comes back.
MAX_LENGTH: Final = 4_096
# What a token says of its participant.
_SAID: Final = ("permission", "name", "metadata", "attributes")
_PREFIX: Final = "TRACK_SOURCE_"


class Renewal:
    """Of one connection. `token` is the client's own, which was verified."""

    def __init__(self, verifier: Verifier, token: Token, participant: models_pb2.Participant) -> None:
        self._verifier = verifier
        self._token = token
        self._participant = participant

    async def run(self, send: Callable[[lr.SignalResponse], Awaitable[None]]) -> None:
        """A token at once, for the client's own may be about to expire, and then again and again."""
        while True:
            await send(self.message())
            await asyncio.sleep(INTERVAL)

    def take(self, changed: Iterable[models_pb2.Participant]) -> bool:
        """True when this participant is among `changed` and its token must say something else: what a moderator took
        away does not come back with an old one."""
        before = self._participant
        for now in changed:
            if now.id == before.id:
                self._participant = now
        return any(getattr(before, name) != getattr(self._participant, name) for name in _SAID)

    def message(self) -> lr.SignalResponse:
        token = renewed(self._token, self._participant)
        text = self._verifier.renew(token, ttl=TTL)
        if len(text) > MAX_LENGTH:
            said = replace(token, metadata=self._token.metadata, attributes=self._token.attributes)
            text = self._verifier.renew(said, ttl=TTL)
        return lr.SignalResponse(refresh_token=text)


def renewed(token: Token, participant: models_pb2.Participant) -> Token:
    """The token with what its participant may do and says of itself by now."""
    permission = participant.permission
    grants = replace(
        token.grants,
        can_publish=_allowed(permission.can_publish, token.grants.can_publish),
        can_subscribe=_allowed(permission.can_subscribe, token.grants.can_subscribe),
        can_publish_data=_allowed(permission.can_publish_data, token.grants.can_publish_data),
        can_publish_sources=tuple(
            models_pb2.TrackSource.Name(source).removeprefix(_PREFIX).lower()
            for source in permission.can_publish_sources
        ),
        can_update_own_metadata=True if permission.can_update_metadata else None,
        hidden=permission.hidden,
        recorder=permission.recorder,
        room_admin=permission.admin,
    )
    return replace(
        token,
        grants=grants,
        name=participant.name,
        metadata=participant.metadata,
        attributes=dict(participant.attributes),
    )


def _allowed(now: bool, before: bool | None) -> bool | None:
    """Unset means allowed, and stays unset."""
    return (before if before is not False else None) if now else False
