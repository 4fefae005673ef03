"""A media core that only writes down what it is asked for: signaling is tested with it, media with the real one."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from control_plane.media import ChannelRow, CodecRow, FecRow, PayloadRow
from pysfu.stats import DTYPES


def rows(table: str, *values: Mapping[str, float]) -> Any:
    """Rows of one table of a snapshot; fields that are not given are 0."""
    array = np.zeros(len(values), dtype=DTYPES[table])
    for index, row in enumerate(values):
        for name, value in row.items():
            array[name][index] = value
    return array


class Snapshot:
    def __init__(self) -> None:
        self.workers = rows("workers", {"worker": 0, "peers": 2, "bytes_in": 1_000})
        self.peers = rows("peers")
        self.downlinks = rows("downlinks")
        self.layers = rows("layers")
        self.subscriptions = rows("subscriptions")
        self.links = rows("links")


class RecordingMedia:
    """`calls` holds (command, arguments) in order; handles count from 1."""

    fingerprint = ":".join(["AB"] * 32)
    worker_count = 1

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.statistics = Snapshot()
        self.stopped = False
        self._handles = count(1)
        self._handler: Callable[[tuple[Any, ...]], None] = lambda event: None

    def named(self, command: str) -> list[dict[str, Any]]:
        """Arguments of every call of one command."""
        return [arguments for name, arguments in self.calls if name == command]

    def emit(self, *event: Any) -> None:
        """As if the core had reported it."""
        self._handler(event)

    def listen(self, handler: Callable[[tuple[Any, ...]], None]) -> None:
        self._handler = handler

    def snapshot(self) -> Snapshot:
        return self.statistics

    def shutdown(self) -> None:
        self.stopped = True

    def candidates(self, peer: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", 7882), ("::1", 7882)]

    def add_peer(self, *, ice_ufrag: str, ice_pwd: str, worker: int | None = None) -> int:
        return self._handle("add_peer", ice_ufrag=ice_ufrag, ice_pwd=ice_pwd)

    def remove_peer(self, peer: int) -> None:
        self._record("remove_peer", peer=peer)

    def set_remote(self, peer: int, *, ice_ufrag: str, ice_pwd: str, fingerprints: Sequence[bytes]) -> None:
        self._record("set_remote", peer=peer, ice_ufrag=ice_ufrag, ice_pwd=ice_pwd, fingerprints=fingerprints)

    def restart_ice(self, peer: int, *, ice_ufrag: str, ice_pwd: str, remote_ufrag: str, remote_pwd: str) -> None:
        self._record("restart_ice", peer=peer, ice_ufrag=ice_ufrag, remote_ufrag=remote_ufrag)

    def set_extensions(self, peer: int, ids: dict[str, int]) -> None:
        self._record("set_extensions", peer=peer, ids=dict(ids))

    def set_feedback(self, peer: int, *, transport_cc: bool, remb: bool) -> None:
        self._record("set_feedback", peer=peer, transport_cc=transport_cc, remb=remb)

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
    ) -> int:
        sound = {"group": group, "encrypted": encrypted, "fec": fec}
        return self._handle("publish", peer=peer, kind=kind, mid=mid, codecs=codecs, rids=rids, ssrcs=ssrcs, **sound)

    def update_publish(
        self,
        track: int,
        *,
        mid: str,
        codecs: Sequence[CodecRow],
        rids: Sequence[str] = (),
        ssrcs: Sequence[tuple[int, int | None]] = (),
        fec: FecRow = (None, None, None, None),
    ) -> None:
        self._record("update_publish", track=track, mid=mid, codecs=codecs, rids=rids, ssrcs=ssrcs)

    def describe(self, track: int, *, source: str, sizes: Sequence[tuple[int, int]] = ()) -> None:
        self._record("describe", track=track, source=source, sizes=list(sizes))

    def set_speaker(self, track: int, rank: int | None) -> None:
        self._record("set_speaker", track=track, rank=rank)

    def unpublish(self, track: int) -> None:
        self._record("unpublish", track=track)

    def set_muted(self, track: int, muted: bool) -> None:
        self._record("set_muted", track=track, muted=muted)

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
    ) -> int:
        return self._handle(
            "subscribe",
            peer=peer,
            track=track,
            mid=mid,
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc,
            payloads=payloads,
            red=red,
            paused=paused,
            fec=fec,
            fec_ssrc=fec_ssrc,
        )

    def redirect(self, subscription: int, track: int, *, payloads: Sequence[PayloadRow]) -> None:
        self._record("redirect", subscription=subscription, track=track, payloads=payloads)

    def set_wanted(self, subscription: int, *, paused: bool, max_spatial: int, max_temporal: int) -> None:
        self._record("set_wanted", subscription=subscription, paused=paused, max_spatial=max_spatial)

    def set_view(self, subscription: int, *, width: int = 0, height: int = 0, priority: int = 0) -> None:
        self._record("set_view", subscription=subscription, width=width, height=height, priority=priority)

    def unsubscribe(self, subscription: int) -> None:
        self._record("unsubscribe", subscription=subscription)

    def open_data_channel(self, peer: int, *, label: str, ordered: bool, max_retransmits: int | None) -> None:
        self._record("open_data_channel", peer=peer, label=label, ordered=ordered, max_retransmits=max_retransmits)

    def begin_dtls(self, peer: int) -> None:
        self._record("begin_dtls", peer=peer)

    def restore_data_channels(self, peer: int, channels: Sequence[ChannelRow]) -> None:
        self._record("restore_data_channels", peer=peer, channels=list(channels))

    def send_data(self, peers: Sequence[int], *, label: str, payload: bytes, binary: bool) -> None:
        self._record("send_data", peers=list(peers), label=label, payload=payload, binary=binary)

    def worker_of(self, track: int) -> int:
        return track % self.worker_count

    def worker_addresses(self, worker: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", 7882 + worker)]

    def new_link(self) -> int:
        return self._handle("new_link")

    def add_link(
        self, link: int, *, worker: int, theirs: int, send: bytes, receive: bytes, remote: tuple[str, int] | None = None
    ) -> None:
        self._record("add_link", link=link, worker=worker, theirs=theirs, send=send, receive=receive, remote=remote)

    def rotate_link(self, link: int, *, send: bytes | None = None, receive: bytes | None = None) -> None:
        self._record("rotate_link", link=link, send=send, receive=receive)

    def remove_link(self, link: int) -> None:
        self._record("remove_link", link=link)

    def mirror(self, link: int, theirs: int, *, kind: str, group: int | None = None, track: int | None = None) -> int:
        if track is None:
            return self._handle("mirror", link=link, theirs=theirs, kind=kind, group=group, track=None)
        self._record("mirror", handle=track, link=link, theirs=theirs, kind=kind, group=group, track=track)
        return track

    def unmirror(self, track: int) -> None:
        self._record("unmirror", track=track)

    def _record(self, command: str, **arguments: Any) -> None:
        self.calls.append((command, arguments))

    def _handle(self, command: str, **arguments: Any) -> int:
        handle = next(self._handles)
        self._record(command, handle=handle, **arguments)
        return handle
