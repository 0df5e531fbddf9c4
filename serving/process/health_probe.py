"""`python -m serving.process.health_probe`: is the service on this machine ready? For a container's healthcheck.

Reads the same environment as `ownshelf serve`, and believes no certificate but the service's own.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request


def probe(environ: dict[str, str], timeout_s: float = 3.0) -> bool:
    """Probe /readyz: does it say 200? Does not follow redirects out of this machine: there are none."""
    cert = environ.get("OWNSHELF_TLS_CERT")
    port = int(environ.get("OWNSHELF_PORT", "8000"))
    context = None
    if cert:
        context = ssl.create_default_context(cafile=cert)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    url = f"{'https' if cert else 'http'}://127.0.0.1:{port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s, context=context) as answer:  # nosec B310 # ours
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(0 if probe(dict(os.environ)) else 1)
