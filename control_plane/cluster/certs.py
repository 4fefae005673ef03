"""Who nodes are: certificates that carry a node's id, checked at both ends of every call between nodes.

The id is the first label of a DNS name below `node.pysfu` (subject alternative name). A certificate authority of a
cluster signs nothing else; `pysfu cluster certs` makes one for development.
"""

import datetime
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control_plane.ids import check_node_id

DOMAIN: Final = "node.pysfu"
# Development certificates are made anew with one command. Clocks of nodes may be behind.
VALID: Final = datetime.timedelta(days=365)
BACKDATED: Final = datetime.timedelta(days=1)


class CertificateError(Exception):
    """Certificates do not fit; the text names the file and what to change."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's credentials, PEM. `node` is the id that the certificate carries."""

    node: str
    ca: bytes
    cert: bytes
    key: bytes


def name_of(node: str) -> str:
    """The DNS name that stands for a node in its certificate."""
    return f"{node}.{DOMAIN}"


def node_of(names: Sequence[str]) -> str:
    """The node that a certificate's DNS names stand for. Raises CertificateError unless it is exactly one."""
    found = {name.removesuffix(f".{DOMAIN}") for name in names if name.endswith(f".{DOMAIN}")}
    if len(found) != 1:
        raise CertificateError(f"the certificate names {len(found)} nodes below {DOMAIN} instead of one")
    try:
        return check_node_id(found.pop())
    except ValueError as error:
        raise CertificateError(str(error)) from error


def load(ca: Path, cert: Path, key: Path, node: str = "") -> Identity:
    """Reads and checks them together. `node`: the id that it must be, if given. Raises CertificateError."""
    contents = [_read(path) for path in (ca, cert, key)]
    authorities = _parse(ca, contents[0])
    leaf = _parse(cert, contents[1])[0]
    try:
        private = serialization.load_pem_private_key(contents[2], None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"cluster_key: {key} is no private key in PEM without a password") from error
    if _public(private.public_key()) != _public(leaf.public_key()):
        raise CertificateError(f"cluster_key: {key} is not the key of {cert}")
    if not any(_signed(leaf, authority) for authority in authorities):
        raise CertificateError(f"cluster_cert: {cert} was not signed by {ca}")
    now = datetime.datetime.now(datetime.UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        span = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise CertificateError(f"cluster_cert: {cert} is valid from {span}, and it is {now:%Y-%m-%d %H:%M} here")
    try:
        found = node_of(_names(leaf))
    except CertificateError as error:
        raise CertificateError(f"cluster_cert: {cert}: {error}") from error
    if node and node != found:
        raise CertificateError(f"node_id: {node!r} is not the node of {cert}, which is {found!r}")
    return Identity(found, *contents)


def make(nodes: Sequence[str], folder: Path, hosts: Sequence[str] = ()) -> None:
    """Writes `ca.pem`, `ca.key` and for each node `NODE.pem`, `NODE.key`; an authority that is there is used again.

    `hosts`: further names and addresses in the certificates. Raises CertificateError for a bad id, or when the folder
    cannot be written.
    """
    try:
        checked = [check_node_id(node) for node in nodes]
    except ValueError as error:
        raise CertificateError(str(error)) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority, key = _authority(folder)
        for node in checked:
            _leaf(folder, node, hosts, authority, key)
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from error


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    cert_file, key_file = folder / "ca.pem", folder / "ca.key"
    if cert_file.exists() and key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{key_file}: not a key that this command has made")
        return _parse(cert_file, cert_file.read_bytes())[0], key
    key = ec.generate_private_key(ec.SECP256R1())
    # Each has a name of its own, so that who meets another one's certificate says so.
    common = f"pysfu development cluster {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    cert = builder.sign(key, hashes.SHA256())
    _write(key_file, _private(key), secret=True)
    _write(cert_file, cert.public_bytes(serialization.Encoding.PEM))
    return cert, key


def _leaf(
    folder: Path, node: str, hosts: Sequence[str], authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(name_of(node))]
    names += [_general_name(host) for host in hosts]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    cert = (
        _builder(subject, authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(folder / f"{node}.key", _private(key), secret=True)
    _write(folder / f"{node}.pem", cert.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BACKDATED).not_valid_after(now + VALID)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _names(cert: x509.Certificate) -> list[str]:
    try:
        extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value.get_values_for_type(x509.DNSName))


def _signed(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _public(key: object) -> bytes:
    encoding = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(*encoding)  # type: ignore[attr-defined, no-any-return]


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _parse(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(f"{path}: no certificate in PEM") from error


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """A secret is readable by its owner alone from the beginning."""
    path.unlink(missing_ok=True)
    mode = 0o600 if secret else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
