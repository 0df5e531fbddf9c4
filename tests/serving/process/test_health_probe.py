from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.cli.certs import make_certificates
from serving.http.app import create_app
from serving.process.health_probe import probe
from serving.process.tls import uvicorn_tls
from tests.listening import listening
from tests.shop import make_bundle


@contextmanager
def serving(folder: Path, cert: Path | None = None, key: Path | None = None, **options: object) -> Iterator[str]:
    """The port of a service."""
    app = create_app([make_bundle(folder / "b")], **options)  # type: ignore[arg-type]
    with listening(app, **uvicorn_tls("127.0.0.1", cert, key)) as url:
        yield url.rpartition(":")[2]


def test_a_ready_service_is_healthy_in_clear_and_over_tls(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        assert probe({"OWNSHELF_PORT": port})
    certs = make_certificates(tmp_path / "certs", ("shop.example",))
    others = make_certificates(tmp_path / "others")
    with serving(tmp_path, certs["service_cert"], certs["service_key"]) as port:
        assert probe({"OWNSHELF_PORT": port, "OWNSHELF_TLS_CERT": str(certs["service_cert"])})
        assert not probe({"OWNSHELF_PORT": port, "OWNSHELF_TLS_CERT": str(others["service_cert"])})
        assert not probe({"OWNSHELF_PORT": port})


def test_one_that_is_not_ready_or_not_there_is_not(tmp_path: Path) -> None:
    def fails() -> None:
        raise OSError

    with serving(tmp_path, state=fails) as port:
        assert not probe({"OWNSHELF_PORT": port})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not probe({"OWNSHELF_PORT": str(free.getsockname()[1])}, timeout_s=1.0)


def test_a_service_that_hangs_is_not(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not probe({"OWNSHELF_PORT": str(silent.getsockname()[1])}, timeout_s=0.2)


def test_it_is_quick_to_start() -> None:
    import subprocess
    import sys

    program = "import sys, serving.process.health_probe; print('torch' in sys.modules or 'fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
