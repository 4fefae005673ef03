"""Calls that go round by a third node, because the node that they are for cannot be reached straight.

The caller calls `/pysfu.v1.ThroughService/SERVICE.METHOD` at the third node and names the target in metadata (`TO`).
The third node calls the same method there and names the caller (`FOR`), whom it knows by its certificate; it passes
messages on as they are. So whoever takes such a call trusts the third node, which is one of the cluster by its own
certificate, to say truly who calls. A call has one of both marks, never both: no way has more than one third node.
"""

from collections.abc import Callable
from typing import Any, Final

import grpc

SERVICE: Final = "pysfu.v1.ThroughService"
TO: Final = "pysfu-to"
FOR: Final = "pysfu-for"
_PACKAGE: Final = "pysfu.v1."


def around(method: str) -> str:
    """The name of "/pysfu.v1.RoomService/ListRooms" for a call that goes round."""
    service, _, name = method.removeprefix("/").partition("/")
    return f"/{SERVICE}/{service.removeprefix(_PACKAGE)}.{name}"


def straight(method: str) -> str:
    """The reverse."""
    service, _, name = method.removeprefix(f"/{SERVICE}/").partition(".")
    return f"/{_PACKAGE}{service}/{name}"


class Through:
    """A channel to node `to` by way of the node that `channel` leads to. As generated stubs want one."""

    def __init__(self, channel: grpc.aio.Channel, to: str) -> None:
        self._channel = channel
        self._mark = (TO, to)

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._marked(self._channel.unary_unary, method, args, options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._marked(self._channel.unary_stream, method, args, options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._marked(self._channel.stream_unary, method, args, options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Callable[..., Any]:
        return self._marked(self._channel.stream_stream, method, args, options)

    def _marked(self, kind: Any, method: str, args: Any, options: dict[str, Any]) -> Callable[..., Any]:
        # A name that is made here is not registered with the channel.
        options.pop("_registered_method", None)
        call = kind(around(method), *args, **options)

        def marked(*request: Any, metadata: Any = (), **rest: Any) -> Any:
            return call(*request, metadata=(*(metadata or ()), self._mark), **rest)

        return marked
