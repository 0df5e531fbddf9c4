"""`ownshelf serve --check`: reads all that serving would, says what is wrong and what to do, starts nothing."""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import typer
from cryptography import x509

from data.errors import OwnshelfError, ServingError
from federation.protocol.transport import is_loopback
from recsys.catalogue.bundle import Bundle
from serving.process.key_marker import marker_of
from serving.process.running_service import Job
from serving.process.settings import Settings, read_settings, unknown_variables
from serving.process.tls import uvicorn_tls
from serving.shelf.served import serve_bundle

LEAST_FILES = 4_096
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
CERT_DAYS = 21
Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One line of the table. do: what to do about it, empty when it is ok."""

    what: str
    level: Level
    found: str
    do: str = ""


def print_checks(bundle: Path, older: tuple[Path, ...], options: Mapping[str, Any], as_json: bool) -> int:
    """Print the table; 1 if anything in it is an error, else 0."""
    results = list(checks(bundle, older, options))
    if as_json:
        typer.echo(json.dumps({"checks": [asdict(check) for check in results]}, allow_nan=False))
    else:
        for check in results:
            typer.echo(
                f"{check.level:<8}{check.what:<12}{check.found}" + (f"\n{'':20}→ {check.do}" if check.do else "")
            )
    return int(any(check.level == "error" for check in results))


def checks(bundle: Path, older: tuple[Path, ...], options: Mapping[str, Any]) -> Iterator[Check]:
    """Yield every check, in the order in which serving would come to it."""
    for sentence in unknown_variables():
        yield Check("environment", "error", sentence, "rename or unset it: as it is, it does nothing")
    try:
        settings = read_settings(options)
    except ServingError as error:
        yield Check("settings", "error", str(error), "correct it; nothing else can be checked before")
        return
    yield Check("settings", "ok", f"{settings.host}:{settings.port}, {settings.workers} worker(s)")
    for folder in (bundle, *older):
        yield _guarded("bundle", lambda folder=folder: _bundle(folder, settings), "train or copy it again")  # type: ignore[misc]
    if settings.federation is not None:
        yield _guarded("federation", lambda: _federation(settings), "see docs/federation.md")
    yield from _objects(settings)
    yield _guarded("state", lambda: _state(settings), "see --state; docs/operate.md")
    yield _guarded("keys", lambda: _keys(Job(bundle, older, settings)), "ownshelf keys create, or --open")
    yield _guarded("tls", lambda: _tls(settings), "give --tls-cert and --tls-key; ownshelf certs makes some to try")
    yield _guarded("port", lambda: _port(settings), "stop what listens there, or choose another --port")
    yield from _bounds(settings)
    yield _clock()


def _guarded(what: str, check: Callable[[], Check], do: str) -> Check:
    try:
        return check()
    except (OwnshelfError, OSError) as error:
        return Check(what, "error", " ".join(str(error).split()), do)


def _bundle(folder: Path, settings: Settings) -> Check:
    bundle = Bundle.load(folder)
    recall = serve_bundle(bundle, settings.index_folder).recall
    summary = f"{folder}: version {bundle.version}, {bundle.table.n_items} items, recall {recall:.3f}"
    if recall < settings.recall_floor:
        return Check("bundle", "error", summary, f"below recall_floor={settings.recall_floor:g}; build its index again")
    return Check("bundle", "ok", summary)


def _federation(settings: Settings) -> Check:
    from serving.process.federation_file import FederationFile

    assert settings.federation is not None
    file = FederationFile.read(settings.federation)
    file.check_host(settings.host)
    if not file.plan.private:
        return Check("federation", "warning", "privacy is off (noise_multiplier=0)", "make a plan: ownshelf plan")
    return Check("federation", "ok", f"{settings.federation}: ε {file.plan.epsilon:g}")


def _objects(settings: Settings) -> Iterator[Check]:
    """Check the object stores: of a state's bundles, and of live training."""
    from federation.storage.objects import open_objects

    urls = {settings.objects}
    if settings.federation is not None:
        from serving.process.federation_file import FederationFile

        with suppress(OwnshelfError):  # said before
            urls.add(FederationFile.read(settings.federation).objects)

    def answers(url: str) -> Check:
        open_objects(url).sizes("serve-check")
        return Check("objects", "ok", f"{url} answers")

    for url in sorted(filter(None, urls)):
        yield _guarded("objects", lambda url=url: answers(url), "see docs/operate.md, Several hosts")  # type: ignore[misc]


def _state(settings: Settings) -> Check:
    from federation.storage.database import open_engine, reason_of
    from serving.state.health import StateHealth

    url = settings.state_url()
    if url is None and settings.workers > 1:
        problem = f"none: each of {settings.workers} workers would know only the item changes put to itself"
        return Check("state", "warning", problem, "give --state if items change while it serves")
    if url is None:
        return Check("state", "ok", "none")
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        folder = Path(url.removeprefix("sqlite:///")).parent
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK):
            raise ServingError(f"{folder}: cannot be written")
        return Check("state", "ok", "not made yet; the first start or key makes it")
    engine = open_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                raise ServingError("is damaged; restore a backup (docs/operate.md)")
        StateHealth(engine).probe()
    except OwnshelfError:
        raise
    except Exception as error:  # noqa: BLE001  # a driver's own errors, whose text may hold the password
        raise ServingError(f"cannot be used ({reason_of(error)})") from None
    finally:
        engine.dispose()
    return Check("state", "ok", f"{engine.dialect.name} answers")


def _keys(job: Job) -> Check:
    settings = job.settings
    if settings.open:
        where = "" if is_loopback(settings.host) else "; whatever stands before it must check who asks"
        return Check("keys", "warning", f"--open: requests need no key{where}", "drop --open once there are keys")
    url = settings.state_url()
    exists = url is not None and not (
        url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()
    )
    if not exists and (settings.require_keys or marker_of(job.bundle).exists()):
        raise ServingError("there are no API keys, and this service must have some (--require-keys, or its mark)")
    if not exists and not is_loopback(settings.host):
        raise ServingError(f"host={settings.host}: needs API keys beyond this machine, and there are none")
    if not exists:
        return Check("keys", "warning", "none: requests need no key on this machine", "ownshelf keys create --state")
    job.check()
    from serving.state.key_book import open_book

    with closing(open_book(str(url))) as book:
        good = book.keys.good().values()
    if not good:
        return Check("keys", "warning", "none that is good", "ownshelf keys create --state")
    return Check("keys", "ok", f"{len(good)} good, of {len({key.caller.app for key in good})} app(s)")


def _tls(settings: Settings) -> Check:
    uvicorn_tls(settings.host, settings.tls_cert, settings.tls_key)
    if settings.tls_cert is None:
        return Check("tls", "ok", "plain HTTP, on this machine only")
    try:
        certificate = x509.load_pem_x509_certificate(settings.tls_cert.read_bytes())
    except ValueError as error:
        raise ServingError(f"{settings.tls_cert}: {type(error).__name__}") from None
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    if left.total_seconds() < 0:
        return Check("tls", "error", f"{settings.tls_cert}: expired {-left.days} day(s) ago", "renew the certificate")
    if left.days < CERT_DAYS:
        return Check("tls", "warning", f"{settings.tls_cert}: expires in {left.days} day(s)", "renew the certificate")
    return Check("tls", "ok", f"{settings.tls_cert}: {left.days} days left, {ssl.OPENSSL_VERSION}")


def _port(settings: Settings) -> Check:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            raise ServingError(f"{settings.host}:{settings.port}: {error.strerror or error}") from None
    return Check("port", "ok", f"{settings.host}:{settings.port} is free")


def _bounds(settings: Settings) -> Iterator[Check]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < LEAST_FILES:
        yield Check("ulimit", "warning", f"{files} open files", f"ulimit -n {LEAST_FILES}: a connection is a file")
    else:
        yield Check("ulimit", "ok", f"{files} open files")
    cores = os.cpu_count() or 1
    if settings.workers > cores:
        yield Check(
            "workers", "warning", f"{settings.workers} on {cores} core(s)", f"--workers {cores}: more only wait"
        )
    if settings.rate_limit is None:
        yield Check("rate_limit", "warning", "none: a key may ask as often as it can", "--rate-limit 100/second")
    if settings.index_folder is not None and not os.access(settings.index_folder, os.W_OK):
        yield Check(
            "index", "error", f"{settings.index_folder}: cannot be written", "make it, or change --index-folder"
        )
    if settings.otel_endpoint is not None:
        yield _guarded("otel", _otel, "pip install 'ownshelf[otel]'")


def _otel() -> Check:
    import serving.http.tracing  # noqa: F401  # says so if the extra is missing

    return Check("otel", "ok", "the extra is installed")


def _clock() -> Check:
    now = time.time()
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    if now < EARLIEST:
        return Check("clock", "error", f"{moment}: is in the past", "set the clock: tokens and certificates go by it")
    return Check("clock", "ok", moment)
