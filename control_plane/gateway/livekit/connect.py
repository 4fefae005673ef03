"""What a client says when it connects, in both versions of the protocol."""

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models as lm
from livekit.protocol import rtc as lr

from control_plane.gateway.livekit.from_livekit import BadRequestError

MAX_JOIN_REQUEST: Final = 512 * 1024
_TRUE: Final = ("1", "true")


def from_v1(query: Mapping[str, str]) -> lr.JoinRequest:
    """`join_request` is base64url of a WrappedJoinRequest that holds the request, gzipped or not."""
    text = query.get("join_request", "")
    if not text:
        raise BadRequestError("join_request is missing")
    try:
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        wrapped = lr.WrappedJoinRequest.FromString(base64.b64decode(padded, validate=True))
        content = wrapped.join_request
        if wrapped.compression == lr.WrappedJoinRequest.GZIP:
            content = _gunzip(content)
        return lr.JoinRequest.FromString(content)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError("join_request is not base64url") from error
    except zlib.error as error:
        raise BadRequestError("join_request is not gzip") from error
    except DecodeError as error:
        raise BadRequestError("join_request is no WrappedJoinRequest") from error


def from_v0(query: Mapping[str, str]) -> lr.JoinRequest:
    """Everything is in the query's parameters."""
    sdk = query.get("sdk", "").upper()
    protocol = query.get("protocol", "0")
    info = lm.ClientInfo(
        sdk=sdk if sdk in lm.ClientInfo.SDK.keys() else "UNKNOWN",  # noqa: SIM118
        version=query.get("version", ""),
        protocol=int(protocol) if protocol.isdecimal() and len(protocol) < 6 else 0,
    )
    settings = lr.ConnectionSettings(
        auto_subscribe=query.get("auto_subscribe", "1") in _TRUE, adaptive_stream=query.get("adaptive_stream") in _TRUE
    )
    return lr.JoinRequest(
        client_info=info,
        connection_settings=settings,
        reconnect=query.get("reconnect") in _TRUE,
        participant_sid=query.get("sid", ""),
    )


def _gunzip(content: bytes) -> bytes:
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    result = reader.decompress(content, MAX_JOIN_REQUEST)
    if reader.unconsumed_tail:
        raise BadRequestError(f"join_request is longer than {MAX_JOIN_REQUEST} bytes")
    return result
