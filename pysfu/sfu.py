"""The core in an asyncio loop: commands go down at once, events come up in batches."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from pysfu import _core
from pysfu.stats import Snapshot, snapshot

Event = tuple[Any, ...]
"""`(name, *fields)`, as listed at `pysfu._core.Core.poll_events`."""


class Sfu:
    """Workers that forward media, and the way to command them. Opens its sockets when it is made.

    Commands are methods of the core, with its signatures: `add_peer`, `publish`, `subscribe` and so on; see
    `pysfu._core.Core`. They return at once. A context manager; leaving it stops the workers.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        bind: Sequence[str] = ("127.0.0.1",),
        port: int = 7882,
        external_ips: Sequence[str] = (),
        limits: dict[str, int] | None = None,
    ) -> None:
        """Worker i takes UDP `port + i` on every address of `bind`; 0 picks free ones. Raises BindError, ValueError."""
        core = _core.Core(workers=workers, bind=bind, port=port, external_ips=external_ips, limits=limits)
        self._core = core
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handler: Callable[[Event], None] | None = None
        self.add_peer = core.add_peer
        self.candidates = core.candidates
        self.remove_peer = core.remove_peer
        self.set_remote = core.set_remote
        self.restart_ice = core.restart_ice
        self.set_extensions = core.set_extensions
        self.set_feedback = core.set_feedback
        self.publish = core.publish
        self.update_publish = core.update_publish
        self.describe = core.describe
        self.set_speaker = core.set_speaker
        self.unpublish = core.unpublish
        self.set_muted = core.set_muted
        self.subscribe = core.subscribe
        self.redirect = core.redirect
        self.set_wanted = core.set_wanted
        self.set_view = core.set_view
        self.unsubscribe = core.unsubscribe
        self.open_data_channel = core.open_data_channel
        self.send_data = core.send_data
        self.worker_of = core.worker_of
        self.worker_addresses = core.worker_addresses
        self.new_link = core.new_link
        self.add_link = core.add_link
        self.rotate_link = core.rotate_link
        self.remove_link = core.remove_link
        self.mirror = core.mirror
        self.unmirror = core.unmirror

    # Of sessions that move, which few do: resolved when they are needed.

    def begin_dtls(self, peer: int) -> None:
        """Of the core."""
        self._core.begin_dtls(peer)

    def restore_data_channels(
        self, peer: int, channels: Sequence[tuple[int, str, bool, int | None, int | None]]
    ) -> None:
        """Of the core."""
        self._core.restore_data_channels(peer, channels)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DTLS certificate as `AB:CD:…` (RFC 8122)."""
        return self._core.fingerprint

    @property
    def worker_count(self) -> int:
        return self._core.worker_count

    @property
    def srtp_backend(self) -> str:
        """Name of the AES-GCM implementation in use."""
        return self._core.srtp_backend

    def listen(self, handler: Callable[[Event], None]) -> None:
        """Calls `handler` with every event from now on, in the running loop. It must not raise."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._core.fileno(), self._drain)
        self._handler = handler

    def snapshot(self) -> Snapshot:
        """The newest statistics."""
        return snapshot(self._core)

    def shutdown(self) -> None:
        """Stops the workers and closes the sockets. May be called twice."""
        if self._loop is not None:
            self._loop.remove_reader(self._core.fileno())
            self._loop = None
        self._core.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _drain(self) -> None:
        handler = self._handler
        if handler is None:
            return
        for event in self._core.poll_events():
            handler(event)
