from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cli.certs import make_certificates
from serving.cli.main import app
from serving.process.serve_check import Check, checks
from serving.process.settings import Settings, variable
from serving.state.key_book import open_book
from serving.state.state_url import url_of
from tests.object_store import BUCKET, an_object_store
from tests.serving.process.test_federation_file import LEAST, written
from tests.shop import make_bundle

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    monkeypatch.setenv("OWNSHELF_PORT", "0")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "b")
    return tmp_path / "b"


def found(bundle: Path, **options: Any) -> dict[str, Check]:
    return {one.what: one for one in checks(bundle, (), options)}


def with_key(folder: Path, *scopes: str) -> str:
    book = open_book(url_of(str(folder)))
    book.keys.create("shop", scopes, NOW)
    book.close()
    return str(folder)


def test_all_is_well(bundle: Path, tmp_path: Path) -> None:
    told = found(bundle, state=with_key(tmp_path / "s", "app"), rate_limit="100/second")
    assert {what: one.level for what, one in told.items() if what != "ulimit"} == {
        "settings": "ok",
        "bundle": "ok",
        "state": "ok",
        "keys": "ok",
        "tls": "ok",
        "port": "ok",
        "clock": "ok",
    }
    assert "40 items, recall 1.000" in told["bundle"].found
    assert told["keys"].found == "1 good, of 1 app(s)"


def test_what_is_wrong_is_said_with_what_to_do(bundle: Path, tmp_path: Path) -> None:
    (bundle / "catalogue.parquet").write_bytes(b"other")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = found(
            bundle,
            port=taken.getsockname()[1],
            federation=tmp_path / "none.toml",
            tls_cert=tmp_path / "none.pem",
            index_folder=tmp_path / "none",
        )
    wrong = {what for what, one in told.items() if one.level == "error"}
    assert wrong >= {"bundle", "federation", "state", "tls", "port", "index"}
    assert all(told[what].do for what in wrong)
    assert "tampered or torn" in told["bundle"].found


def test_a_service_beyond_this_machine_needs_a_key(bundle: Path, tmp_path: Path) -> None:
    certs = make_certificates(tmp_path / "certs")
    tls = {"tls_cert": certs["service_cert"], "tls_key": certs["service_key"]}
    assert found(bundle, host="0.0.0.0", **tls)["keys"].level == "error"
    assert found(bundle, host="0.0.0.0", state=str(tmp_path / "s"), **tls)["keys"].level == "error"
    assert not (tmp_path / "s").exists()
    assert found(bundle, host="0.0.0.0", state=with_key(tmp_path / "s", "app"), **tls)["keys"].level == "ok"
    assert found(bundle, host="0.0.0.0", open=True, **tls)["keys"].level == "warning"
    assert found(bundle, host="0.0.0.0", open=True)["tls"].level == "error"


def test_a_certificate_that_ends_is_said(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certs = make_certificates(tmp_path / "certs", days=30)
    tls = {"tls_cert": certs["service_cert"], "tls_key": certs["service_key"]}
    levels = []
    for days in (0, 15, 40):

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.now(UTC) + timedelta(days=days)  # noqa: B023

        monkeypatch.setattr("serving.process.serve_check.datetime", Later)
        levels.append(found(bundle, **tls)["tls"].level)
    assert levels == ["ok", "warning", "error"]


def test_wrong_settings_end_it_there(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNSHELF_WORKERS", "none")
    monkeypatch.setenv("OWNSHELF_WORKER", "2")
    told = list(checks(bundle, (), {}))
    assert [(one.what, one.level) for one in told] == [("environment", "error"), ("settings", "error")]
    assert "OWNSHELF_WORKERS meant?" in told[0].found
    assert "OWNSHELF_WORKERS" in told[1].found


def test_a_password_of_the_state_is_not_printed(bundle: Path) -> None:
    told = found(bundle, state="postgresql://shop:hunter2@127.0.0.1:1/none")
    assert told["state"].level == "error"
    assert "hunter2" not in str(told)


def test_federation_is_read(bundle: Path, tmp_path: Path) -> None:
    told = found(bundle, federation=written(tmp_path, LEAST))
    assert (told["federation"].level, told["state"].level) == ("warning", "ok")
    assert "privacy is off" in told["federation"].found
    assert not (tmp_path / "rounds").exists()


def test_the_command_prints_a_table_and_starts_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.cli.serve.run_here", lambda _: pytest.fail("it started"))
    good = CliRunner().invoke(app, ["serve", str(bundle), "--check"])
    assert good.exit_code == 0, good.output
    assert good.stdout.startswith("ok      settings    127.0.0.1:0, 1 worker(s)\n")
    assert "warning keys        none: requests need no key on this machine\n" in good.stdout
    wrong = CliRunner().invoke(app, ["serve", str(bundle.parent), "--check", "--json"])
    assert wrong.exit_code == 1
    rows = json.loads(wrong.stdout)["checks"]
    assert [row["what"] for row in rows if row["level"] == "error"] == ["bundle"]
    assert set(rows[0]) == {"what", "level", "found", "do"}
    assert os.environ["OWNSHELF_PORT"] == "0"


def test_workers_that_would_not_hear_of_each_others_item_changes(bundle: Path, tmp_path: Path) -> None:
    alone = found(bundle, workers=2)["state"]
    assert alone.level == "warning"
    assert "each of 2 workers" in alone.found
    assert "--state" in alone.do
    assert found(bundle, workers=2, state=with_key(tmp_path / "s", "app"))["state"].level == "ok"


def test_an_object_store_that_does_not_answer_is_an_error(bundle: Path) -> None:
    with an_object_store() as server:
        assert found(bundle, objects=f"s3://{BUCKET}/shop")["objects"].level == "ok"
        server.broken = 1.0
        broken = found(bundle, objects=f"s3://{BUCKET}/shop")["objects"]
    assert (broken.level, broken.found) == ("error", "objects: GenericError")
    assert "must begin with s3://" in found(bundle, objects="file:///x")["objects"].found
