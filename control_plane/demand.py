"""Which layers of a video its subscribers can use, as its publisher is told (dynacast). Pure functions."""

from collections.abc import Iterable
from typing import Final

from pysfu.v1 import models_pb2, signaling_pb2

Highest = tuple[int, int]
"""Spatial and temporal layer, counted from 0, the lowest; 255 is the best there is."""

EVERYTHING: Final[Highest] = (255, 255)


def layers_wanted(
    info: models_pb2.Track,
    highest: Highest | None,
    backups: Iterable[tuple[models_pb2.TrackCodec, Highest | None]] = (),
) -> signaling_pb2.LayersWanted:
    """Every layer of a track, and whether it is wanted: those up to `highest`, none for None. Also of its backups."""
    wanted = signaling_pb2.LayersWanted(
        track_id=info.id,
        mime_type=info.mime_type,
        layers=_layers(info.layers, highest),
        max_temporal=highest[1] if highest is not None else 0,
    )
    for codec, limit in backups:
        temporal = limit[1] if limit is not None else 0
        wanted.backups.add(mime_type=codec.mime_type, layers=_layers(codec.layers, limit), max_temporal=temporal)
    return wanted


def _layers(layers: Iterable[models_pb2.VideoLayer], highest: Highest | None) -> list[signaling_pb2.LayersWanted.Layer]:
    spatial = highest[0] if highest is not None else -1
    return [
        signaling_pb2.LayersWanted.Layer(spatial=index, rid=layer.rid, wanted=index <= spatial)
        for index, layer in enumerate(list(layers) or [models_pb2.VideoLayer()])
    ]


def sizes(info: models_pb2.Track, layers: Iterable[models_pb2.VideoLayer]) -> list[tuple[int, int]]:
    """(width, height) of each layer as its publisher says, lowest first; what is no size is unknown: (0, 0)."""
    told = [(layer.width, layer.height) for layer in layers] or [(info.width, info.height)]
    return [size if max(size) < 2**16 else (0, 0) for size in told]


def source(info: models_pb2.Track) -> str:
    """What the core tells apart."""
    return "screen" if info.source == models_pb2.TRACK_SOURCE_SCREEN_SHARE else "camera"
