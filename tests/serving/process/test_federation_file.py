from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import OwnshelfError, ServingError
from federation.learning.item_step import GUARDED
from federation.private_sum.sealing import Suite
from federation.service.round_settings import RoundSettings
from serving.http.resources.report_receiver import IntakeSettings
from serving.process.federation_file import FederationFile, TokenSettings
from tests.federation.service.a_lineage import PLAN

KEY = "ab" * 32
LEAST = f"""
custodian = {{url = "http://127.0.0.1:8001", public_key = "{KEY}"}}
privacy = {{plan = "plan.json"}}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "plan.json").write_text(PLAN.to_json())
    (folder / "federation.toml").write_text(text)
    return folder / "federation.toml"


def test_three_lines_are_enough(tmp_path: Path) -> None:
    found = FederationFile.read(written(tmp_path, LEAST))
    assert (found.custodian_url, found.custodian_key) == ("http://127.0.0.1:8001", bytes.fromhex(KEY))
    assert (found.rounds, found.tokens, found.intake) == (RoundSettings(), TokenSettings(), IntakeSettings())
    assert (found.plan, found.custodian_ca, found.advances) == (PLAN, None, True)
    assert found.folder == tmp_path / "rounds"
    assert found.url == f"sqlite:///{tmp_path}/rounds/rounds.sqlite"


def test_everything_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "keeper.pub").write_text(KEY)
    text = """
    [custodian]
    url = "https://custodian.example"
    public_key = "keeper.pub"
    ca = "ca.pem"
    [store]
    folder = "elsewhere"
    url = "postgresql+psycopg://localhost/rounds"
    advances = false
    [privacy]
    plan = "plan.json"
    [rounds]
    rounds = 7
    pause_s = 0
    suite = "mlkem768-x25519-hkdf-sha256-aes-256-gcm"
    step = {step = 0.25, momentum = 0}
    [tokens]
    period_s = 60
    per_issuer = 9
    [intake]
    memory_bytes = 1000000
    body_timeout_s = 3
    """
    found = FederationFile.read(written(tmp_path, text))
    assert found.custodian_key == bytes.fromhex(KEY)
    assert (found.custodian_ca, found.folder) == (tmp_path / "ca.pem", tmp_path / "elsewhere")
    assert (found.url, found.advances) == ("postgresql+psycopg://localhost/rounds", False)
    step = replace(GUARDED, step=0.25, momentum=0)
    assert found.rounds == RoundSettings(rounds=7, pause_s=0, suite=Suite.HYBRID, step=step)
    assert (found.tokens, found.intake) == (TokenSettings(60, 9), IntakeSettings(1_000_000, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "custodian: is missing"),
        (LEAST.replace("privacy", "rounds"), "rounds.plan: is unknown, must be one of"),
        (LEAST + "[tokens]\nperiod_s = 0\n", "tokens.period_s=0: must be 1.."),
        (LEAST + "[intake]\nmemory_bytes = 0\n", "intake.memory_bytes=0: must be above 0"),
        (LEAST + "[extra]\n", "extra: is unknown, must be one of custodian"),
        (LEAST + "surplus = 1\n", "surplus: is unknown"),
        (LEAST + "[rounds]\nwindow = 3\n", "rounds.window: is unknown, must be one of"),
        (LEAST + '[rounds]\nwindow_s = "long"\n', "rounds.window_s='long': must be an integer"),
        (LEAST + "[rounds]\nwindow_s = true\n", "must be an integer"),
        (LEAST + "[rounds]\nwindow_s = 0\n", "window_s=0: must be 1.."),
        (LEAST + '[rounds]\nsuite = "rot13"\n', "rounds.suite='rot13': must be one of"),
        (LEAST + "[rounds]\nstep = 3\n", "rounds.step=3: must be an object"),
        (LEAST + "[rounds]\nstep = {speed = 3}\n", "rounds.step.speed: is unknown, must be one of"),
        (LEAST + "[tokens]\nperiod_s = 1.5\n", "tokens.period_s=1.5: must be an integer"),
        (LEAST.replace("plan.json", "none.json"), "none.json: cannot be read"),
        (LEAST.replace(KEY, "keeper.pub"), "keeper.pub: cannot be read"),
        ("[custodian\n", "cannot be read (TOMLDecodeError"),
    ],
)
def test_what_it_cannot_mean_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OwnshelfError) as caught:
        FederationFile.read(written(tmp_path, text))
    assert message in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="cannot be read"):
        FederationFile.read(tmp_path / "none.toml")


def test_sums_without_noise_stay_on_this_machine(tmp_path: Path) -> None:
    found = FederationFile.read(written(tmp_path, LEAST))
    found.check_host("127.0.0.1")
    with pytest.raises(ServingError, match="with privacy off"):
        found.check_host("0.0.0.0")
    elsewhere = FederationFile.read(written(tmp_path, LEAST.replace("http://127.0.0.1:8001", "https://c.example")))
    with pytest.raises(ServingError, match="with privacy off"):
        elsewhere.check_host("127.0.0.1")


def test_the_custodian_is_asked_in_clear_on_this_machine_only(tmp_path: Path) -> None:
    found = FederationFile.read(written(tmp_path, LEAST.replace("http://127.0.0.1", "http://192.0.2.7")))
    with pytest.raises(ServingError, match="must be https://"):
        found.check_host("127.0.0.1")
