"""TLS options of the servers: a certificate and key, or plain HTTP on this machine only."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import ServingError
from federation.protocol.transport import is_loopback

TlsCert = Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM; with --tls-key: HTTPS.")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="The certificate's private key, PEM.")]


def uvicorn_tls(host: str, cert: Path | None, key: Path | None) -> dict[str, Any]:
    """Make the arguments of uvicorn.Config for HTTPS; none of them for plain HTTP on this machine.

    Raises ServingError for plain HTTP that others could listen to, and for files that are no certificate and its key.
    """
    if cert is None and key is None:
        if not is_loopback(host):
            raise ServingError(
                f"host={host}: must be this machine (127.0.0.1) without --tls-cert and --tls-key, "
                "since everything would travel in clear"
            )
        return {}
    if cert is None or key is None:
        raise ServingError("--tls-cert and --tls-key: one is given without the other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ServingError(
            f"tls: {cert} and {key} are not a certificate and its key ({type(error).__name__})"
        ) from None
    return {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}


def listening_at(host: str, port: int, tls: dict[str, Any]) -> str:
    """Write the address of a server that listens there."""
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}"
