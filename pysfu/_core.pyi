"""The compiled core. Thin: commands in, batched events out. Use it through `pysfu.Sfu`.

Commands return at once; a handle is valid from then on. What fails later comes back as `CommandFailed`.
"""

from collections.abc import Sequence
from typing import Any, Final, Self, final

__all__ = [
    "STATS_FIELDS",
    "BindError",
    "Core",
    "CoreError",
    "QueueFullError",
    "Srtp",
    "SrtpError",
    "UnknownIdError",
    "WorkerFailedError",
    "__version__",
    "log_fileno",
    "poll_logs",
    "set_log_level",
]

__version__: Final[str]
STATS_FIELDS: Final[dict[str, list[tuple[str, str]]]]
"""Of each table of `Core.stats`: name and numpy kind of its fields, in order."""

def set_log_level(level: str) -> None:
    """Of the whole process: "off" (at first), "error", "warning", "info" or "debug". Raises ValueError."""

def log_fileno() -> int:
    """An eventfd, readable while records wait."""

def poll_logs() -> list[tuple[str, str, str, dict[str, bool | int | float | str], int]]:
    """All records that wait, at most 512, oldest first: level as in `set_log_level`, module, message, fields, and how
    many of the same place in the code were held back before it (20 at once and one per second are kept)."""

class CoreError(Exception):
    """Base of what the core raises."""

class BindError(CoreError):
    """A media socket could not be opened. `args` is (address, port, reason)."""

class QueueFullError(CoreError):
    """A worker does not keep up with commands; try again later."""

class WorkerFailedError(CoreError):
    """The worker that held this object has failed."""

class UnknownIdError(CoreError):
    """No such peer, track or subscription."""

class SrtpError(CoreError):
    """A packet is malformed, forged or replayed, or a key has the wrong length."""

@final
class Srtp:
    """SRTP and SRTCP under one master key (RFC 3711, RFC 7714): the engine's own code, for recorders and tests."""

    def __new__(cls, profile: str, key: bytes, salt: bytes) -> Self:
        """`profile` as in the "connected" event, or "aead_aes_256_gcm". Raises ValueError, SrtpError."""
    def protect_rtp(self, packet: bytes, rollover: int) -> bytes:
        """`rollover`: the counter of RFC 3711 section 3.3.1. Never protect two packets with one sequence number."""
    def unprotect_rtp(self, packet: bytes) -> bytes:
        """Raises SrtpError; then nothing of the state has changed."""
    def protect_rtcp(self, packet: bytes) -> bytes: ...
    def unprotect_rtcp(self, packet: bytes) -> bytes: ...

@final
class Core:
    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DTLS certificate as `AB:CD:…`."""
    @property
    def worker_count(self) -> int: ...
    @property
    def srtp_backend(self) -> str:
        """Name of the AES-GCM implementation in use, e.g. "aws-lc (VAES)"."""

    def __new__(
        cls,
        *,
        workers: int,
        bind: Sequence[str],
        port: int,
        external_ips: Sequence[str] = ...,
        limits: dict[str, int] | None = None,
    ) -> Self:
        """Opens UDP `port + i` on every address of `bind` for worker i and starts the workers.

        `port` 0 picks free ports. `external_ips` replaces the address announced, per family. `limits` overrides fields
        of the engine's `Config` by name (durations in ms); an unknown name is a ValueError. Raises BindError.
        """

    def candidates(self, peer: int) -> list[tuple[str, int]]:
        """(address, UDP port) that this peer's client may reach."""
    def fileno(self) -> int:
        """An eventfd, readable when events wait."""
    def poll_events(self, limit: int = 4096) -> list[tuple[Any, ...]]:
        """At most `limit` events, oldest first, each `(name, *fields)`:

        ("ice_connected", peer, ip, port)
        ("connected", peer, profile)                    profile: "aead_aes_128_gcm" | "aes_128_cm_hmac_sha1_80"
        ("disconnected", peer, reason)                  reason: snake_case of the engine's DisconnectReason
        ("track_started", track, codec)                 codec: "opus" | "red" | "vp8" | "vp9" | "h264" | "av1"
        ("layer_active", track, layer, active)
        ("layer_forwarded", subscription, layer | None)
        ("stream_paused", subscription, paused)         paused: the path does not carry the video
        ("layers_wanted", track, (spatial, temporal) | None)
                                                        the highest layers of use to anybody, 255: the best there is;
                                                        at first everything is wanted
        ("audio_levels", [(track, dbov, active), …])
        ("data_channel_opened", peer, label, reliable, (stream, ordered, max_retransmits, max_lifetime_ms))
        ("data_channel_closed", peer, label)
        ("data_received", peer, label, binary, payload)
        ("link_alive", link, alive)                     whether anything authentic comes over it; at first it is alive
        ("mirror_ended", track)                         the other end has no such track, or the link was removed
        ("command_failed", peer | None, message)
        ("worker_failed", worker)
        """
    def add_peer(self, *, ice_ufrag: str, ice_pwd: str, worker: int | None = None) -> int:
        """A new ICE-lite/DTLS transport, on the given or the least loaded worker."""
    def remove_peer(self, peer: int) -> None: ...
    def set_remote(self, peer: int, *, ice_ufrag: str, ice_pwd: str, fingerprints: Sequence[bytes]) -> None:
        """`fingerprints`: SHA-256 digests, 32 bytes each."""
    def restart_ice(self, peer: int, *, ice_ufrag: str, ice_pwd: str, remote_ufrag: str, remote_pwd: str) -> None: ...
    def set_extensions(self, peer: int, ids: dict[str, int]) -> None:
        """`ids` by field name of the engine's ExtensionIds; unknown names are a ValueError."""
    def set_feedback(self, peer: int, *, transport_cc: bool, remb: bool) -> None: ...
    def publish(
        self,
        peer: int,
        *,
        kind: str,
        mid: str,
        codecs: Sequence[tuple[int, int | None, str, int, bool, bool]],
        rids: Sequence[str] = ...,
        ssrcs: Sequence[tuple[int, int | None]] = ...,
        group: int | None = None,
        encrypted: bool = False,
        fec: tuple[int | None, int | None, int | None, int | None] = ...,
    ) -> int:
        """A track. `kind`: "audio" | "video". `codecs`: (payload type, RTX payload type, codec, clock rate, nack, pli),
        preferred first. `rids` lowest first. `ssrcs`: (SSRC, RTX SSRC). Of a `group` of audio tracks the loudest are
        forwarded. `encrypted`: end to end, so that payloads cannot be replaced. `fec`: payload types of FlexFEC, RED of
        video, its RTX, ULPFEC."""
    def update_publish(
        self,
        track: int,
        *,
        mid: str,
        codecs: Sequence[tuple[int, int | None, str, int, bool, bool]],
        rids: Sequence[str] = ...,
        ssrcs: Sequence[tuple[int, int | None]] = ...,
        fec: tuple[int | None, int | None, int | None, int | None] = ...,
    ) -> None: ...
    def describe(self, track: int, *, source: str, sizes: Sequence[tuple[int, int]] = ...) -> None:
        """`source`: "camera" | "screen". `sizes`: (width, height) of the layers, lowest first, 0 unknown;
        what keyframes tell is believed before that. At most 8, else ValueError."""
    def set_speaker(self, track: int, rank: int | None) -> None:
        """The publisher of this video speaks (0), or spoke before: the lower `rank`, the later."""
    def unpublish(self, track: int) -> None: ...
    def set_muted(self, track: int, muted: bool) -> None: ...
    def subscribe(
        self,
        peer: int,
        track: int,
        *,
        mid: str,
        ssrc: int,
        rtx_ssrc: int | None,
        payloads: Sequence[tuple[int, int, int | None]],
        red: int | None = None,
        paused: bool = False,
        max_spatial: int = 255,
        max_temporal: int = 255,
        fec: tuple[int | None, int | None, int | None, int | None] = ...,
        fec_ssrc: int | None = None,
    ) -> int:
        """A subscription. `payloads`: (publisher's payload type, subscriber's, its RTX). `red`: the
        subscriber's payload type of RED with Opus (RFC 2198), which is sent where packets are lost. `fec` as of a
        track; `fec_ssrc` is that of FlexFEC."""
    def redirect(self, subscription: int, track: int, *, payloads: Sequence[tuple[int, int, int | None]]) -> None:
        """Goes on with another track of the same kind, from a keyframe on, under the same SSRC and numbers."""
    def set_wanted(self, subscription: int, *, paused: bool, max_spatial: int, max_temporal: int) -> None: ...
    def set_view(self, subscription: int, *, width: int = 0, height: int = 0, priority: int = 0) -> None:
        """How a video is shown: pixels (0: as large as there is); each step of `priority` doubles its worth, to ±6."""
    def unsubscribe(self, subscription: int) -> None: ...
    def open_data_channel(self, peer: int, *, label: str, ordered: bool, max_retransmits: int | None) -> None: ...
    def begin_dtls(self, peer: int) -> None:
        """We begin the DTLS handshake, as its client: our answer says `a=setup:active`. To precede `set_remote`."""
    def restore_data_channels(
        self, peer: int, channels: Sequence[tuple[int, str, bool, int | None, int | None]]
    ) -> None:
        """Takes up channels that the client has open with another node: (stream, label, ordered, most retransmissions,
        longest life in ms). SCTP starts over under them once DTLS is up; "data_channel_opened" tells of each then."""
    def send_data(self, peers: Sequence[int], *, label: str, payload: bytes, binary: bool) -> None: ...
    def worker_of(self, track: int) -> int:
        """Where a published track or a mirror lives: links that carry it end there. Raises UnknownIdError."""
    def worker_addresses(self, worker: int) -> list[tuple[str, int]]:
        """(address, UDP port) at which clients and links reach a worker."""
    def new_link(self) -> int:
        """A random id for a link of ours, which the other end is to be told: its datagrams begin with it."""
    def add_link(
        self,
        link: int,
        *,
        worker: int,
        theirs: int,
        send: bytes,
        receive: bytes,
        remote: tuple[str, int] | None = None,
    ) -> None:
        """A sealed UDP link from `worker` to a worker of another node. `theirs`: the id that the other end gave it.
        `send`, `receive`: 16 octets of AES-128 key and 12 of salt, fresh for every link and direction. `remote`: where
        the other end listens; without it the first authentic datagram tells. Raises ValueError."""
    def rotate_link(self, link: int, *, send: bytes | None = None, receive: bytes | None = None) -> None:
        """The next keys of one direction or both. What the other end sends with is to be known here before."""
    def remove_link(self, link: int) -> None:
        """Its mirrors end ("mirror_ended") and their subscriptions with them."""
    def mirror(self, link: int, theirs: int, *, kind: str, group: int | None = None, track: int | None = None) -> int:
        """A track of the other end as one of ours. `theirs` is its handle there, `kind` and `group` as of `publish`. It
        crosses the link while somebody subscribes here or over another link. With `track`, a mirror that there is comes
        over this link from now on and keeps its handle and subscriptions; both links must be of one worker, else
        ValueError."""
    def unmirror(self, track: int) -> None:
        """Ends a mirror and its subscriptions."""
    def stats(self) -> dict[str, bytes]:
        """The newest snapshot of each worker (taken twice a second), concatenated: packed rows for the numpy dtypes in
        `pysfu.stats`: "workers", "peers", "downlinks", "layers", "subscriptions", "links", "io"."""
    def shutdown(self) -> None:
        """Stops the workers and closes the sockets. May be called twice."""
