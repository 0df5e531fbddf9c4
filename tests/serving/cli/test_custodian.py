from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from federation.private_sum.signing import SigningKey
from federation.service.custodian_client import CustodianClient, CustodianUnreachable
from federation.storage.key_files import load_or_make_key
from serving.cli.certs import make_certificates
from serving.cli.custodian import program
from tests.federation.custodian.a_custodian import ISSUER, a_batch, a_promise, draft

START = [sys.executable, "-m", "serving.cli.custodian"]


@pytest.fixture
def service(tmp_path: Path) -> SigningKey:
    return load_or_make_key(tmp_path / "service.key")


@pytest.fixture
def options(tmp_path: Path, service: SigningKey) -> list[str]:
    (tmp_path / "plan.json").write_text(a_promise().to_json())
    return [str(tmp_path / "custodian"), "--plan", str(tmp_path / "plan.json"), "--service-key", service.public.hex()]


@contextmanager
def running(options: list[str]) -> Iterator[dict[str, Any]]:
    """The command in a process of its own: what it prints when it listens."""
    process = subprocess.Popen([*START, *options, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)


def test_the_custodian_loads_neither_torch_nor_any_model() -> None:
    code = "import sys, serving.cli.custodian; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert "fastapi" in loaded
    assert not loaded & {
        "torch",
        "faiss",
        "scipy",
        "pandas",
        "polars",
        "pyarrow",
        "matplotlib",
        "recsys",
        "dp_accounting",
    }


def test_a_round_with_a_custodian_in_a_process_of_its_own(options: list[str], service: SigningKey) -> None:
    with running(options) as started:
        assert started["private"] is True
        client = CustodianClient(started["url"], service, bytes.fromhex(started["public_key"]))
        task = client.open_round(draft())
        client.add_issuer_key(ISSUER.key(0))
        answer = client.answer(a_batch(task))
        metrics = httpx.get(started["url"] + "/metrics", timeout=60).text
        client.shut()
    assert len(answer.counted) == 5
    (spent,) = re.findall(r"^ownshelf_custodian_epsilon_spent (\S+)$", metrics, flags=re.M)
    assert float(spent) == pytest.approx(a_promise().epsilon_after(1))
    with running(options) as again:
        assert again["public_key"] == started["public_key"]
        client = CustodianClient(again["url"], service, bytes.fromhex(again["public_key"]))
        assert client.open_round(task) == task
        client.shut()


def test_the_folder_and_all_in_it_but_the_public_key_are_their_owners_alone(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "custodian").mkdir(mode=0o755)
    with running(options):
        modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "custodian").rglob("*")}
    assert {"signing.key", "round-keys", "custodian.sqlite"} <= set(modes)
    assert [name for name, mode in modes.items() if mode] == ["signing.key.pub"]


def refused(options: list[str], *more: str) -> str:
    """The one line on stderr of a command that does not start."""
    result = CliRunner().invoke(program, [*options, *more])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "custodian.example"])
def test_plain_http_is_for_this_machine_only(options: list[str], host: str) -> None:
    assert "--tls-cert" in refused(options, "--host", host)


def test_privacy_off_is_for_this_machine_only(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(a_promise(0.0).to_json())
    paths = make_certificates(tmp_path / "certs")
    tls = ["--tls-cert", str(paths["custodian_cert"]), "--tls-key", str(paths["custodian_key"])]
    assert "privacy off" in refused(options, "--host", "0.0.0.0", *tls)


def test_a_mistake_is_one_line(options: list[str], tmp_path: Path) -> None:
    assert "without the other" in refused(options, "--tls-cert", "c.pem")
    assert "public key nonsense" in refused([*options[:3], "--service-key", "nonsense"])
    (tmp_path / "plan.json").write_text("{}")
    assert "plan.clips: is missing" in refused(options)
    (tmp_path / "plan.json").unlink()
    assert "cannot be read" in refused(options)


def test_a_second_custodian_on_the_same_folder_does_not_start(options: list[str]) -> None:
    with running(options):
        assert "another custodian" in refused(options)


def test_nothing_of_a_body_is_printed(options: list[str], service: SigningKey, tmp_path: Path) -> None:
    """Neither a seed nor a report id reaches stdout or stderr, whatever is asked."""
    process = subprocess.Popen(
        [*START, *options, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    started = json.loads(process.stdout.readline())
    client = CustodianClient(started["url"], service, bytes.fromhex(started["public_key"]))
    task = client.open_round(draft())
    client.add_issuer_key(ISSUER.key(0))
    batch = a_batch(task)
    client.answer(batch)
    client.shut()
    httpx.post(started["url"] + "/v1/batches", content=batch.to_bytes(), timeout=60)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    for seed in batch.seeds:
        for secret in (seed.report_id, seed.sealed_seed[:16]):
            assert secret not in out + err
            assert secret.hex().encode() not in out + err
    assert err == b""


def test_over_tls_the_service_believes_the_pinned_authority_only(
    options: list[str], service: SigningKey, tmp_path: Path
) -> None:
    paths = make_certificates(tmp_path / "certs")
    others = make_certificates(tmp_path / "others")
    tls = ["--tls-cert", str(paths["custodian_cert"]), "--tls-key", str(paths["custodian_key"])]
    with running([*options, *tls]) as started:
        assert started["url"].startswith("https://127.0.0.1:")
        public = bytes.fromhex(started["public_key"])
        client = CustodianClient(started["url"], service, public, ca=paths["ca"])
        assert client.open_round(draft()).is_signed_by(public)
        client.shut()
        stranger = CustodianClient(started["url"], service, public, ca=others["ca"], patience_s=0.1)
        with pytest.raises(CustodianUnreachable, match="ConnectError"):
            stranger.open_round(draft())
        stranger.shut()
