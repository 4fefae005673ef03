"""Which session a node asks for on behalf of a client, whose identity its token has proved there."""

import hmac
from collections.abc import Iterable

from pysfu.v1 import moving_pb2


def is_claimed(request: moving_pb2.TakeSession, participant_id: str, session_ids: Iterable[str]) -> bool:
    """By its participant, else by one of the secrets that it is known by; empty ones are none."""
    if request.participant_id:
        return request.participant_id == participant_id
    asked = request.session_id.encode()
    return any(hmac.compare_digest(asked, known.encode()) for known in session_ids if known)
