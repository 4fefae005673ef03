"""Which session a client means, whose identity its token has proved."""

import hmac
from collections.abc import Iterable


def is_claimed(asked_session: str, asked_participant: str, participant_id: str, session_ids: Iterable[str]) -> bool:
    """By its participant, else by one of the secrets that it is known by; empty ones are none."""
    if asked_participant:
        return asked_participant == participant_id
    asked = asked_session.encode()
    return any(hmac.compare_digest(asked, known.encode()) for known in session_ids if known)
