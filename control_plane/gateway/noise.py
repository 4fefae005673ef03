"""What clients send that is no HTTP: a line in the log each, not a traceback, and nothing of what they sent."""

import logging
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger

LEVEL: Final = logging.DEBUG


class MalformedRequests(logging.Filter):
    """For aiohttp's server logger, which tells a request that cannot be parsed with its traceback, as an error of ours.

    The first octets of such a request may be a token in a URL, so they are left out.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.levelno, record.levelname = LEVEL, logging.getLevelName(LEVEL)
        kind = type(error).__name__
        record.msg, record.args = f"malformed HTTP request: {kind}", ()
        record.exc_info = record.exc_text = None
        # The logger's own level was compared with that of the traceback.
        return server_logger.isEnabledFor(LEVEL)


def hush() -> None:
    """May be called more than once."""
    if not any(isinstance(one, MalformedRequests) for one in server_logger.filters):
        server_logger.addFilter(MalformedRequests())
