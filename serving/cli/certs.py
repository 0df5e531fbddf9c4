"""`ownshelf certs`: a certificate authority for development, and certificates for service and custodian.

For trying out TLS between machines of one's own. In production, certificates come from an authority that shoppers'
devices trust already, and the custodian's operator has its own.
"""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from data.atomic import write_atomically
from data.errors import ServingError

SERVERS = ("service", "custodian")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
CLOCK_SKEW = timedelta(hours=1)


def make_certificates(folder: Path, hosts: tuple[str, ...] = THIS_MACHINE, days: int = 365) -> dict[str, Path]:
    """Make a new authority and one certificate per server, all ECDSA P-256; paths by name.

    ca.pem is what clients pin. The authority's own key is thrown away: nobody can sign in its name later. Raises
    ServingError when the folder holds certificates already.
    """
    paths = {"ca": folder / "ca.pem"}
    for server in SERVERS:
        paths |= {f"{server}_cert": folder / f"{server}.pem", f"{server}_key": folder / f"{server}.key"}
    present = [path for path in paths.values() if path.exists()]
    if present:
        raise ServingError(f"{present[0]}: exists already; choose another folder")
    names = [_host(host) for host in hosts]
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, days)
    folder.mkdir(parents=True, exist_ok=True)
    for server in SERVERS:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server(server, names, key, authority, authority_key, days)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(paths[f"{server}_key"], pem, mode=0o600)
        write_atomically(paths[f"{server}_cert"], certificate.public_bytes(Encoding.PEM))
    write_atomically(paths["ca"], authority.public_bytes(Encoding.PEM))
    return paths


def certs_command(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if missing.")],
    host: Annotated[list[str] | None, typer.Option(help="Name or address of a server; this machine's own.")] = None,
    days: Annotated[int, typer.Option(help="Days until they expire.", min=1, max=825)] = 365,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Make a development CA and certificates for service and custodian."""
    paths = make_certificates(folder, tuple(host) if host else THIS_MACHINE, days)
    if as_json:
        typer.echo(json.dumps({name: str(path) for name, path in paths.items()}))
        return
    for server in SERVERS:
        typer.echo(f"{server:<10} --tls-cert {paths[f'{server}_cert']} --tls-key {paths[f'{server}_key']}")
    typer.echo(f"{'clients':<10} --ca {paths['ca']}")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority(key: ec.EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    name = _named("Ownshelf development CA")
    return (
        _dated(days)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    name: str,
    names: list[x509.GeneralName],
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _dated(days)
        .subject_name(_named(f"Ownshelf {name}"))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _dated(days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise ServingError(f"host={host!r}: must be an ASCII host name or an address") from None
