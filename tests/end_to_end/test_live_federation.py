"""Training over real HTTP with real, separate processes: service, custodian and a fleet of devices."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data.dataset import Dataset
from data.interactions import Interactions
from data.split import known_at
from federation.device.contribution import OwnHistory, training_vectors
from federation.lab.recipes import recipe
from federation.learning.item_step import GUARDED
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.in_process import sum_in_process
from federation.protocol.messages import Task
from federation.simulation.cohort import cohort, draw_blocks
from federation.simulation.fleet import Fleet, FleetConfig, rounding_of, vanishing_moment
from federation.simulation.training import TrainConfig, train
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import catalogue_of
from tests.end_to_end.deployment import ROOT, Deployment, untrained_bundle

CLIPS = Clips(rows=1.0, counts=8.0, second=0.3, first=0.6)
SEED = 7
ROUNDS, COHORT, BLOCKS = 3, 60, 2
FLOAT_TOLERANCE = 2e-4
"""Of a table of three rounds, over the table's largest entry: what rounding to fixed point and float32 leave."""
STEP = replace(GUARDED, trust_radius=1.0, row_bound=np.inf)
"""Free enough to be somewhere else after three rounds."""


class Live:
    """A log whose users are devices, in a deployment with privacy off, and what the simulation makes of the same."""

    def __init__(self, folder: Path) -> None:
        dataset = Dataset.open("sample:online-retail")
        everything = dataset.interactions()
        self.at = int(everything.time.max()) + 1
        self.log: Interactions = known_at(everything, self.at)
        self.config = TrainConfig(
            dim=16,
            rounds=ROUNDS,
            cohort_size=COHORT,
            blocks=BLOCKS,
            holdout_share=0.0,
            measure_every=0,
            clips=CLIPS,
            step=STEP,
            profile=recipe("purchases").train.profile,
        )
        self.ids: list[str] = dataset.items.ids.to_list()
        self.bundle_folder = folder / "bundle"
        self.bundle = untrained_bundle(
            self.bundle_folder, self.log, self.config, seed=SEED, now=self.at, item_ids=self.ids
        )
        users = np.flatnonzero(self.log.counts > 0)
        self.cohorts = [cohort(len(users), COHORT, round_, SEED) for round_ in range(ROUNDS)]
        asked = np.unique(np.concatenate(self.cohorts))
        self.owners = users[asked]  # the users whose histories devices 0, 1, … hold
        self.cohorts = [np.searchsorted(asked, devices) for devices in self.cohorts]
        self.items = dataset.items
        self.plan = PrivacyPlan.off(CLIPS, max_participations=ROUNDS, min_reports=10, max_reports=1000)

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "rounds": ROUNDS,
            "block_items": -(-self.log.n_items // BLOCKS),
            "goal_reports": COHORT,
            "window_s": 600,
            "pause_s": 0,
            "step": f"{{trust_radius = {STEP.trust_radius}, row_bound = {STEP.row_bound}}}",
        } | changes

    def fleet_config(self, dropout: float = 0.0) -> FleetConfig:
        return FleetConfig(self.at, SEED, dropout, holdout_share=0.0)

    def blocks(self, round_: int) -> dict[int, int]:
        devices = self.cohorts[round_]
        drawn = draw_blocks(len(devices), BLOCKS, round_, SEED)
        return dict(zip(devices.tolist(), drawn.tolist(), strict=True))

    def play(self, deployment: Deployment, round_: int, bundle: Path, dropout: float = 0.0) -> dict[str, Any]:
        """One round by a fleet in a process of its own."""
        fleet = deployment.folder / "fleet"
        if not fleet.exists():
            Fleet.create(fleet, self.log, self.items, self.owners)
        orders = {
            "service": deployment.url,
            "custodian_key": deployment.custodian_key,
            "plan": str(deployment.plan_file),
            "api_key": deployment.api_key,
            "bundle": str(bundle),
            "fleet": str(fleet),
            "devices": self.cohorts[round_].tolist(),
            "blocks": self.blocks(round_),
            "history_at": self.at,
            "seed": SEED,
            "dropout": dropout,
            "play": round_,
        }
        file = deployment.folder / f"orders-{round_}.json"
        file.write_text(json.dumps(orders))
        run = subprocess.run(
            [sys.executable, "-m", "tests.end_to_end.fleet_process", str(file)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        played: dict[str, Any] = json.loads(run.stdout)
        return played

    def expected(self, task: Task, bundle: Bundle, round_: int, devices: list[int]) -> dict[int, npt.NDArray[np.int32]]:
        """The in-process integer sums of these devices' vectors, block by block."""
        catalogue, blocks = catalogue_of(bundle), self.blocks(round_)
        alone = replace(task.plan, min_reports=1)  # each device rounds with chances of its own
        sums = {block: np.zeros(task.plan.length, dtype=np.int32) for block in range(BLOCKS)}
        for device in devices:
            rows = self.log.of(int(self.owners[device]))
            own = OwnHistory(self.log.item_idx[rows], self.log.kind[rows], self.log.time[rows], self.at)
            vectors = training_vectors(own, catalogue, task, blocks[device])
            sums[blocks[device]] += sum_in_process(alone, [vectors], rounding_of(SEED, round_, device))
        return sums


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return Live(tmp_path_factory.mktemp("live"))


def test_sums_over_http_are_the_simulations_bit_by_bit_and_so_is_the_table(live: Live, tmp_path: Path) -> None:
    start = tmp_path / "deployment"
    with Deployment(start, live.bundle_folder, live.plan, live.settings()) as deployment:
        version = live.bundle.version
        for round_ in range(ROUNDS):
            base = Bundle.load(deployment.folder_of(version))
            played = live.play(deployment, round_, deployment.folder_of(version))
            assert {fate["status"] for fate in played["fates"]} == {"accepted"}
            stored = deployment.until_published(round_)
            assert stored.counted == COHORT
            expected = live.expected(stored.task, base, round_, live.cohorts[round_].tolist())
            found = deployment.store.sums(stored.task_id)
            for block in range(BLOCKS):
                np.testing.assert_array_equal(found[block].words, expected[block])
            version = stored.record["bundle"]
        table = Bundle.load(deployment.folder_of(version)).table
    simulated = train(live.log, live.config, seed=SEED, now=live.at).table
    largest = float(np.abs(simulated.item_embeddings).max())
    assert np.abs(simulated.item_embeddings - live.bundle.table.item_embeddings).max() > 0.5 * largest  # it moved
    np.testing.assert_allclose(table.item_embeddings, simulated.item_embeddings, atol=FLOAT_TOLERANCE * largest)
    np.testing.assert_allclose(table.mean_profile, simulated.mean_profile, atol=FLOAT_TOLERANCE * largest)


def test_devices_vanishing_anywhere_leave_the_sum_of_the_rest_exact(live: Live, tmp_path: Path) -> None:
    dropout, round_ = 0.3, 0
    moments = {
        device: vanishing_moment(live.fleet_config(dropout), device, round_) for device in live.cohorts[round_].tolist()
    }
    rest = [device for device, moment in moments.items() if moment in (None, "sent")]
    assert 0.6 * COHORT <= len(rest) <= 0.85 * COHORT
    assert {"fetched", "checked", "computed", "stored", "torn", "sent"} == set(moments.values()) - {None}
    settings = live.settings(goal_reports=len(rest))
    with Deployment(tmp_path / "deployment", live.bundle_folder, live.plan, settings) as deployment:
        played = live.play(deployment, round_, live.bundle_folder, dropout)
        fates = {fate["device"]: (fate["status"], fate["detail"]) for fate in played["fates"]}
        assert fates == {
            device: ("accepted", "") if moment is None else ("vanished", moment) for device, moment in moments.items()
        }
        stored = deployment.until_published(round_)
        assert stored.counted == len(rest)
        expected = live.expected(stored.task, live.bundle, round_, rest)
        found = deployment.store.sums(stored.task_id)
        for block in range(BLOCKS):
            np.testing.assert_array_equal(found[block].words, expected[block])
