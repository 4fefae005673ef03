"""What the control plane asks of the media core: the commands of `pysfu.Sfu`, and the credentials of one transport."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from control_plane import ids
from control_plane.measure import Snapshot
from control_plane.negotiation.codecs import PayloadMap
from control_plane.negotiation.model import (
    Agreement,
    FecFormats,
    IceCredentials,
    LocalTransport,
    Negotiated,
    TransportParameters,
)
from control_plane.subscriptions import View, Wanted

CodecRow = tuple[int, int | None, str, int, bool, bool]
FecRow = tuple[int | None, int | None, int | None, int | None]
PayloadRow = tuple[int, int, int | None]
ChannelRow = tuple[int, str, bool, int | None, int | None]
"""Of a data channel: stream, label, ordered, most retransmissions, longest life in ms."""


class MediaCore(Protocol):
    """Commands return at once, a handle is valid from then on. Their meaning is documented in `pysfu/_core.pyi`."""

    @property
    def fingerprint(self) -> str: ...
    def candidates(self, peer: int) -> list[tuple[str, int]]: ...
    def add_peer(self, *, ice_ufrag: str, ice_pwd: str, worker: int | None = None) -> int: ...
    def remove_peer(self, peer: int) -> None: ...
    def set_remote(self, peer: int, *, ice_ufrag: str, ice_pwd: str, fingerprints: Sequence[bytes]) -> None: ...
    def restart_ice(self, peer: int, *, ice_ufrag: str, ice_pwd: str, remote_ufrag: str, remote_pwd: str) -> None: ...
    def set_extensions(self, peer: int, ids: dict[str, int]) -> None: ...
    def set_feedback(self, peer: int, *, transport_cc: bool, remb: bool) -> None: ...
    def publish(
        self,
        peer: int,
        *,
        kind: str,
        mid: str,
        codecs: Sequence[CodecRow],
        rids: Sequence[str] = (),
        ssrcs: Sequence[tuple[int, int | None]] = (),
        group: int | None = None,
        encrypted: bool = False,
        fec: FecRow = (None, None, None, None),
    ) -> int: ...
    def update_publish(
        self,
        track: int,
        *,
        mid: str,
        codecs: Sequence[CodecRow],
        rids: Sequence[str] = (),
        ssrcs: Sequence[tuple[int, int | None]] = (),
        fec: FecRow = (None, None, None, None),
    ) -> None: ...
    def describe(self, track: int, *, source: str, sizes: Sequence[tuple[int, int]] = ()) -> None: ...
    def set_speaker(self, track: int, rank: int | None) -> None: ...
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
        payloads: Sequence[PayloadRow],
        red: int | None = None,
        paused: bool = False,
        max_spatial: int = 255,
        max_temporal: int = 255,
        fec: FecRow = (None, None, None, None),
        fec_ssrc: int | None = None,
    ) -> int: ...
    def redirect(self, subscription: int, track: int, *, payloads: Sequence[PayloadRow]) -> None: ...
    def set_wanted(self, subscription: int, *, paused: bool, max_spatial: int, max_temporal: int) -> None: ...
    def set_view(self, subscription: int, *, width: int = 0, height: int = 0, priority: int = 0) -> None: ...
    def unsubscribe(self, subscription: int) -> None: ...
    def open_data_channel(self, peer: int, *, label: str, ordered: bool, max_retransmits: int | None) -> None: ...
    def begin_dtls(self, peer: int) -> None: ...
    def restore_data_channels(self, peer: int, channels: Sequence[ChannelRow]) -> None: ...
    def send_data(self, peers: Sequence[int], *, label: str, payload: bytes, binary: bool) -> None: ...
    @property
    def worker_count(self) -> int: ...
    def worker_of(self, track: int) -> int: ...
    def worker_addresses(self, worker: int) -> list[tuple[str, int]]: ...
    def new_link(self) -> int: ...
    def add_link(
        self, link: int, *, worker: int, theirs: int, send: bytes, receive: bytes, remote: tuple[str, int] | None = None
    ) -> None: ...
    def rotate_link(self, link: int, *, send: bytes | None = None, receive: bytes | None = None) -> None: ...
    def remove_link(self, link: int) -> None: ...
    def mirror(
        self, link: int, theirs: int, *, kind: str, group: int | None = None, track: int | None = None
    ) -> int: ...
    def unmirror(self, track: int) -> None: ...

    def snapshot(self) -> Snapshot:
        """The newest statistics of all workers."""


class Media(MediaCore, Protocol):
    """A whole core: commands, events, statistics."""

    def listen(self, handler: Callable[[tuple[Any, ...]], None]) -> None:
        """From now on each event goes to `handler` on the running loop, as `poll_events` of the core documents them."""

    def shutdown(self) -> None: ...


class MediaPeer:
    """One ICE/DTLS transport of a session: our credentials, and what the core was told of the client's."""

    def __init__(self, core: MediaCore, *, begins: bool = False) -> None:
        """`begins`: we are the DTLS client, as ours has a transport at another node, where it would begin."""
        self._core = core
        self.ice = _new_credentials()
        self._remote: TransportParameters | None = None
        self._extensions: dict[str, int] = {}
        self._feedback: tuple[bool, bool] | None = None
        self.handle = core.add_peer(ice_ufrag=self.ice.ufrag, ice_pwd=self.ice.pwd)
        self.begins = begins
        if begins:
            core.begin_dtls(self.handle)
        self.connected = False
        self.lost = False
        self.channels: dict[str, ChannelRow] = {}
        """Data channels that are open, by label."""

    @property
    def local(self) -> LocalTransport:
        """As it goes into the next description."""
        return LocalTransport(self.ice, self._core.fingerprint, tuple(self._core.candidates(self.handle)), self.begins)

    def restarts(self, remote: TransportParameters) -> bool:
        """Whether a description with these parameters restarts ICE (RFC 8839 section 4.4.1.1.1)."""
        return self._remote is not None and remote.ice != self._remote.ice

    def restart(self, remote: IceCredentials | None = None) -> IceCredentials:
        """New credentials of ours. With the client's the core restarts at once, else with its next description."""
        self.ice = _new_credentials()
        if remote is not None and self._remote is not None:
            self._remote = TransportParameters(remote, self._remote.fingerprints, self._remote.setup)
            self._restart_core(remote)
        return self.ice

    def apply(self, agreement: Agreement) -> None:
        """Tells the core what is new in a finished negotiation."""
        remote = agreement.remote
        if remote.ice is not None and self._remote is None:
            self._set_remote(remote)
        elif remote.ice is not None and self._remote is not None:
            if remote.ice != self._remote.ice:
                self._restart_core(remote.ice)
            elif remote.fingerprints != self._remote.fingerprints:
                self._set_remote(remote)
        self._remote = remote
        if agreement.extension_ids != self._extensions:
            self._extensions = dict(agreement.extension_ids)
            self._core.set_extensions(self.handle, self._extensions)
        feedback = (agreement.transport_cc, agreement.remb)
        if feedback != self._feedback:
            self._feedback = feedback
            self._core.set_feedback(self.handle, transport_cc=feedback[0], remb=feedback[1])

    def publish(
        self,
        negotiated: Negotiated,
        rids: Sequence[str],
        ssrcs: Sequence[tuple[int, int | None]],
        *,
        group: int | None = None,
        encrypted: bool = False,
    ) -> int:
        """The core's handle of a new track. `ssrcs`: with RTX, lowest layer first. Of a `group` the loudest are
        forwarded."""
        return self._core.publish(
            self.handle,
            kind=negotiated.kind,
            mid=negotiated.mid,
            codecs=codec_rows(negotiated),
            rids=rids,
            ssrcs=ssrcs,
            group=group,
            encrypted=encrypted,
            fec=fec_row(negotiated.fec),
        )

    def subscribe(
        self,
        track: int,
        *,
        mid: str,
        ssrc: int,
        rtx_ssrc: int,
        payloads: Sequence[PayloadMap],
        red: int | None,
        fec: FecFormats,
        fec_ssrc: int,
        wanted: Wanted,
    ) -> int:
        """The core's handle of a new subscription."""
        handle = self._core.subscribe(
            self.handle,
            track,
            mid=mid,
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc if any(item.rtx is not None for item in payloads) else None,
            payloads=payload_rows(payloads),
            red=red,
            paused=wanted.paused,
            max_spatial=wanted.max_spatial,
            max_temporal=wanted.max_temporal,
            fec=fec_row(fec),
            fec_ssrc=fec_ssrc or None,
        )
        if wanted.view != View():
            set_view(self._core, handle, wanted.view)
        return handle

    def restore_channels(self, channels: Sequence[ChannelRow]) -> None:
        """Goes on with what the client has open with another node."""
        self.channels = {row[1]: row for row in channels}
        self._core.restore_data_channels(self.handle, channels)

    def close(self) -> None:
        """Frees what the core holds, unless it has done so itself."""
        if not self.lost:
            self.lost = True
            self._core.remove_peer(self.handle)

    def _set_remote(self, remote: TransportParameters) -> None:
        if remote.ice is not None:
            self._core.set_remote(
                self.handle, ice_ufrag=remote.ice.ufrag, ice_pwd=remote.ice.pwd, fingerprints=remote.fingerprints
            )

    def _restart_core(self, remote: IceCredentials) -> None:
        self._core.restart_ice(
            self.handle,
            ice_ufrag=self.ice.ufrag,
            ice_pwd=self.ice.pwd,
            remote_ufrag=remote.ufrag,
            remote_pwd=remote.pwd,
        )


def set_view(core: MediaCore, subscription: int, view: View) -> None:
    """Tells the core how a subscriber shows a video."""
    core.set_view(subscription, width=view.width, height=view.height, priority=view.priority)


def codec_rows(negotiated: Negotiated) -> list[CodecRow]:
    return [
        (item.payload_type, item.rtx, item.name, item.clock_rate, "nack" in item.feedback, "nack pli" in item.feedback)
        for item in negotiated.codecs
    ]


def payload_rows(payloads: Sequence[PayloadMap]) -> list[PayloadRow]:
    return [(item.source, item.target, item.rtx) for item in payloads]


def fec_row(fec: FecFormats) -> FecRow:
    return (fec.flexfec, fec.red, fec.red_rtx, fec.ulpfec)


def _new_credentials() -> IceCredentials:
    return IceCredentials(ids.ice_ufrag(), ids.ice_pwd())
