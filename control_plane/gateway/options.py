"""What a gateway is told at its start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import grpc


class ClusterNodes(Protocol):
    """What a gateway asks of its node's cluster."""

    @property
    def id(self) -> str:
        """Of the node that the gateway belongs to."""

    def channel(self, node: str) -> grpc.aio.Channel:
        """To another node. Raises UnavailableError when it is not known."""

    def goes_round(self, node: str) -> bool:
        """It lives, and is called through a third node, because what is straight to it is broken."""

    def is_kept(self, node: str) -> bool:
        """Another node, which answers, has what it takes to go on with that one's sessions."""

    def suspect(self, node: str) -> None:
        """It broke off, or did not answer."""

    def gateways(self) -> list[tuple[str, str]]:
        """Region and URL of each that clients may go on at, the best first."""

    def on_round(self, told: Callable[[str], None]) -> None:
        """`told` is called with the id of each node to which all is called through a third node from now on."""

    def on_lost(self, told: Callable[[str], None]) -> None:
        """`told` is called with the id of each node that is gone."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """`channel`: to the services of the gateway's own node."""

    channel: grpc.aio.Channel
    keys: Mapping[str, str]
    version: str
    ready: Callable[[], bool]
    metrics: Callable[[], bytes]
    """The body of /metrics, in Prometheus' text format."""
    dev: bool = False
    nodes: ClusterNodes | None = None
    """Other nodes; None: a node by itself."""
