"""`pysfu node`, `pysfu cluster` and `pysfu room where`."""

import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pysfu.operator import Dev, Key, Secret, Url, fail, with_channel

if TYPE_CHECKING:
    from pysfu.v1 import allocation_pb2

node_app = typer.Typer(no_args_is_help=True, help="Nodes of a cluster.")
cluster_app = typer.Typer(no_args_is_help=True, help="What a cluster needs, and one on this machine.")

# Seconds between looks at a node that drains.
DRAIN_LOOK = 0.5
STATES = {1: "ready", 2: "draining", 3: "suspected", 4: "refused"}


@node_app.command("list")
def node_list(
    region: Annotated[str, typer.Option(help="only those of one region")] = "",
    url: Url = "127.0.0.1:7890",
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """List the nodes that are there, asking any of them."""
    from pysfu.v1 import allocation_pb2

    async def act(stub: Any, auth: dict[str, Any]) -> Any:
        return await stub.ListNodes(allocation_pb2.ListNodesRequest(region=region), **auth)

    nodes = list(_allocation(url, key, secret, dev, act).nodes)
    width = max([4, *(len(node.id) for node in nodes)])
    there = max([6, *(len(node.region) for node in nodes)])
    typer.echo(
        f"{'node':<{width}}  {'region':<{there}}  {'state':<9}  {'cpu':>4}  participants  rooms  links (ms)  url"
    )
    for node in nodes:
        typer.echo(_line(node, width, there))


@node_app.command("drain")
def node_drain(
    node: Annotated[str, typer.Argument(help="id of the node")],
    url: Url = "127.0.0.1:7890",
    key: Key = None,
    secret: Secret = None,
    dev: Dev = False,
) -> None:
    """Let a node take nobody any more, and move those who are there to others. Then it can be stopped."""
    import grpc

    from pysfu.v1 import allocation_pb2

    async def act(stub: Any, auth: dict[str, Any]) -> None:
        found = await stub.DrainNode(allocation_pb2.DrainNodeRequest(node_id=node), **auth)
        typer.echo(f"{found.id} drains, with {found.participants} participants in {found.rooms} rooms")
        told = ""
        while found.participants:
            await asyncio.sleep(DRAIN_LOOK)
            try:
                found = await stub.GetNode(allocation_pb2.GetNodeRequest(node_id=node), **auth)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                typer.echo(f"{node} is gone")
                return
            if not found.HasField("drain"):
                # By itself it cannot move anybody.
                return
            told = _say_drain(found, told)
        typer.echo(f"{found.id} is empty")

    _allocation(url, key, secret, dev, act)


def _say_drain(node: Any, told: str) -> str:
    """Prints how far the node is emptied when that is new."""
    drain = node.drain
    line = f"{drain.moved} of {drain.total} moved, {drain.left} left, {drain.failed} told to join anew"
    if line != told:
        typer.echo(line)
    return line


def room_where(
    name: str, url: Url = "127.0.0.1:7890", key: Key = None, secret: Secret = None, dev: Dev = False
) -> None:
    """Show which nodes host a room, the one that owns it first."""
    from pysfu.v1 import allocation_pb2

    async def act(stub: Any, auth: dict[str, Any]) -> Any:
        return await stub.FindRoom(allocation_pb2.FindRoomRequest(room=name), **auth)

    place = _allocation(url, key, secret, dev, act)
    nodes = [place.owner, *(node for node in place.nodes if node != place.owner)]
    typer.echo(f"{place.room_id}  epoch {place.epoch}  {', '.join(nodes)}")


@cluster_app.command("certs")
def cluster_certs(
    nodes: Annotated[list[str], typer.Argument(help="ids of the nodes")],
    out: Annotated[Path, typer.Option(help="folder for ca.pem, and for each node NODE.pem and NODE.key")],
    host: Annotated[list[str] | None, typer.Option(help="further name or address in them; may be repeated")] = None,
) -> None:
    """Make certificates for nodes, with an authority for development; one that is in the folder is used again."""
    from control_plane.cluster import certs

    try:
        certs.make(nodes, out, host or ())
    except certs.CertificateError as error:
        fail(str(error))
    typer.echo(f"wrote {out / 'ca.pem'} and certificates of {', '.join(nodes)}")


@cluster_app.command("dev")
def cluster_dev(
    nodes: Annotated[int, typer.Option(help="how many", min=1, max=16)] = 2,
    region: Annotated[list[str] | None, typer.Option(help="of the nodes in turn; may be repeated")] = None,
    http_port: Annotated[int, typer.Option(help="of the first node; others are 100 apart")] = 7880,
    workers: Annotated[int, typer.Option(help="media threads of each node", min=1)] = 1,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="the others go on when a node ends")] = False,
    folder: Annotated[Path | None, typer.Option("--dir", help="for certificates and logs [a temporary one]")] = None,
) -> None:
    """Run a cluster on this machine, with its own NATS server; Ctrl-C ends all of it."""
    from control_plane.cluster.dev import DevError, Plan, run

    async def until_stopped(place: Path) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        plan = Plan(nodes, place, region or (), http_port, workers, keep_going=keep_going)
        await run(plan, _say, stop)

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            asyncio.run(until_stopped(folder.absolute()))
        else:
            with tempfile.TemporaryDirectory(prefix="pysfu-cluster-") as made:
                asyncio.run(until_stopped(Path(made)))
    except DevError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


def _link(link: "allocation_pb2.Node.Link") -> str:
    # Nobody has measured a link of which only the way round is known.
    return f"{link.node_id}:{f'by-{link.through}' if link.through else f'{link.rtt_ms:.1f}'}"


def _line(node: "allocation_pb2.Node", width: int, there: int) -> str:
    state = STATES.get(node.state, "unknown")
    links = " ".join(map(_link, node.links)) or "-"
    people = f"{node.participants}/{node.max_participants}"
    load = f"{node.load.get('cpu', 0.0):.0%}"
    return (
        f"{node.id:<{width}}  {node.region or '-':<{there}}  {state:<9}  {load:>4}  {people:>12}  {node.rooms:>5}  "
        f"{links:<10}  {node.url}"
    )


def _allocation(url: str, key: str | None, secret: str | None, dev: bool, act: Any) -> Any:
    """One RPC of AllocationService with an operator's token."""
    from pysfu.v1 import allocation_pb2_grpc

    return with_channel(
        url, key, secret, dev, lambda channel, auth: act(allocation_pb2_grpc.AllocationServiceStub(channel), auth)
    )
