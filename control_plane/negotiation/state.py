"""Formats as they go from node to node with a session that moves."""

from control_plane.negotiation.model import Codec
from pysfu.v1 import moving_pb2


def format_of(codec: Codec) -> moving_pb2.SessionState.Format:
    """The same as a message."""
    return moving_pb2.SessionState.Format(
        payload_type=codec.payload_type,
        name=codec.name,
        clock_rate=codec.clock_rate,
        channels=codec.channels,
        fmtp=codec.fmtp,
        rtx=codec.rtx,
        feedback=codec.feedback,
    )


def codec_of(told: moving_pb2.SessionState.Format) -> Codec:
    """What `format_of` told."""
    return Codec(
        payload_type=told.payload_type,
        name=told.name,
        clock_rate=told.clock_rate,
        channels=told.channels if told.HasField("channels") else None,
        fmtp=told.fmtp,
        rtx=told.rtx if told.HasField("rtx") else None,
        feedback=tuple(told.feedback),
    )
