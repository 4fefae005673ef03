"""Which layers of a video its subscribers can use, as its publisher is told (dynacast). Pure functions."""

from typing import Final

from pysfu.v1 import models_pb2, signaling_pb2

Highest = tuple[int, int]
"""Spatial and temporal layer, counted from 0, the lowest; 255 is the best there is."""

EVERYTHING: Final[Highest] = (255, 255)


def layers_wanted(info: models_pb2.Track, highest: Highest | None) -> signaling_pb2.LayersWanted:
    """Every layer of a track, and whether it is wanted: those up to `highest`, none for None."""
    spatial, temporal = highest if highest is not None else (-1, 0)
    layers = list(info.layers) or [models_pb2.VideoLayer()]
    return signaling_pb2.LayersWanted(
        track_id=info.id,
        mime_type=info.mime_type,
        layers=[
            signaling_pb2.LayersWanted.Layer(spatial=index, rid=layer.rid, wanted=index <= spatial)
            for index, layer in enumerate(layers)
        ],
        max_temporal=temporal,
    )


def sizes(info: models_pb2.Track) -> list[tuple[int, int]]:
    """(width, height) of each layer as its publisher says, lowest first; what is no size is unknown: (0, 0)."""
    told = [(layer.width, layer.height) for layer in info.layers] or [(info.width, info.height)]
    return [size if max(size) < 2**16 else (0, 0) for size in told]


def source(info: models_pb2.Track) -> str:
    """What the core tells apart."""
    return "screen" if info.source == models_pb2.TRACK_SOURCE_SCREEN_SHARE else "camera"
