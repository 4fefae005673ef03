"""Structured logs on standard error: JSON for machines, a console form for people. No token and no payload goes in.

The core's workers log into a bounded queue, in which a place that logs too often is held back; here its records
become ours, with their fields. No worker ever waits for Python.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

import structlog

from pysfu import _core

# Names that a record of ours has already.
_TAKEN: Final = frozenset(
    {"event", "level", "logger", "timestamp", "exc_info", "stack_info", "extra", "stack", "exception"}
)


class Lines:
    """What a logger of structlog writes to, beside the standard library, whose records cost more than what they say."""

    def __init__(self, name: str, stream: TextIO) -> None:
        known = logging.getLogger(name)
        self.name, self.disabled, self.getEffectiveLevel = known.name, known.disabled, known.getEffectiveLevel
        self._stream = stream

    def write(self, line: str) -> None:
        # A log that cannot be written is no reason to fail.
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = exception = critical = write


def configure(*, level: str = "info", console: bool = False) -> None:
    """Structlog's and the standard library's loggers write alike, through one renderer."""
    stream = sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.typing.Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            # First, so that what is not logged costs next to nothing.
            structlog.stdlib.filter_by_level,
            *shared,
            renderer,
        ],
        logger_factory=lambda name="": Lines(name, stream),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # A line per request says nothing that the metrics don't, and holds tokens in its query.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    _core.set_log_level(level)


@contextmanager
def core_records() -> Iterator[None]:
    """Logs what the core does, in the running loop, until it is left; what waits by then, too."""
    loop, queue = asyncio.get_running_loop(), _core.log_fileno()
    loop.add_reader(queue, _drain)
    try:
        yield
    finally:
        loop.remove_reader(queue)
        _drain()


def _drain() -> None:
    for level, module, message, fields, suppressed in _core.poll_logs():
        known = {f"{name}_" if name in _TAKEN else name: value for name, value in fields.items()}
        if suppressed:
            known["suppressed"] = suppressed
        getattr(structlog.get_logger(module), level)(message, **known)
