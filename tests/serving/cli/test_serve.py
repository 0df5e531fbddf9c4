from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from serving.cli.errors import OneLineErrors
from serving.cli.serve import serve_command
from serving.state.key_book import open_book
from serving.state.state_url import url_of
from tests.shop import make_bundle, running_service

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> Result:
    app = typer.Typer(cls=OneLineErrors)
    app.command("serve")(serve_command)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["serve", *arguments])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example"])
def test_it_listens_on_this_machine_only_unless_told(tmp_path: Path, host: str) -> None:
    answer = run(str(tmp_path), "--host", host)
    assert answer.exit_code == 1
    assert answer.stderr.startswith(f"error: host={host}: must be this machine")
    assert answer.stderr.count("\n") == 1


def test_a_folder_without_a_bundle_is_one_line(tmp_path: Path) -> None:
    answer = run(str(tmp_path))
    assert answer.exit_code == 1
    assert "not a bundle" in answer.stderr


def test_a_tampered_bundle_is_one_line(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "catalogue.parquet").write_bytes(b"other")
    answer = run(str(tmp_path / "b"))
    assert answer.exit_code == 1
    assert "tampered or torn" in answer.stderr


def test_it_serves_current_and_older_bundles_until_it_is_stopped(tmp_path: Path) -> None:
    new, old = make_bundle(tmp_path / "new"), make_bundle(tmp_path / "old", seed=1)
    with running_service(str(tmp_path / "new"), str(tmp_path / "old")) as (server, started):
        assert started["bundle_version"] == new.version
        answer = httpx.get(f"{started['url']}/v1/bundles", timeout=60)
        assert "server" not in answer.headers
        assert [one["version"] for one in answer.json()["bundles"]] == [new.version, old.version]
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)


def refused_start(*arguments: str) -> str:
    """The one line with which `ownshelf serve` refuses to start."""
    command = [sys.executable, "-m", "serving.cli.main", "serve", *arguments, "--port=0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_a_service_that_ever_had_keys_does_not_start_without_them(tmp_path: Path) -> None:
    bundle, state = str(tmp_path / "b"), tmp_path / "state"
    make_bundle(tmp_path / "b")
    with running_service(bundle, f"--state={state}") as (_, started):
        assert httpx.get(f"{started['url']}/v1/catalogue/current").status_code == 307
        book = open_book(url_of(str(state)))
        book.keys.create("shop", ["app"], 1_800_000_000)
        book.close()
        marker = tmp_path / ".b.needs-keys"
        give_up = time.monotonic() + 300
        while not marker.exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)
    shutil.rmtree(state)
    assert f"but this bundle was served with some ({marker})" in refused_start(bundle, f"--state={state}")
    assert f"but this bundle was served with some ({marker})" in refused_start(bundle)
    with running_service(bundle, "--open") as (_, started):
        assert httpx.get(f"{started['url']}/v1/catalogue/current").status_code == 307
    marker.unlink()
    assert "--require-keys: there is no good API key" in refused_start(bundle, f"--state={state}", "--require-keys")
    assert "contradict" in refused_start(bundle, "--open", "--require-keys")
