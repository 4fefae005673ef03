"""Who may speak as a node: certificates as files, and what becomes of calls with wrong ones."""

import asyncio
import datetime
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from control_plane.cluster import certs
from control_plane.cluster.certs import CertificateError, Identity
from control_plane.cluster.channels import Channels
from pysfu.v1 import cascade_pb2, cascade_pb2_grpc, rooms_pb2, rooms_pb2_grpc
from tests.cluster.whole import Whole
from tests.control_plane.conftest import admin_metadata


def load(folder: Path, node: str = "a", **files: Path) -> Identity:
    found = {"ca": folder / "ca.pem", "cert": folder / f"{node}.pem", "key": folder / f"{node}.key"} | files
    return certs.load(found["ca"], found["cert"], found["key"])


def signed_by(folder: Path, names: list[str], *, days: int = 30) -> tuple[Path, Path]:
    """A certificate of the folder's authority with any names, and its key."""
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    signer: Any = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key: Any = serialization.load_pem_private_key((folder / "a.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    begins = now - datetime.timedelta(days=60)
    cert = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    path = folder / "other.pem"
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return path, folder / "a.key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certs.make(["a", "b"], tmp_path)
    return tmp_path


def test_an_identity_is_read_from_its_files(folder: Path) -> None:
    identity = load(folder)
    assert identity.node == "a"
    assert b"PRIVATE" not in identity.cert
    for name in ("ca.key", "a.key", "b.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_an_authority_is_used_again(folder: Path) -> None:
    before = (folder / "ca.pem").read_bytes()
    certs.make(["c"], folder, hosts=["host.example", "192.0.2.1"])
    assert (folder / "ca.pem").read_bytes() == before
    assert load(folder, "c").node == "c"


def test_faults_are_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    certs.make(["a"], other)
    nonsense = folder / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(CertificateError, match="was not signed by"):
        load(folder, ca=other / "ca.pem")
    with pytest.raises(CertificateError, match="is not the key of"):
        load(folder, key=folder / "b.key")
    with pytest.raises(CertificateError, match="no certificate in PEM"):
        load(folder, cert=nonsense)
    with pytest.raises(CertificateError, match="no private key"):
        load(folder, key=nonsense)
    with pytest.raises(CertificateError, match="No such file"):
        load(folder, cert=folder / "missing.pem")
    with pytest.raises(CertificateError, match=r"node_id: 'b' is not the node of .*, which is 'a'"):
        certs.load(folder / "ca.pem", folder / "a.pem", folder / "a.key", "b")
    for names, fault in (
        (["host.example"], "names 0 nodes"),
        (["a.node.pysfu", "b.node.pysfu"], "names 2 nodes"),
        (["a.b.node.pysfu"], "is no node id"),
    ):
        cert, key = signed_by(folder, names)
        with pytest.raises(CertificateError, match=fault):
            load(folder, cert=cert, key=key)
    cert, key = signed_by(folder, ["a.node.pysfu"], days=-1)
    with pytest.raises(CertificateError, match=r"is valid from .* and it is"):
        load(folder, cert=cert, key=key)


@pytest.mark.parametrize("node", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64, "é", "a/../b"])
def test_bad_node_ids_are_refused(tmp_path: Path, node: str) -> None:
    with pytest.raises(CertificateError, match="is no node id"):
        certs.make([node], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest_asyncio.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    async with AsyncExitStack() as stack:
        yield Whole(stack, tmp_path / "certs")


async def call(channel: grpc.aio.Channel) -> Any:
    """A call that any node may make for a client."""
    stub: Any = rooms_pb2_grpc.RoomServiceStub(channel)
    return await stub.ListRooms(rooms_pb2.ListRoomsRequest(), metadata=admin_metadata(), timeout=5)


async def refused(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    try:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(channel)
        return error.value
    finally:
        await channel.close()


async def test_a_certificate_opens_the_way_and_nothing_else_does(
    whole: Whole, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    a = await whole.start("a")
    address = f"127.0.0.1:{a.cluster.port}"
    channels = Channels(whole.identity("b"), lambda node: address)
    assert list((await call(channels.to("a"))).rooms) == []
    await channels.close()

    plain = await refused(grpc.aio.insecure_channel(address))
    assert plain.code() is grpc.StatusCode.UNAVAILABLE
    name = (("grpc.ssl_target_name_override", "a.node.pysfu"),)
    nameless = grpc.ssl_channel_credentials(whole.identity("a").ca)
    assert (await refused(grpc.aio.secure_channel(address, nameless, name))).code() is grpc.StatusCode.UNAVAILABLE

    certs.make(["b"], tmp_path / "strangers")
    stranger = load(tmp_path / "strangers", "b")
    capfd.readouterr()
    stranger = replace(stranger, ca=whole.identity("a").ca)
    assert (await refused(Channels(stranger, lambda node: address).to("a"))).code() is grpc.StatusCode.UNAVAILABLE
    async with asyncio.timeout(10):
        told = ""
        while "Handshake failed" not in told:
            told += capfd.readouterr().err
            await asyncio.sleep(0.05)


async def test_a_node_at_another_ones_address_is_not_believed(whole: Whole) -> None:
    a = await whole.start("a")
    channels = Channels(whole.identity("b"), lambda node: f"127.0.0.1:{a.cluster.port}")
    error = await refused(channels.to("c"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "Hostname Verification" in (error.details() or "")


async def test_tokens_are_checked_behind_the_certificate_too(whole: Whole) -> None:
    a = await whole.start("a")
    channels = Channels(whole.identity("b"), lambda node: f"127.0.0.1:{a.cluster.port}")
    stub: Any = rooms_pb2_grpc.RoomServiceStub(channels.to("a"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ListRooms(rooms_pb2.ListRoomsRequest(), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await channels.close()


async def test_a_certificate_without_a_node_is_refused_and_logged(whole: Whole) -> None:
    """The authority has signed it, but for nobody."""
    a = await whole.start("a")
    cert, key = signed_by(whole.folder, ["host.example"])
    identity = replace(whole.identity("a"), node="x", cert=cert.read_bytes(), key=key.read_bytes())
    channels = Channels(identity, lambda node: f"127.0.0.1:{a.cluster.port}")
    stub: Any = cascade_pb2_grpc.CascadeServiceStub(channels.to("a"))
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Invite(cascade_pb2.CascadeInvitation(), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert any("refused" in line["event"] and "0 nodes" in line.get("reason", "") for line in logs), logs
    await channels.close()
