"""`python -m tests.benchmarks.dashboard_picture`: docs/figures/dashboard.png, of a service that did what it shows.

Both parties in processes of their own, devices of the bundled log that train over HTTP, questions meanwhile, and an
experiment of simulated shoppers. Five minutes on a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from data.errors import OwnshelfError
from federation.learning.experiment_sum import window_task
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.sealing import Suite
from federation.service.experiment_store import ExperimentStore
from federation.service.round_store import StoredSum
from federation.storage.database import open_engine, sqlite_url
from recsys.experiments.definition.definition import DAY_S
from tests.benchmarks.experiment_e2e import windows_of
from tests.benchmarks.experiment_shoppers import definition
from tests.benchmarks.figures import FOLDER
from tests.browser import chromium, visit
from tests.end_to_end.deployment import ROOT, Deployment

SAMPLE = "sample:online-retail"
ROUNDS, DEVICES, SHOPPERS = 4, 700, 6_000
CLIPS = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)


def main(file: Path = FOLDER / "dashboard.png") -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _run("train", SAMPLE, f"--out={folder / 'bundle'}", "--rounds=20")
        (folder / "terms.json").write_text(json.dumps({"max_epsilon": 4.0, "min_reports": 100}))
        plan = PrivacyPlan.calibrated(8.0, 1e-6, ROUNDS + 1, CLIPS, min_reports=50, max_reports=1_000)
        rounds = {"rounds": 100, "block_items": 4_096, "goal_reports": DEVICES, "window_s": 3_600, "pause_s": 1}
        options = (f"--experiments={folder / 'terms.json'}",)
        with Deployment(folder / "running", folder / "bundle", plan, rounds, custodian_options=options) as deployment:
            _experiment(deployment)
            _train_and_ask(deployment)
            with chromium() as browser, visit(browser, f"{deployment.url}/dashboard") as seen:
                seen.page.set_viewport_size({"width": 1200, "height": 900})
                seen.page.get_by_role("button", name="Show").click()
                seen.page.locator("#experiments svg").first.wait_for()
                seen.page.screenshot(path=file, full_page=True)


def _run(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "serving.cli.main", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )


def _experiment(deployment: Deployment) -> None:
    """Started nine days ago; the windows that are over are summed, as their devices would have had them."""
    now = int(time.time())
    privacy = {"epsilon": 4.0, "min_reports": 100, "max_reports": SHOPPERS}
    experiment = definition(now - 9 * DAY_S, 8, id="personal-home", looks={"count": 5}, privacy=privacy)
    store = ExperimentStore(open_engine(sqlite_url(deployment.service_folder / "rounds" / "rounds.sqlite")))
    (app,) = _apps(deployment)
    store.put(app, experiment, now)
    store.start(app, experiment.id, now)
    for window, words in windows_of(experiment, SHOPPERS, 0).items():
        if experiment.window(window)[1] < now:
            task = window_task(experiment, window, f"w-{window}", deadline=now, come_back_at=now, suite=Suite.X25519)
            store.windows.draft(app, experiment, task)
            store.windows.opened(replace(task, round_public_key=bytes(32), signature=bytes(64)))
            store.windows.close(task.task_id)
            store.windows.keep_sum(task.task_id, 0, StoredSum(SHOPPERS, 0, words.astype(np.int32)))
            store.windows.summed(task.task_id, now)


def _apps(deployment: Deployment) -> list[str]:
    """The one app of a service without keys."""
    return [httpx.get(f"{deployment.url}/v1/dashboard").raise_for_status().json()["app"]]


def _train_and_ask(deployment: Deployment) -> None:
    """Rounds by a fleet in a process of its own, and questions of a few kinds until it is done."""
    options = {
        "dataset": SAMPLE,
        "service": deployment.url,
        "custodian-key": deployment.custodian_key,
        "plan": deployment.plan_file,
        "api-key": deployment.api_key,
        "rounds": ROUNDS,
        "cohort": DEVICES,
    }
    fleet = subprocess.Popen(
        [sys.executable, "-m", "serving.cli.main", "device", "simulate", "1000"]
        + [f"--{name}={value}" for name, value in options.items()],
        cwd=ROOT,
    )
    random = np.random.default_rng(0)
    with deployment.client() as client:
        while fleet.poll() is None:
            _ask(client, random)
            time.sleep(0.4)
    if fleet.returncode:
        raise OwnshelfError("the fleet failed: see above")


def _ask(client: httpx.Client, random: np.random.Generator) -> None:
    version = next(one["version"] for one in client.get("/v1/bundles").json()["bundles"] if one["current"])
    ask = {"mode": "profile", "bundle_version": version, "profile": None}
    cluster = {"mode": "cluster", "bundle_version": version, "clusters": [int(random.integers(0, 8))], "candidates": 50}
    for body in (ask, cluster)[: 1 + int(random.random() < 0.4)]:
        client.post("/v1/recommendations", json=body)
    if random.random() < 0.3:
        client.get("/v1/items/22423/similar")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
