"""The `pysfu` command."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from pysfu.cluster_cli import cluster_app, node_app, room_where
from pysfu.operator import Dev, Key, Secret, Url, credentials, fail, with_channel

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A selective forwarding unit for WebRTC.")
token_app = typer.Typer(no_args_is_help=True, help="Access tokens.")
room_app = typer.Typer(no_args_is_help=True, help="Rooms of a running node, over gRPC.")
app.add_typer(token_app, name="token")
app.add_typer(room_app, name="room")
app.add_typer(node_app, name="node")
app.add_typer(cluster_app, name="cluster")
room_app.command("where")(room_where)


def main() -> None:
    """Entry point of the console script."""
    app()


@app.command()
def serve(
    dev: Annotated[bool, typer.Option("--dev", help="development: keys devkey/secret, loopback only")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    http_host: Annotated[list[str] | None, typer.Option(help="address of HTTP and WebSocket; may be repeated")] = None,
    http_port: Annotated[int | None, typer.Option(help="port of HTTP and WebSocket [7880]")] = None,
    grpc_host: Annotated[str | None, typer.Option(help="address of gRPC")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="port of gRPC [7890]")] = None,
    media_ip: Annotated[list[str] | None, typer.Option(help="address of media; may be repeated")] = None,
    external_ip: Annotated[list[str] | None, typer.Option(help="address announced instead; may be repeated")] = None,
    udp_port: Annotated[int | None, typer.Option(help="first UDP port of media, one per worker [7882]")] = None,
    workers: Annotated[int | None, typer.Option(help="media threads [one per core]")] = None,
    start_bitrate: Annotated[
        int | None, typer.Option(help="bits/s to a subscriber before its path is known [5000000]")
    ] = None,
    nats: Annotated[list[str] | None, typer.Option(help="NATS server of a cluster; may be repeated")] = None,
    node_id: Annotated[str | None, typer.Option(help="must be that of the certificate")] = None,
    region: Annotated[str | None, typer.Option(help="where the node is, such as eu-west")] = None,
    cluster_host: Annotated[str | None, typer.Option(help="address of what nodes say to each other")] = None,
    cluster_port: Annotated[int | None, typer.Option(help="its port [7891]")] = None,
    cluster_address: Annotated[str | None, typer.Option(help="host:port at which other nodes reach it")] = None,
    cluster_ca: Annotated[Path | None, typer.Option(help="certificates that sign those of nodes, PEM")] = None,
    cluster_cert: Annotated[Path | None, typer.Option(help="certificate of this node, PEM")] = None,
    cluster_key: Annotated[Path | None, typer.Option(help="its private key, PEM")] = None,
    relay_ip: Annotated[str | None, typer.Option(help="address at which media of other nodes arrives")] = None,
    public_url: Annotated[str | None, typer.Option(help="URL of this node's gateway")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate chain, PEM")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its private key, PEM")] = None,
    drain_timeout: Annotated[float | None, typer.Option(help="seconds that a drain waits")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console")] = None,
) -> None:
    """Run a node: media, gRPC, gateway and web client in one process."""
    import uvloop

    from control_plane import logs
    from control_plane.config import ConfigError, load
    from control_plane.serve import ServeError
    from control_plane.serve import serve as run

    given: dict[str, Any] = {
        "dev": dev or None,
        "http_host": http_host or None,
        "http_port": http_port,
        "grpc_host": grpc_host,
        "grpc_port": grpc_port,
        "media_ips": media_ip or None,
        "external_ips": external_ip or None,
        "udp_port": udp_port,
        "workers": workers,
        "start_bitrate": start_bitrate,
        "nats": nats or None,
        "node_id": node_id,
        "region": region,
        "cluster_host": cluster_host,
        "cluster_port": cluster_port,
        "cluster_address": cluster_address,
        "cluster_ca": cluster_ca,
        "cluster_cert": cluster_cert,
        "cluster_key": cluster_key,
        "relay_ip": relay_ip,
        "public_url": public_url,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "drain_timeout": drain_timeout,
        "log_level": log_level,
        "log_format": log_format,
    }
    try:
        settings = load({name: value for name, value in given.items() if value is not None}, config)
    except ConfigError as error:
        fail(str(error), code=2)
    logs.configure(level=settings.log_level, console=settings.console_logs())
    try:
        uvloop.run(run(settings))
    except ServeError as error:
        fail(str(error))


@app.command()
def version() -> None:
    """Print the version."""
    from pysfu import __version__

    typer.echo(__version__)


@token_app.command("create")
def token_create(
    room: Annotated[str, typer.Option(help="the room that it is for")],
    identity: Annotated[str, typer.Option(help="whom it is for, unique in the room")],
    name: Annotated[str, typer.Option(help="shown to the others")] = "",
    metadata: Annotated[str, typer.Option(help="shown to the others' applications")] = "",
    ttl: Annotated[float, typer.Option(help="seconds until it expires", min=1)] = 21_600,
    publish: Annotated[bool, typer.Option(help="may send audio and video")] = True,
    subscribe: Annotated[bool, typer.Option(help="may receive audio and video")] = True,
    data: Annotated[bool, typer.Option(help="may send data")] = True,
    hidden: Annotated[bool, typer.Option("--hidden", help="not seen by the others")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="may manage the room")] = False,
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """Print a token for one participant of one room."""
    from control_plane.auth import Grants, Token, create_token

    api_key, api_secret = credentials(key, secret, dev=dev)
    grants = Grants(
        room=room,
        room_join=True,
        room_admin=admin,
        can_publish=publish,
        can_subscribe=subscribe,
        can_publish_data=data,
        hidden=hidden,
    )
    token = Token(identity=identity, grants=grants, name=name, metadata=metadata)
    typer.echo(create_token(api_key, api_secret, token, ttl=ttl))


@token_app.command("operator")
def token_operator(
    ttl: Annotated[float, typer.Option(help="seconds until it expires", min=1)] = 3_600,
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """Print a token for operators: every room, every node, and the page /cluster."""
    from control_plane.auth import Grants, Token, create_token

    grants = Grants(room_create=True, room_list=True, room_admin=True)
    typer.echo(create_token(*credentials(key, secret, dev=dev), Token(identity="operator", grants=grants), ttl=ttl))


@room_app.command("list")
def room_list(url: Url = "127.0.0.1:7890", key: Key = None, secret: Secret = None, dev: Dev = False) -> None:
    """List the rooms that are live."""
    from pysfu.v1 import rooms_pb2

    answer = _call(url, key, secret, dev, lambda rooms, auth: rooms.ListRooms(rooms_pb2.ListRoomsRequest(), **auth))
    for room in answer.rooms:
        typer.echo(f"{room.id}  {room.num_participants:>5} participants  {room.name}")


@room_app.command("create")
def room_create(
    name: str,
    max_participants: Annotated[int, typer.Option(help="0: no limit", min=0)] = 0,
    url: Url = "127.0.0.1:7890",
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """Create a room before anyone joins."""
    from pysfu.v1 import rooms_pb2

    request = rooms_pb2.CreateRoomRequest(name=name, max_participants=max_participants)
    room = _call(url, key, secret, dev, lambda rooms, auth: rooms.CreateRoom(request, **auth))
    typer.echo(f"{room.id}  {room.name}")


@room_app.command("end")
def room_end(name: str, url: Url = "127.0.0.1:7890", key: Key = None, secret: Secret = None, dev: Dev = False) -> None:
    """End a room; everyone in it is disconnected."""
    from pysfu.v1 import rooms_pb2

    _call(url, key, secret, dev, lambda rooms, auth: rooms.EndRoom(rooms_pb2.EndRoomRequest(room=name), **auth))
    typer.echo(f"ended {name}")


@app.command()
def stats(
    room: Annotated[str, typer.Argument(help="name of the room")],
    watch: Annotated[bool, typer.Option("--watch", help="again every second, until interrupted")] = False,
    url: Url = "127.0.0.1:7890",
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """Show how the path to each participant of a room does, what each gets, and what each sends."""
    from pysfu.room_table import table
    from pysfu.v1 import rooms_pb2, rooms_pb2_grpc, stats_pb2, stats_pb2_grpc

    async def once(channel: Any, auth: dict[str, Any]) -> str:
        rooms: Any = rooms_pb2_grpc.RoomServiceStub(channel)
        found = await rooms.ListParticipants(rooms_pb2.ListParticipantsRequest(room=room), **auth)
        names = {item.id: item.identity for item in found.participants}
        service: Any = stats_pb2_grpc.StatsServiceStub(channel)
        return table(await service.GetRoomStats(stats_pb2.GetRoomStatsRequest(room=room), **auth), names)

    async def act(channel: Any, auth: dict[str, Any]) -> None:
        while True:
            typer.echo(await once(channel, auth))
            if not watch:
                return
            await asyncio.sleep(1)
            if sys.stdout.isatty():
                typer.echo("\x1b[2J\x1b[H", nl=False)

    try:
        with_channel(url, key, secret, dev, act, room=room)
    except KeyboardInterrupt:
        return


def _call(
    url: str,
    key: str | None,
    secret: str | None,
    dev: bool,
    act: Callable[[Any, dict[str, Any]], Coroutine[Any, Any, Any]],
) -> Any:
    """One RPC of RoomService with an operator's token."""
    from pysfu.v1 import rooms_pb2_grpc

    return with_channel(url, key, secret, dev, lambda channel, auth: act(rooms_pb2_grpc.RoomServiceStub(channel), auth))
