"""What a gateway is told at its start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """`grpc_address`: where the node's gRPC is, "host:port"."""

    grpc_address: str
    keys: Mapping[str, str]
    version: str
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    """The body of /metrics, in Prometheus' text format."""
    grpc_credentials: grpc.ChannelCredentials | None = None
    dev: bool = False
