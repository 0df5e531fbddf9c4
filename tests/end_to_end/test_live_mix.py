"""The weights of a mix, learned over real HTTP by service, custodian and devices: those of the fit in one process."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.interactions import MICROS_PER_DAY, Interactions, interactions
from data.vocabulary import Vocabulary
from federation.learning.mix_step import next_sum
from federation.learning.mix_sum import NOISE_OF_MIX
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.accounting import epsilon_of
from federation.simulation.fleet import Fleet
from federation.simulation.mix_training import cautious_mix
from recsys.catalogue.bundle import Bundle
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.priors import LISTS, prior_weights
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.live_mix import (
    ROUNDS,
    MixFleet,
    central_fit,
    central_verdict,
    furthest,
    mix_bundle,
    play_mix,
)
from tests.end_to_end.test_live_federation import CLIPS
from tests.recsys.mix.worlds import CONFIG, item_table

N_DEVICES, N_ITEMS, SEED = 170, 60, 3
AS_OF = 90 * MICROS_PER_DAY
UNTIL = 100 * MICROS_PER_DAY
OFF = PrivacyPlan.off(CLIPS, max_participations=1, min_reports=10, max_reports=1_000)


def regulars(seed: int) -> Interactions:
    """Devices with three favourites each, which they take again after AS_OF, and one item more."""
    rng = np.random.default_rng(seed)
    users, items, times = [], [], []
    for user in range(N_DEVICES):
        favourites = rng.choice(N_ITEMS, 3, replace=False)
        for day in (*range(20, 90, 10), 93, 95):
            users += [user] * 2
            items += [rng.choice(favourites), rng.integers(N_ITEMS)]
            times += [day * MICROS_PER_DAY + user] * 2
    kinds = np.full(len(users), 2, dtype=np.uint8)
    return interactions(users, items, times, n_users=N_DEVICES, n_items=N_ITEMS, kind=kinds)


@pytest.fixture(scope="module")
def mix_fleet() -> MixFleet:
    ids = Vocabulary(pl.Series([f"sku-{item}" for item in range(N_ITEMS)]))
    return MixFleet(regulars(SEED), ids, AS_OF, UNTIL, SEED)


def first_bundle(folder: Path, mix_fleet: MixFleet) -> Bundle:
    ids = mix_fleet.ids.ids.to_list()
    catalogue = pl.DataFrame({"item_id": ids})
    known = mix_fleet.log.where(mix_fleet.log.time < AS_OF)
    mix = cautious_mix(build_tables(known, AS_OF, attributes_of(catalogue)), "sessions")
    return mix_bundle(folder, ids, item_table(SEED, N_ITEMS), CONFIG, mix, catalogue)


def settings() -> dict[str, object]:
    return {"rounds": 0, "goal_reports": N_DEVICES, "window_s": 600, "pause_s": 0, "keep_bundles": 10}


def test_weights_of_live_rounds_are_those_of_the_central_fit(mix_fleet: MixFleet, tmp_path: Path) -> None:
    """No noise: what differs is the rounding of 130 reports to 4,096 steps a clip."""
    first = first_bundle(tmp_path / "bundle", mix_fleet)
    with Deployment(tmp_path / "live", tmp_path / "bundle", OFF, settings()) as deployment:
        rounds = play_mix(deployment, mix_fleet, OFF)
        bundles = [Bundle.load(deployment.folder_of(round_.record["bundle"])) for round_ in rounds]
        assert deployment.store.spent_rounds() == 1
    assert [round_.record["mix"]["sum"] for round_ in rounds] == ["first_step", *["step"] * 4, "guard"]
    for bundle in bundles[:-1]:  # nothing unproved is served
        assert bundle.mix is not None
        assert bundle.mix.served == first.mix.served
        assert furthest(bundle.mix.weights, first.mix.weights) == 0.0
    examples, judges = mix_fleet.examples(first)
    assert 100 <= (~judges).sum() < len(judges) == N_DEVICES
    fit, _ = central_fit(examples.devices(~judges), "sessions")
    learned = bundles[-1].mix
    assert learned is not None
    assert learned.fit is not None
    assert next_sum(learned) is None
    moved = furthest(fit.weights, {name: prior_weights("sessions", name) for name in LISTS})
    assert moved > 0.5
    assert furthest(learned.fit.weights, fit.weights) < 0.005 * moved
    assert learned.served == central_verdict(examples.devices(judges), fit.weights, "sessions")
    assert learned.devices == N_DEVICES
    for bundle in bundles:
        np.testing.assert_array_equal(bundle.table.item_embeddings, first.table.item_embeddings)


def test_noise_is_what_the_plan_says_and_the_ledgers_count_it(mix_fleet: MixFleet, tmp_path: Path) -> None:
    """One participation at this noise is the plan's whole ε, and all six rounds fit into it, on every device."""
    first = first_bundle(tmp_path / "bundle", mix_fleet)
    plan = PrivacyPlan.calibrated(400.0, 1e-6, 1, CLIPS, min_reports=50, max_reports=1_000)
    with Deployment(tmp_path / "live", tmp_path / "bundle", plan, settings()) as deployment:
        rounds = play_mix(deployment, mix_fleet, plan)
        last = Bundle.load(deployment.folder_of(rounds[-1].record["bundle"]))
        assert deployment.store.spent_rounds() == 1
        fleet = Fleet(tmp_path / "live" / "fleet", N_DEVICES)
        states = [fleet.device(device).state for device in range(N_DEVICES)]
    assert rounds[-1].record["privacy"]["participations"] == 1
    assert f"ε={plan.epsilon:.3g}" in str(last.manifest["privacy"])
    for state, judges in zip(states, mix_fleet.judges.tolist(), strict=True):
        account = state.participation
        assert account.judges is judges
        assert len(account.entries) == ROUNDS
        assert account.count_since(0) == pytest.approx(0.2 if judges else 1.0)
        spent = sum(entry.rho for entry in account.entries)
        assert spent <= 1 / (2 * plan.noise_multiplier**2) * (1 + 1e-6)
        assert epsilon_of(spent, 1e-6) == account.epsilon(1e-6)
    examples, judges = mix_fleet.examples(first)
    fitting, z = examples.devices(~judges), plan.noise_multiplier * NOISE_OF_MIX
    exact, _ = central_fit(fitting, "sessions")
    noisy = [central_fit(fitting, "sessions", z, np.random.default_rng(seed))[0] for seed in range(60)]
    assert last.mix is not None
    assert last.mix.fit is not None
    scores = []
    for name in LISTS:
        spread = np.std([fit.weights[name] for fit in noisy], axis=0)
        middle = np.mean([fit.weights[name] for fit in noisy], axis=0)
        scores += [(last.mix.fit.weights[name] - middle) / np.maximum(spread, 1e-9)]
    rms = math.sqrt(float(np.mean(np.concatenate(scores) ** 2)))
    assert 0.4 < rms < 2.0
    assert furthest(last.mix.fit.weights, exact.weights) > 10 * 0.005  # not the exact fit: the noise is there
