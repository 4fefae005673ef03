"""gRPC between nodes: TLS with certificates at both ends, each checked against the id of the node it belongs to."""

from collections.abc import Callable
from typing import Any, Final

import grpc
import structlog

from control_plane.cluster.certs import CertificateError, Identity, name_of, node_of
from control_plane.errors import UnauthenticatedError, UnavailableError

log = structlog.get_logger(__name__)

# A node that does not answer is found sooner with shorter times; longer ones ride out a stall of a loop.
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """Of a listener that only nodes of this cluster can call."""
    pair = (identity.key, identity.cert)
    return grpc.ssl_server_credentials([pair], root_certificates=identity.ca, require_client_auth=True)


def caller(context: Any) -> str:
    """The node that calls, as its certificate says. Raises UnauthenticatedError, and logs, when it says none."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    try:
        return node_of([name.decode("ascii", "replace") for name in names])
    except CertificateError as error:
        log.warning("a call between nodes was refused", peer=context.peer(), reason=str(error))
        raise UnauthenticatedError(str(error)) from error


class Channels:
    """A channel to each node, made when it is first asked for and kept while the node's address stays the same."""

    def __init__(self, identity: Identity, address_of: Callable[[str], str | None]) -> None:
        """`address_of`: "host:port" of a node's listener; None for a node that is not known."""
        self._credentials = grpc.ssl_channel_credentials(identity.ca, identity.key, identity.cert)
        self._address_of = address_of
        self._open: dict[str, tuple[str, grpc.aio.Channel]] = {}
        self._old: list[grpc.aio.Channel] = []

    def to(self, node: str) -> grpc.aio.Channel:
        """Raises UnavailableError when it is not known where the node is."""
        address = self._address_of(node)
        found = self._open.get(node)
        if found is not None and address in (None, found[0]):
            return found[1]
        if address is None:
            raise UnavailableError(f"no node {node[:64]!r} is known")
        if found is not None:
            # Calls that run on it end with it, or by themselves.
            self._old.append(found[1])
        # The name that is checked is the node's, whatever its address.
        name = (("grpc.ssl_target_name_override", name_of(node)),)
        channel = grpc.aio.secure_channel(address, self._credentials, (*CHANNEL_OPTIONS, *name))
        self._open[node] = (address, channel)
        return channel

    def is_failing(self, node: str) -> bool:
        """The last attempt to connect to it failed, and the next one has not succeeded yet."""
        found = self._open.get(node)
        return (
            found is not None and found[1].get_state(try_to_connect=True) is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        )

    async def forget(self, node: str) -> None:
        """Closes the channel to a node that is gone."""
        found = self._open.pop(node, None)
        if found is not None:
            await found[1].close()

    async def close(self) -> None:
        """Ends every call."""
        for channel in [*self._old, *(channel for _, channel in self._open.values())]:
            await channel.close()
        self._old.clear()
        self._open.clear()
