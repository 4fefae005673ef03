"""One process with everything: media core, control plane, gateway."""

import asyncio
import signal
import ssl
import sys
from typing import Final

import grpc
import structlog
from aiohttp import web

from control_plane import garbage, logs, metrics
from control_plane.cluster import certs
from control_plane.cluster.cluster import ClusterBindError, ClusterOptions
from control_plane.config import Settings
from control_plane.gateway.app import HAND_OVER, build_app
from control_plane.gateway.options import GatewayOptions
from control_plane.negotiation.model import FecPolicy
from control_plane.node import NodeLimits
from control_plane.server import ControlPlane, GrpcBindError, ServerOptions
from pysfu import BindError, Sfu, __version__

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS: Final = 2.0
# Connections that wait to be accepted. The clients of a node that died come all at once, and who finds no place here
# tries again after a second. The kernel's own limit (net.core.somaxconn) is 4,096, too.
BACKLOG: Final = 4_096


class ServeError(Exception):
    """The node cannot start; the text says why and what to change."""


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises ServeError."""
    with logs.core_records():
        await _serve(settings)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    hurry = asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    sfu = _open_media(settings)
    try:
        control_plane = ControlPlane(sfu, _options(settings))
        try:
            await control_plane.start()
        except GrpcBindError as error:
            raise ServeError(f"{error}: choose another port with --grpc-port") from error
        except ClusterBindError as error:
            raise ServeError(f"{error}: choose another port with --cluster-port") from error
        gateway = _gateway(settings, control_plane, sfu)
        runner = web.AppRunner(gateway, shutdown_timeout=SHUTDOWN_SECONDS)
        try:
            await _listen(settings, runner)
            log.info("media", workers=sfu.worker_count, srtp=sfu.srtp_backend, udp_port=settings.udp_port)
            garbage.settle()
            sys.stdout.write(f"pysfu is ready: {_url(settings)}\n")
            sys.stdout.flush()
            await stop.wait()
            log.info("draining", seconds=settings.drain_seconds())
            drained = asyncio.create_task(control_plane.drain(settings.drain_seconds()))
            await asyncio.wait([drained, asyncio.create_task(hurry.wait())], return_when=asyncio.FIRST_COMPLETED)
            # Who comes back comes to another gateway.
            await asyncio.gather(*(site.stop() for site in list(runner.sites)))
            await gateway[HAND_OVER]()
        finally:
            await control_plane.stop()
            await runner.cleanup()
    finally:
        sfu.shutdown()


def _open_media(settings: Settings) -> Sfu:
    try:
        return Sfu(
            workers=settings.workers,
            bind=settings.media_addresses(),
            port=settings.udp_port,
            external_ips=settings.external_ips,
            limits={
                "start_bitrate": settings.start_bitrate,
                "max_bitrate": settings.max_bitrate,
                "loudest": settings.loudest_speakers,
                "audio_redundancy": settings.audio_redundancy,
            },
        )
    except BindError as error:
        address, port, reason = error.args
        text = f"cannot listen on UDP {address} port {port} for media ({reason}): choose another port with --udp-port"
        raise ServeError(text) from error
    except (ValueError, OSError) as error:
        raise ServeError(f"media cannot start: {error}") from error


def _options(settings: Settings) -> ServerOptions:
    credentials = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
        credentials = grpc.ssl_server_credentials([pair])
    limits = NodeLimits(
        max_rooms=settings.max_rooms,
        max_participants=settings.max_participants,
        max_participants_per_room=settings.max_participants_per_room,
        packets_per_second=settings.max_packets_per_second,
        egress_bps=settings.max_egress,
        auto_create_rooms=settings.auto_create_rooms,
        fec=FecPolicy(send=settings.fec == "auto", take=settings.uplink_fec),
    )
    return ServerOptions(
        keys=settings.api_keys(),
        address=settings.grpc_address(),
        credentials=credentials,
        limits=limits,
        version=__version__,
        cluster=_cluster(settings),
    )


def _cluster(settings: Settings) -> ClusterOptions | None:
    ca, cert, key = settings.cluster_ca, settings.cluster_cert, settings.cluster_key
    if not settings.nats or ca is None or cert is None or key is None:
        return None
    try:
        identity = certs.load(ca, cert, key, settings.node_id)
    except certs.CertificateError as error:
        raise ServeError(str(error)) from error
    ip = settings.announced_ip()
    return ClusterOptions(
        identity,
        nats=settings.nats,
        nats_credentials=settings.nats_credentials,
        address=settings.cluster_bind(),
        announced=settings.announced_cluster_address(),
        region=settings.region,
        url=settings.announced_url(),
        gateway=settings.public_url,
        grpc=f"[{ip}]:{settings.grpc_port}" if ":" in ip else f"{ip}:{settings.grpc_port}",
        relay_ip=ip,
        fan_out=settings.fan_out,
        keep_sessions=settings.keep_sessions,
    )


def _gateway(settings: Settings, control_plane: ControlPlane, sfu: Sfu) -> web.Application:
    options = GatewayOptions(
        channel=control_plane.local.channel,
        keys=settings.api_keys(),
        version=__version__,
        ready=lambda: not control_plane.node.draining,
        metrics=lambda: metrics.render(sfu.snapshot, lambda: control_plane),
        dev=settings.dev,
        nodes=control_plane.cluster,
    )
    return build_app(options)


async def _listen(settings: Settings, runner: web.AppRunner) -> None:
    tls = None
    if settings.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(settings.tls_cert, settings.tls_key)
        except ssl.SSLError as error:
            raise ServeError(f"tls_cert and tls_key do not fit: {error.reason}") from error
    await runner.setup()
    for host in settings.http_addresses():
        try:
            await web.TCPSite(runner, host, settings.http_port, ssl_context=tls, backlog=BACKLOG).start()
        except OSError as error:
            text = f"cannot listen on {host} port {settings.http_port} for HTTP ({error.strerror})"
            raise ServeError(f"{text}: choose another port with --http-port") from error


def _url(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert is not None else "http"
    return f"{scheme}://localhost:{settings.http_port}"
