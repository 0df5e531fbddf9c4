"""Live training with two workers that want keys: one process advances rounds, every worker takes reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from data.dataset import Dataset
from federation.simulation.training import TrainConfig
from tests.end_to_end.deployment import ROOT, Deployment, untrained_bundle
from tests.end_to_end.test_live_tls import COMING, DEVICES, PLAN, SEED, log

__all__ = ["log"]


def test_a_round_with_two_workers_and_keys(log: Path, tmp_path: Path) -> None:  # a fixture
    dataset = Dataset.open(log)
    events, ids = dataset.interactions(), dataset.items.ids.to_list()
    now = int(events.time.max()) + 1
    first = untrained_bundle(tmp_path / "bundle", events, TrainConfig(dim=4), seed=0, now=now, item_ids=ids)
    settings = {"rounds": 1, "goal_reports": COMING, "window_s": 600, "pause_s": 0}
    deployment = Deployment(tmp_path / "d", tmp_path / "bundle", PLAN, settings, serve_options=("--workers=2",))
    with deployment as running:
        made = running._keys("create", "--federation", str(running.federation_file), "--scopes=device", "--json")
        device_key = json.loads(made)["key"]
        with httpx.Client(base_url=running.url, timeout=60) as nobody:
            assert nobody.get("/v1/catalogue/current").status_code == 401
        command = [
            *(sys.executable, "-m", "serving.cli.main", "device", "--simulate", str(DEVICES), f"--dataset={log}"),
            *(f"--service={running.url}", f"--custodian-key={running.custodian_key}", f"--plan={running.plan_file}"),
            *(f"--seed={SEED}", "--json"),
        ]
        keys = {"OWNSHELF_API_KEY": running.api_key, "OWNSHELF_KEY": device_key}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=os.environ | keys, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        [played] = json.loads(done.stdout)["rounds"]
        assert played["statuses"]["accepted"] >= COMING
        published = str(running.until_published(0).record["bundle"])
        # Each worker follows: connections of their own reach either of them.
        headers, give_up, seen = {"authorization": f"Bearer {device_key}"}, time.monotonic() + 30, set[str]()
        while seen != {published}:
            assert time.monotonic() < give_up, seen
            answers = [httpx.get(f"{running.url}/v1/catalogue/current", headers=headers, timeout=60) for _ in range(12)]
            seen = {answer.headers["location"] for answer in answers}
        assert published != first.version
