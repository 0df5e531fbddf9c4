"""`ownshelf log verify` against a custodian that listens, one log and two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from federation.custodian.custodian import Custodian
from federation.custodian.schema import LOG
from federation.protocol.merkle_log import leaf_hash
from serving.cli.log import app
from serving.http.custodian.custodian_app import create_custodian_app
from tests.federation.custodian.a_custodian import SERVICE, bare_custodian, draft, now
from tests.listening import listening


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = bare_custodian(tmp_path)
    yield opened
    opened.shut()


@pytest.fixture
def url(custodian: Custodian) -> Iterator[str]:
    with listening(create_custodian_app(custodian, SERVICE.public)) as address:
        yield address


def sign(custodian: Custodian, task_id: str) -> None:
    custodian.open_round(draft(task_id=task_id).draft_bytes(), now())
    custodian.close(task_id, now())


def verify(url: str, custodian: Custodian, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", url, f"--custodian-key={custodian.key.public.hex()}", *arguments])


def test_a_log_that_goes_on_is_verified_each_time(custodian: Custodian, url: str, tmp_path: Path) -> None:
    seen = f"--seen={tmp_path / 'head'}"
    for n, before in enumerate((None, 4, 6)):
        sign(custodian, f"round-{n}")
        found = verify(url, custodian, seen, "--json")
        assert found.exit_code == 0, found.output
        said = json.loads(found.stdout)
        assert (said["size"], said["goes_on_from"]) == (4 + 2 * n, before)
    assert verify(url, custodian).exit_code == 0


def test_a_log_that_was_changed_is_said_in_one_line(custodian: Custodian, url: str, tmp_path: Path) -> None:
    seen = f"--seen={tmp_path / 'head'}"
    sign(custodian, "round-0")
    assert verify(url, custodian, seen).exit_code == 0
    with custodian.engine.begin() as connection:
        forged = {"entry": b"another past", "leaf": leaf_hash(b"another past")}
        connection.execute(LOG.update().where(LOG.c.position == 1), forged)
    found = verify(url, custodian, seen)
    assert found.exit_code == 1
    assert "does not go on from the head of size 4" in found.stderr
    with custodian.engine.begin() as connection:
        connection.execute(LOG.update().where(LOG.c.position == 1).values(entry=b"what no head ever had"))
    assert "entries are not those of the signed head" in verify(url, custodian).stderr
    with custodian.engine.begin() as connection:
        connection.execute(sa.delete(LOG).where(LOG.c.position == 2))
    assert verify(url, custodian, seen).exit_code == 1


def test_a_head_of_another_key_is_refused(custodian: Custodian, url: str) -> None:
    found = CliRunner().invoke(app, ["verify", url, f"--custodian-key={SERVICE.public.hex()}"])
    assert found.exit_code == 1
    assert "is not signed by the custodian" in found.stderr
