"""How a room does, as text for a terminal: a pure function of what `StatsService` tells."""

from collections.abc import Iterable, Mapping, Sequence

from pysfu.v1 import models_pb2, stats_pb2

_PATHS = ("subscriber", "feedback", "limited by", "estimate", "allocated", "wanted", "loss", "RTT", "queue", "repair")
_VIDEOS = ("  video", "of", "layer", "target", "rate", "pictures", "freezes", "frozen", "RTX", "FEC", "state")
_LAYERS = ("publisher", "track", "kind", "layer", "rate", "lost", "recovered", "by FEC", "RTT", "jitter")
_LIMITS: Mapping[int, str] = {
    stats_pb2.DownlinkStats.LIMIT_APPLICATION: "application",
    stats_pb2.DownlinkStats.LIMIT_DELAY: "delay",
    stats_pb2.DownlinkStats.LIMIT_LOSS: "loss",
    stats_pb2.DownlinkStats.LIMIT_RECEIVER: "receiver",
    stats_pb2.DownlinkStats.LIMIT_MAXIMUM: "maximum",
}
_FEEDBACK: Mapping[int, str] = {
    stats_pb2.DownlinkStats.FEEDBACK_TRANSPORT_WIDE: "transport-wide",
    stats_pb2.DownlinkStats.FEEDBACK_RFC8888: "RFC 8888",
    stats_pb2.DownlinkStats.FEEDBACK_REMB: "REMB",
}
_PAUSES: Mapping[int, str] = {
    stats_pb2.SubscriptionStats.PAUSE_REASON_ASKED: "paused as asked",
    stats_pb2.SubscriptionStats.PAUSE_REASON_BANDWIDTH: "paused: too little bandwidth",
}


def table(stats: stats_pb2.RoomStats, names: Mapping[str, str]) -> str:
    """A line per path and one per video of its subscriber; behind them a line per layer that is published.
    `names`: participant id → what to call it."""
    by_subscriber: dict[str, list[stats_pb2.SubscriptionStats]] = {}
    for subscription in stats.subscriptions:
        by_subscriber.setdefault(subscription.subscriber_id, []).append(subscription)
    carried = {downlink.participant_id: downlink for downlink in stats.downlinks}
    videos = {track.track_id for track in stats.tracks if track.kind == models_pb2.MEDIA_KIND_VIDEO}
    lines: list[Sequence[str]] = [_PATHS, _VIDEOS]
    for subscriber in sorted(carried.keys() | by_subscriber.keys(), key=lambda item: names.get(item, item)):
        lines.append(_path(names.get(subscriber, subscriber), carried.get(subscriber)))
        lines += [
            _video(item, names.get(item.publisher_id, item.publisher_id))
            for item in by_subscriber.get(subscriber, ())
            if item.track_id in videos
        ]
    sent = [
        _sent(layer, track, names.get(track.participant_id, track.participant_id))
        for track in sorted(stats.tracks, key=lambda item: names.get(item.participant_id, item.participant_id))
        for layer in track.layers
    ]
    return "\n".join([_aligned(lines), *(["", _aligned([_LAYERS, *sent])] if sent else [])])


def _path(name: str, row: stats_pb2.DownlinkStats | None) -> Sequence[str]:
    if row is None or row.feedback == stats_pb2.DownlinkStats.FEEDBACK_UNSPECIFIED:
        return (name, "none")
    repair = (row.rtx_bytes + row.fec_bytes) / row.bytes if row.bytes else 0.0
    return (
        name,
        _FEEDBACK.get(row.feedback, "?"),
        _LIMITS.get(row.limited_by, "?"),
        _rate(row.estimate_bps),
        _rate(row.allocated_bps),
        _rate(row.desired_bps),
        f"{row.loss:.1%}",
        f"{row.rtt_ms:.0f} ms" if row.rtt_ms else "-",
        f"{row.queue_ms + row.pacer_ms:.0f} ms",
        f"{repair:.1%}",
    )


def _video(row: stats_pb2.SubscriptionStats, publisher: str) -> Sequence[str]:
    state = _PAUSES.get(row.pause_reason) or ("stands still" if row.frozen_seconds else "")
    return (
        f"  {row.track_id}",
        publisher,
        _layer(row.spatial, row.temporal),
        _layer(row.target_spatial, row.target_temporal),
        _rate(row.bitrate_bps),
        f"{row.pictures_delivered}/{row.pictures}",
        str(row.freezes),
        f"{row.freeze_seconds:.1f} s",
        f"{row.rtx_share:.1%}",
        f"{row.fec_share:.1%}",
        state,
    )


def _sent(row: stats_pb2.LayerStats, track: stats_pb2.TrackStats, publisher: str) -> Sequence[str]:
    expected = row.packets - row.packets_recovered + row.packets_lost
    return (
        publisher,
        track.track_id,
        track.mime_type or ("video" if track.kind == models_pb2.MEDIA_KIND_VIDEO else "audio"),
        row.rid or str(row.spatial),
        _rate(row.bitrate_bps) if row.active else "off",
        f"{row.packets_lost / expected:.1%}" if expected else "-",
        str(row.packets_recovered),
        str(row.packets_recovered_fec),
        f"{row.rtt_ms:.0f} ms" if row.rtt_ms else "-",
        f"{row.jitter_ms:.0f} ms",
    )


def _layer(spatial: int, temporal: int) -> str:
    return "-" if spatial < 0 else f"S{spatial}" + (f"T{temporal}" if temporal >= 0 else "")


def _rate(bps: float) -> str:
    return f"{bps / 1e6:.2f} Mb/s" if bps >= 1e6 else f"{bps / 1e3:.0f} kb/s"


def _aligned(lines: Iterable[Sequence[str]]) -> str:
    rows = list(lines)
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row):
            if index == len(widths):
                widths.append(0)
            widths[index] = max(widths[index], len(cell))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )
