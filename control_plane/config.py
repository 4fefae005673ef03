"""Settings of a node: flags over environment over file over defaults.

Environment: the name in capitals behind `PYSFU_`. File: TOML with the same names. See the table in the README.
"""

import ipaddress
import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from control_plane.ids import check_node_id
from control_plane.negotiation.model import Parity

DEV_KEY: Final = ("devkey", "secret")
MIN_SECRET: Final = 32
Port = Annotated[int, Field(ge=0, le=65_535)]


class ConfigError(Exception):
    """The settings are wrong; one line per fault, each naming its setting."""


def _keys(value: Any) -> Any:
    """`key: secret, key: secret` of an environment variable; a table of a file as it is."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition(":") for pair in value.split(",") if pair.strip()]
    if any(not colon or not key.strip() or not secret.strip() for key, colon, secret in pairs):
        raise ValueError("must be `key: secret`, separated by commas")
    return {key.strip(): secret.strip() for key, _, secret in pairs}


def _list(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Addresses = Annotated[list[str], NoDecode, BeforeValidator(_list)]


class Settings(BaseSettings):
    """Every field is a setting; its description is shown by `pysfu serve --help` and in the README."""

    model_config = SettingsConfigDict(env_prefix="PYSFU_", extra="forbid", frozen=True)

    dev: bool = Field(False, description="development: keys devkey/secret, loopback only")
    keys: Annotated[dict[str, str], NoDecode, BeforeValidator(_keys)] = Field(
        default_factory=dict, description="API keys and their secrets", repr=False
    )
    http_host: Addresses = Field(default_factory=list, description="addresses of HTTP and WebSocket")
    http_port: Port = Field(7880, description="port of HTTP and WebSocket")
    grpc_host: str = Field("", description="address of gRPC")
    grpc_port: Port = Field(7890, description="port of gRPC")
    media_ips: Addresses = Field(default_factory=list, description="addresses of media; 0.0.0.0 and :: mean all")
    external_ips: Addresses = Field(default_factory=list, description="addresses announced instead")
    udp_port: Port = Field(7882, description="first UDP port of media, one per worker")
    workers: int = Field(os.cpu_count() or 1, ge=1, le=64, description="media threads")
    start_bitrate: int = Field(5_000_000, ge=50_000, description="bits/s to a subscriber before its path is known")
    max_bitrate: int = Field(200_000_000, ge=50_000, description="bits/s to one subscriber at most")
    loudest_speakers: int = Field(6, ge=0, description="microphones of a room that are forwarded at a time; 0: all")
    fec: Literal["auto", "off"] = Field("auto", description="parity beside video where packets are lost: auto, off")
    uplink_fec: Parity = Field("any", description="parity that publishers may send: any, flexfec, off")
    audio_redundancy: int = Field(4, ge=0, le=4, description="repeats of audio at most where packets are lost; 0: none")
    nats: Addresses = Field(default_factory=list, description="NATS servers of a cluster; none: a node by itself")
    nats_credentials: Path | None = Field(None, description="credentials file of NATS")
    node_id: str = Field("", description="of a cluster's node; must be that of its certificate")
    region: str = Field("", max_length=64, description="where the node is, such as eu-west")
    cluster_host: str = Field("", description="address of what nodes say to each other")
    cluster_port: Port = Field(7891, description="its port")
    cluster_address: str = Field("", description="host:port at which other nodes reach it")
    cluster_ca: Path | None = Field(None, description="certificates that sign those of nodes, PEM")
    cluster_cert: Path | None = Field(None, description="certificate of this node, PEM")
    cluster_key: Path | None = Field(None, description="its private key, PEM")
    relay_ip: str = Field("", description="address at which media of other nodes arrives")
    fan_out: int = Field(8, ge=1, le=256, description="nodes that a track is sent to from one node")
    keep_sessions: bool = Field(False, description="experimental: another node keeps what clients need to resume there")
    public_url: str = Field("", description="URL of this node's gateway, for clients whose own is gone")
    tls_cert: Path | None = Field(None, description="certificate chain for HTTPS and gRPC, PEM")
    tls_key: Path | None = Field(None, description="its private key, PEM")
    max_participants_per_room: int = Field(0, ge=0, description="0: no limit")
    max_participants: int = Field(20_000, ge=1, description="of the whole node")
    max_packets_per_second: int = Field(0, ge=0, description="that the node can do, in and out; 0: not known")
    max_egress: int = Field(0, ge=0, description="bits/s that the node can send; 0: not known")
    max_rooms: int = Field(10_000, ge=1, description="of the whole node")
    auto_create_rooms: bool = Field(True, description="a join makes its room")
    drain_timeout: float | None = Field(None, ge=0, description="seconds that a drain waits; 10, or 2 with dev")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level of logs")
    log_format: Literal["json", "console"] | None = Field(None, description="json, or console with dev")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)

    @field_validator("media_ips", "external_ips", "http_host")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        for address in value:
            try:
                ipaddress.ip_address(address)
            except ValueError as error:
                raise ValueError(f"{address!r} is no IP address") from error
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise ValueError(f"{missing}: a certificate and its key must be given together")
        for name in ("tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: no file {path}")
        self._is_a_cluster_node()
        if not self.dev and not self.keys:
            raise ValueError("keys: none given; set PYSFU_KEYS='key: secret' (or try --dev)")
        for key, secret in self.keys.items():
            if not self.dev and len(secret) < MIN_SECRET:
                raise ValueError(f"keys: the secret of {key!r} has fewer than {MIN_SECRET} characters")
        if self.udp_port and self.udp_port + self.workers - 1 > 65_535:
            raise ValueError(f"udp_port: {self.workers} workers from port {self.udp_port} on pass 65535")
        if self.start_bitrate > self.max_bitrate:
            raise ValueError(f"start_bitrate: {self.start_bitrate} is above max_bitrate, {self.max_bitrate}")
        return self

    def _is_a_cluster_node(self) -> None:
        if self.node_id:
            check_node_id(self.node_id)
        if self.relay_ip:
            self._are_addresses([self.relay_ip])
        if self.cluster_address and not all(self.cluster_address.rpartition(":")[::2]):
            raise ValueError(f"cluster_address: {self.cluster_address!r} is not host:port")
        for url in self.nats:
            if not url.startswith(("nats://", "tls://")):
                raise ValueError(f"nats: {url!r} does not begin with nats:// or tls://")
        if not self.nats:
            return
        for name in ("cluster_ca", "cluster_cert", "cluster_key"):
            path = getattr(self, name)
            if path is None:
                raise ValueError(f"{name}: needed with nats; `pysfu cluster certs` makes certificates for development")
            if not path.is_file():
                raise ValueError(f"{name}: no file {path}")
        if self.nats_credentials is not None and not self.nats_credentials.is_file():
            raise ValueError(f"nats_credentials: no file {self.nats_credentials}")
        if not self.announced_ip():
            raise ValueError("relay_ip: needed in a cluster unless media_ips or external_ips name an address")

    # What is left open is decided here.

    def api_keys(self) -> dict[str, str]:
        """With `dev`, the development key as well."""
        return dict([DEV_KEY]) | self.keys if self.dev else dict(self.keys)

    def http_addresses(self) -> list[str]:
        return self.http_host or (loopback() if self.dev else ["0.0.0.0", *_ipv6("::")])  # noqa: S104

    def grpc_address(self) -> str:
        host = self.grpc_host or ("127.0.0.1" if self.dev else "0.0.0.0")  # noqa: S104
        return f"[{host}]:{self.grpc_port}" if ":" in host else f"{host}:{self.grpc_port}"

    def cluster_bind(self) -> str:
        host = self.cluster_host or ("127.0.0.1" if self.dev else "0.0.0.0")  # noqa: S104
        return f"[{host}]:{self.cluster_port}" if ":" in host else f"{host}:{self.cluster_port}"

    def announced_ip(self) -> str:
        """Where media of other nodes reaches this one; empty when nothing says so."""
        named = [self.relay_ip, *self.external_ips, *self.media_addresses()]
        return next((ip for ip in named if ip and not ipaddress.ip_address(ip).is_unspecified), "")

    def announced_cluster_address(self) -> str:
        ip = self.announced_ip()
        return self.cluster_address or (f"[{ip}]:{self.cluster_port}" if ":" in ip else f"{ip}:{self.cluster_port}")

    def announced_url(self) -> str:
        scheme = "http" if self.tls_cert is None else "https"
        return self.public_url or f"{scheme}://{'localhost' if self.dev else self.announced_ip()}:{self.http_port}"

    def media_addresses(self) -> list[str]:
        return self.media_ips or (loopback() if self.dev else ["0.0.0.0", *_ipv6("::")])  # noqa: S104

    def drain_seconds(self) -> float:
        return self.drain_timeout if self.drain_timeout is not None else (2.0 if self.dev else 10.0)

    def console_logs(self) -> bool:
        return (self.log_format or ("console" if self.dev else "json")) == "console"


def load(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """`flags`: those that were given. Raises ConfigError."""
    values = _read(file) if file is not None else {}
    # pydantic-settings lets arguments win over the environment; what the file says must not.
    environment = {name for name in Settings.model_fields if f"PYSFU_{name}".upper() in os.environ}
    values = {name: value for name, value in values.items() if name not in environment}
    try:
        return Settings(**(values | dict(flags)))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(fault) for fault in error.errors())) from None


def loopback() -> list[str]:
    """127.0.0.1, and ::1 where IPv6 is."""
    return ["127.0.0.1", *_ipv6("::1")]


def _ipv6(address: str) -> list[str]:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return []
    return [address]


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as content:
            return tomllib.load(content)
    except OSError as error:
        raise ConfigError(f"config: {file}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config: {file}: {error}") from error


def _line(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting"
    return f"{name}: {message}" if name else message
