"""`StatsService`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from control_plane.auth import Verifier
from control_plane.encodings import ordered_rids
from control_plane.errors import ControlError, InvalidArgumentError
from control_plane.live_room import LiveRoom
from control_plane.measure import Snapshot, rows_of, worker_counters
from control_plane.node import Node
from control_plane.services.calls import Context, authenticate, refuse, unary
from pysfu.v1 import stats_pb2, stats_pb2_grpc

DEFAULT_INTERVAL_MS: Final = 1_000
INTERVALS_MS: Final = range(100, 60_001)


class StatsService(stats_pb2_grpc.StatsServiceServicer):
    """What the node does, measured."""

    def __init__(self, node: Node, verifier: Verifier, snapshot: Callable[[], Snapshot]) -> None:
        self._node = node
        self._verifier = verifier
        self._snapshot = snapshot

    @unary
    async def GetNodeStats(self, _: stats_pb2.GetNodeStatsRequest, context: Context) -> stats_pb2.NodeStats:
        self._authorize_node(context)
        return node_stats(self._node, self._snapshot())

    @unary
    async def GetRoomStats(self, request: stats_pb2.GetRoomStatsRequest, context: Context) -> stats_pb2.RoomStats:
        return room_stats(self._node, self._authorize_room(context, request.room), self._snapshot())

    async def WatchNodeStats(
        self, request: stats_pb2.WatchNodeStatsRequest, context: Context
    ) -> AsyncIterator[stats_pb2.NodeStats]:
        try:
            self._authorize_node(context)
            interval = _interval(request.interval_ms)
        except ControlError as error:
            await refuse(context, error)
        while True:
            yield node_stats(self._node, self._snapshot())
            await asyncio.sleep(interval)

    async def WatchRoomStats(
        self, request: stats_pb2.WatchRoomStatsRequest, context: Context
    ) -> AsyncIterator[stats_pb2.RoomStats]:
        try:
            live = self._authorize_room(context, request.room)
            interval = _interval(request.interval_ms)
        except ControlError as error:
            await refuse(context, error)
        while not live.room.ended:
            yield room_stats(self._node, live, self._snapshot())
            await asyncio.sleep(interval)

    def _authorize_node(self, context: Context) -> None:
        authenticate(context, self._verifier).grants.require_room_list()

    def _authorize_room(self, context: Context, room: str) -> LiveRoom:
        authenticate(context, self._verifier).grants.require_room_admin(room)
        return self._node.room(room)


def node_stats(node: Node, snapshot: Snapshot) -> stats_pb2.NodeStats:
    stats = stats_pb2.NodeStats(
        node_id=node.id,
        version=node.version,
        uptime_seconds=asyncio.get_running_loop().time() - node.started_at,
        rooms=node.num_rooms,
        participants=node.num_sessions,
        draining=node.draining,
    )
    stats.at.GetCurrentTime()
    for row in snapshot.workers:
        stats.workers.add(
            worker=int(row["worker"]),
            peers=int(row["peers"]),
            tracks=int(row["tracks"]),
            subscriptions=int(row["subscriptions"]),
            counters=worker_counters(row),
        )
    return stats


def room_stats(node: Node, live: LiveRoom, snapshot: Snapshot) -> stats_pb2.RoomStats:
    """Tracks of the room with their layers, and every subscription to them."""
    stats = stats_pb2.RoomStats(room=live.name)
    stats.at.GetCurrentTime()
    tracks = {
        encoding.handle: encoding
        for track in live.room.tracks()
        for encoding in track.encodings
        if encoding.handle is not None
    }
    layers = rows_of(snapshot.layers, "track", list(tracks))
    for handle, encoding in tracks.items():
        track, negotiated = encoding.track, encoding.negotiated
        item = stats.tracks.add(
            track_id=track.id,
            participant_id=track.owner.id,
            kind=track.info.kind,
            mime_type=encoding.told.mime_type,
        )
        rids = ordered_rids(negotiated.rids, encoding.told.layers) if negotiated is not None else ()
        for row in layers[layers["track"] == handle]:
            layer = int(row["layer"])
            item.layers.add(
                spatial=layer,
                rid=rids[layer] if layer < len(rids) else "",
                active=bool(row["active"]),
                packets=int(row["packets"]),
                bytes=int(row["bytes"]),
                packets_lost=max(int(row["packets_lost"]), 0),
                packets_recovered=int(row["packets_recovered"]),
                packets_recovered_fec=int(row["packets_recovered_fec"]),
                nacks_sent=int(row["nacks_sent"]),
                plis_sent=int(row["plis_sent"]),
                jitter_ms=float(row["jitter_ms"]),
                bitrate_bps=float(row["bitrate_bps"]),
                rtt_ms=float(row["rtt_ms"]),
            )
    for row in rows_of(snapshot.subscriptions, "track", list(tracks)):
        encoding, subscriber = tracks[int(row["track"])], node.participant_of(int(row["peer"]))
        if subscriber is None:
            continue
        track = encoding.track
        stats.subscriptions.add(
            track_id=track.id,
            publisher_id=track.owner.id,
            subscriber_id=subscriber.id,
            layer=int(row["layer"]),
            wanted_layer=int(row["wanted_layer"]),
            paused=bool(row["paused"]),
            packets=int(row["packets"]),
            bytes=int(row["bytes"]),
            packets_retransmitted=int(row["packets_retransmitted"]),
            nacks_received=int(row["nacks_received"]),
            plis_received=int(row["plis_received"]),
            fraction_lost=float(row["fraction_lost"]),
            rtt_ms=float(row["rtt_ms"]),
            jitter_ms=float(row["jitter_ms"]),
            bitrate_bps=float(row["bitrate_bps"]),
            spatial=int(row["spatial"]),
            temporal=int(row["temporal"]),
            target_spatial=int(row["target_spatial"]),
            target_temporal=int(row["target_temporal"]),
            pause_reason=stats_pb2.SubscriptionStats.PauseReason.ValueType(int(row["pause_reason"])),
            pictures=int(row["pictures"]),
            pictures_delivered=int(row["pictures_delivered"]),
            freezes=int(row["freezes"]),
            freeze_seconds=float(row["freeze_ms"]) / 1_000,
            frozen_seconds=float(row["frozen_ms"]) / 1_000,
            rtx_bytes=int(row["rtx_bytes"]),
            padding_bytes=int(row["padding_bytes"]),
            red_packets=int(row["red_packets"]),
            red_bytes=int(row["red_bytes"]),
            fec_bytes=int(row["fec_bytes"]),
            fec_share=float(row["fec_share"]),
            rtx_share=float(row["rtx_share"]),
            mime_type=encoding.told.mime_type,
        )
    members = {
        offers.peer.handle: session.participant.id
        for session in live.room.sessions()
        for offers in session.transports()
        if offers.peer is not None
    }
    for row in rows_of(snapshot.downlinks, "peer", list(members)):
        stats.downlinks.append(_downlink(members[int(row["peer"])], row))
    return stats


def _downlink(participant_id: str, row: Any) -> stats_pb2.DownlinkStats:
    return stats_pb2.DownlinkStats(
        participant_id=participant_id,
        feedback=stats_pb2.DownlinkStats.Feedback.ValueType(int(row["feedback"])),
        limited_by=stats_pb2.DownlinkStats.Limit.ValueType(int(row["limited_by"])),
        estimate_bps=float(row["estimate_bps"]),
        acknowledged_bps=float(row["acknowledged_bps"]),
        allocated_bps=float(row["allocated_bps"]),
        desired_bps=float(row["desired_bps"]),
        loss=float(row["loss"]),
        rtt_ms=float(row["rtt_ms"]),
        queue_ms=float(row["queue_ms"]),
        pacer_ms=float(row["pacer_ms"]),
        pacer_packets=int(row["pacer_packets"]),
        pacer_dropped=int(row["pacer_dropped"]),
        bytes=int(row["bytes"]),
        rtx_bytes=int(row["rtx_bytes"]),
        fec_bytes=int(row["fec_bytes"]),
        padding_bytes=int(row["padding_bytes"]),
    )


def _interval(milliseconds: int) -> float:
    """Seconds. Raises InvalidArgumentError when out of range."""
    milliseconds = milliseconds or DEFAULT_INTERVAL_MS
    if milliseconds not in INTERVALS_MS:
        raise InvalidArgumentError(f"interval_ms must be within {INTERVALS_MS.start} to {INTERVALS_MS.stop - 1}")
    return milliseconds / 1_000
