"""The same deployment as it stands between machines: TLS under a pinned authority, noise on, by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from data.dataset import Dataset
from data.log_reading.ingest import ingest
from data.synthetic import SyntheticShop
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.signing import SigningKey
from federation.simulation.fleet import FleetConfig, vanishing_moment
from federation.simulation.training import TrainConfig
from recsys.catalogue.bundle import Bundle
from serving.cli.certs import make_certificates
from tests.end_to_end.deployment import ROOT, Deployment, untrained_bundle

PLAN = PrivacyPlan(
    Clips(rows=1.0, counts=4.0, second=0.5, first=0.7),
    noise_multiplier=1.0,
    max_participations=3,
    min_reports=8,
    max_reports=200,
    delta=1e-5,
)
DEVICES, DROPOUT, SEED = 24, 0.3, 3
COMING = sum(vanishing_moment(FleetConfig(0, SEED, DROPOUT), device, 0) in (None, "sent") for device in range(DEVICES))


Simulate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = SyntheticShop(n_users=40, n_items=30, n_events=1500, seed=1, n_clusters=5)
    folder = tmp_path_factory.mktemp("log") / "shop"
    ingest(pl.concat(shop.events()), out=folder)
    return folder


@pytest.fixture(scope="module")
def deployment(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder, dataset = tmp_path_factory.mktemp("tls"), Dataset.open(log)
    events, ids = dataset.interactions(), dataset.items.ids.to_list()
    now = int(events.time.max()) + 1
    untrained_bundle(folder / "bundle", events, TrainConfig(dim=4), seed=0, now=now, item_ids=ids)
    settings = {"rounds": 2, "goal_reports": COMING, "window_s": 600, "pause_s": 0}
    with Deployment(folder / "deployment", folder / "bundle", PLAN, settings, tls=True) as running:
        yield running


@pytest.fixture
def simulate(deployment: Deployment, log: Path) -> Simulate:
    """Run `ownshelf device --simulate` against the deployment; options are changed or, with None, left out."""

    def run(n: int = DEVICES, **changes: object) -> subprocess.CompletedProcess[str]:
        options = {
            "dataset": log,
            "service": deployment.url,
            "custodian-key": deployment.custodian_key,
            "plan": deployment.plan_file,
            "ca": deployment.ca,
            "seed": SEED,
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return subprocess.run(
            [sys.executable, "-m", "serving.cli.main", "device", "--simulate", str(n), *given, "--json"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OWNSHELF_API_KEY": deployment.api_key},
            check=False,
        )

    return run


def played(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout)["rounds"][0])


def refused(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 1, run.stdout
    assert run.stdout == ""
    last = run.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in run.stderr
    return last


def test_a_round_over_tls_with_noise_ends_in_a_bundle_that_says_what_was_spent(
    simulate: Simulate, deployment: Deployment
) -> None:
    assert deployment.url.startswith("https://")
    found = played(simulate(dropout=DROPOUT))
    vanished = sum(found["vanished"].values())
    assert found["statuses"] == {"accepted": DEVICES - vanished, "vanished": vanished}
    assert found["statuses"]["accepted"] + found["vanished"].get("sent", 0) == COMING
    stored = deployment.until_published(0)
    assert stored.counted == COMING
    assert stored.task.plan.sigma**2 >= PLAN.noise_multiplier**2 * stored.task.plan.sensitivity_squared
    manifest = Bundle.load(deployment.folder_of(stored.record["bundle"])).manifest
    for said in (stored.record["privacy"], manifest["training"]["round"]["privacy"]):
        assert said["epsilon"] == pytest.approx(PLAN.epsilon_after(1))
    assert "ε" in manifest["privacy"]


def test_a_certificate_of_another_authority_is_refused(simulate: Simulate, tmp_path: Path) -> None:
    make_certificates(tmp_path / "others")
    assert "ConnectError" in refused(simulate(ca=tmp_path / "others" / "ca.pem"))
    assert "ConnectError" in refused(simulate(ca=None))  # nobody's machine knows a development CA
    assert "not a file of PEM certificates" in refused(simulate(ca=tmp_path / "none.pem"))


def test_plain_http_is_refused_by_every_party(simulate: Simulate, deployment: Deployment) -> None:
    assert "must be https://" in refused(simulate(service="http://192.0.2.1:8000", ca=None))
    with pytest.raises(httpx.TransportError):
        httpx.get(deployment.url.replace("https://", "http://") + "/healthz")
    for program in (
        ["serving.cli.main", "serve", str(deployment.bundle)],
        [
            "serving.cli.custodian",
            str(deployment.folder / "another"),
            f"--plan={deployment.plan_file}",
            f"--service-key={deployment.custodian_key}",
        ],
    ):
        run = subprocess.run(
            [sys.executable, "-m", *program, "--host=0.0.0.0", "--port=0"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=60,
        )
        assert "must be this machine (127.0.0.1) without --tls-cert and --tls-key" in refused(run)


def test_a_custodian_that_is_not_the_pinned_one_gets_no_report(simulate: Simulate) -> None:
    other = SigningKey.generate().public.hex()
    found = played(simulate(4, custodian_key=other))
    assert found["statuses"] == {"refused": 4}
    assert all("must be the pinned custodian's" in why for why in found["refusals"])


def test_a_task_weaker_than_the_agreed_plan_gets_no_report(simulate: Simulate, tmp_path: Path) -> None:
    for changed, why in (
        (replace(PLAN, noise_multiplier=1.1), "sigma="),
        (replace(PLAN, min_reports=9), "min_reports=8: must be at least 9"),
    ):
        stronger = tmp_path / "plan.json"
        stronger.write_text(changed.to_json())
        found = played(simulate(4, plan=stronger))
        assert found["statuses"] == {"refused": 4}
        assert all(why in refusal for refusal in found["refusals"])


def test_without_a_right_to_mint_there_are_no_reports(simulate: Simulate) -> None:
    found = played(simulate(3, api_key="os_no_such_key"))
    assert found["statuses"] == {"refused": 3}
    assert list(found["refusals"]) == ["tokens: the shop signs none (status 401)"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n": 1000}, "N=1000: must be at most"),
        ({"cohort": 30}, "cohort=30: must be at most N=24"),
        ({"dataset": "/nowhere"}, "no manifest.json there"),
        ({"plan": "/nowhere"}, "plan=/nowhere: cannot be read"),
        ({"custodian_key": "abc"}, "public key abc"),
    ],
)
def test_a_mistake_is_one_line(simulate: Simulate, changes: dict[str, Any], why: str) -> None:
    assert why in refused(simulate(**changes))
