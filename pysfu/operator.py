"""What commands that ask a running node have in common: where it is, and an operator's token."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn

import typer

Url = Annotated[str, typer.Option(help="host:port of the node's gRPC")]
Key = Annotated[str | None, typer.Option(help="API key; default: the first of PYSFU_KEYS")]
Secret = Annotated[str | None, typer.Option(help="its secret")]
Dev = Annotated[bool, typer.Option("--dev", help="use the development key")]


def with_channel(
    url: str,
    key: str | None,
    secret: str | None,
    dev: bool,
    act: Callable[[Any, dict[str, Any]], Coroutine[Any, Any, Any]],
    room: str = "",
) -> Any:
    """Calls of a node with an operator's token, for one room or for all."""
    import grpc

    from control_plane.auth import Grants, Token, create_token

    grants = Grants(room=room, room_create=True, room_list=True, room_admin=True)
    token = create_token(*credentials(key, secret, dev=dev), Token(identity="operator", grants=grants), ttl=3_600)

    async def run() -> Any:
        async with grpc.aio.insecure_channel(url) as channel:
            auth = {"metadata": (("authorization", f"Bearer {token}"),), "timeout": 10}
            return await act(channel, auth)

    try:
        return asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            fail(f"no node answers at {url}")
        fail(error.details() or error.code().name)


def credentials(key: str | None, secret: str | None, *, dev: bool) -> tuple[str, str]:
    """An API key and its secret, from flags, `--dev` or the environment."""
    from control_plane.config import DEV_KEY, ConfigError, load

    if key and secret:
        return key, secret
    if key or secret:
        fail("--key and --secret must be given together", code=2)
    if dev:
        return DEV_KEY
    try:
        return next(iter(load({}).keys.items()))
    except ConfigError as error:
        fail(str(error), code=2)


def fail(text: str, code: int = 1) -> NoReturn:
    for line in text.splitlines():
        sys.stderr.write(f"pysfu: {line}\n")
    raise typer.Exit(code)
