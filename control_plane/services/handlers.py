"""Which of the services that are there takes a call."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import grpc


class CallDetails(NamedTuple):
    """Which call a handler is asked for, as `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Any


def find_handler(
    handlers: Iterable[grpc.GenericRpcHandler], method: str, metadata: Any
) -> "grpc.RpcMethodHandler[Any, Any] | None":
    """Of the first that knows the method."""
    details = CallDetails(method, metadata)
    found = (handler.service(details) for handler in handlers)  # type: ignore[arg-type]
    return next((handler for handler in found if handler is not None), None)
