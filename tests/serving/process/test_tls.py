from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import typer
from cryptography import x509
from typer.testing import CliRunner, Result

from data.errors import ServingError
from federation.device.asking.client import service_client
from federation.protocol.transport import check_address, is_loopback, pinned_context
from serving.cli.certs import certs_command, make_certificates
from serving.cli.errors import OneLineErrors
from serving.http.app import create_app
from serving.process.tls import listening_at, uvicorn_tls
from tests.listening import listening
from tests.shop import make_bundle


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_certificates(tmp_path_factory.mktemp("tls") / "certs")


@contextmanager
def serving(folder: Path, cert: Path, key: Path) -> Iterator[str]:
    """A service over TLS."""
    with listening(create_app([make_bundle(folder / "b")]), **uvicorn_tls("127.0.0.1", cert, key)) as url:
        yield url


def test_the_address_that_is_told_says_whether_it_is_tls(certs: dict[str, Path]) -> None:
    tls = uvicorn_tls("127.0.0.1", certs["service_cert"], certs["service_key"])
    assert listening_at("127.0.0.1", 8443, tls) == "https://127.0.0.1:8443"
    assert listening_at("127.0.0.1", 8000, {}) == "http://127.0.0.1:8000"


def test_a_client_that_pins_the_authority_is_answered(certs: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, certs["service_cert"], certs["service_key"]) as url:
        assert url.startswith("https://127.0.0.1:")
        for name in (url, url.replace("127.0.0.1", "localhost")):
            with service_client(name, certs["ca"]) as client:
                assert client.get("/healthz").status_code == 200


def test_nobody_else_is_believed_and_nothing_older_than_tls_1_3(certs: dict[str, Path], tmp_path: Path) -> None:
    others = make_certificates(tmp_path / "others")
    stranger = make_certificates(tmp_path / "stranger", ("service.example",))
    with serving(tmp_path, certs["service_cert"], certs["service_key"]) as url:
        for ca in (others["ca"], None):
            with service_client(url, ca) as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY"):
                client.get("/healthz")
        old = pinned_context(certs["ca"])
        assert isinstance(old, ssl.SSLContext)
        assert old.minimum_version is ssl.TLSVersion.TLSv1_3
    with (
        serving(tmp_path, stranger["service_cert"], stranger["service_key"]) as url,
        service_client(url, stranger["ca"]) as client,
        pytest.raises(httpx.ConnectError, match="mismatch"),
    ):
        client.get("/healthz")


def test_the_authority_signs_two_servers_and_keeps_no_key(tmp_path: Path) -> None:
    paths = make_certificates(tmp_path / "c", ("shop.example", "192.0.2.7"), days=30)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "ca.pem",
        "custodian.key",
        "custodian.pem",
        "service.key",
        "service.pem",
    ]
    authority = x509.load_pem_x509_certificate(paths["ca"].read_bytes())
    for server in ("service", "custodian"):
        assert paths[f"{server}_key"].stat().st_mode & 0o777 == 0o600
        certificate = x509.load_pem_x509_certificate(paths[f"{server}_cert"].read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["shop.example"]
        assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
        assert 29 <= (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= 30
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_certificates_that_exist_are_never_replaced(certs: dict[str, Path]) -> None:
    with pytest.raises(ServingError, match="exists already"):
        make_certificates(certs["ca"].parent)


def run(*arguments: str) -> Result:
    app = typer.Typer(cls=OneLineErrors)
    app.command("certs")(certs_command)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["certs", *arguments])


def test_the_command_says_how_to_use_what_it_made(tmp_path: Path) -> None:
    answer = run(str(tmp_path / "c"))
    assert answer.exit_code == 0, answer.output
    assert f"service    --tls-cert {tmp_path / 'c' / 'service.pem'} --tls-key" in answer.stdout
    assert f"clients    --ca {tmp_path / 'c' / 'ca.pem'}" in answer.stdout
    again = run(str(tmp_path / "c"))
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert "must be an ASCII host name" in run(str(tmp_path / "d"), "--host", "exämple").stderr
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shop.example", "127.0.0.1.example"])
def test_plain_http_beyond_this_machine_is_refused(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ServingError, match="must be this machine"):
        uvicorn_tls(host, None, None)
    with pytest.raises(ServingError, match="must be https://"):
        check_address(f"http://[{host}]/" if ":" in host else f"http://{host}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_plain_http_on_this_machine_is_allowed(host: str) -> None:
    assert uvicorn_tls(host, None, None) == {}
    check_address(f"http://[{host}]/" if ":" in host else f"http://{host}/")


@pytest.mark.parametrize("url", ["", "shop.example", "ftp://shop.example", "HTTP://shop.example", "http://", "https"])
def test_what_is_no_https_address_is_refused(url: str) -> None:
    with pytest.raises(ServingError, match="must be"):
        check_address(url)


def test_half_a_pair_or_no_pair_is_refused(certs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="one is given without the other"):
        uvicorn_tls("127.0.0.1", certs["service_cert"], None)
    for cert, key in (
        (certs["service_cert"], certs["custodian_key"]),
        (certs["service_key"], certs["service_cert"]),
        (tmp_path / "none", certs["service_key"]),
    ):
        with pytest.raises(ServingError, match="are not a certificate and its key"):
            uvicorn_tls("0.0.0.0", cert, key)
    assert uvicorn_tls("0.0.0.0", certs["service_cert"], certs["service_key"])
