"""What one device says in a round of the mix: its own example's, only its role's, and only in the plan's own sums."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from federation.device.contribution import OwnHistory
from federation.device.ledger import LedgerEntry, Participation
from federation.device.mixing.mix_contribution import mix_vectors, own_example
from federation.device.participation import TrainingRound
from federation.device.report import DevicePolicy
from federation.device.state import DeviceState
from federation.learning.mix_step import next_sum
from federation.learning.mix_sum import SHARE_OF_ROUND, STEPS
from federation.learning.mix_update import mix_update
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.round_plan import NO_ITEMS, check_round_plan
from federation.private_sum.accounting import rho_of
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Block, Task
from federation.simulation.mix_training import cautious_mix
from recsys.catalogue.catalogue import Catalogue, catalogue_of, encode_catalogue
from recsys.mix.examples import make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.fit import FitState
from recsys.mix.mix_tables import no_attributes
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import LISTS, prior_weights
from tests.end_to_end.live_mix import mix_bundle
from tests.federation.service.live_round import CLIPS
from tests.federation.service.live_round import NOW as TASK_NOW
from tests.recsys.mix.worlds import CONFIG, NOW, item_table, shop_log, tables_of

PLAN = PrivacyPlan(CLIPS, 2.0, 3, 50, 1_000, 1e-6)
N_ITEMS = 130
BEFORE, AFTER = shop_log(1), shop_log(2)
DAY_LATER = 86_400_000_000


def a_catalogue(folder: Path, fit: FitState | None = None, **changes: object) -> Catalogue:
    ids = [f"sku-{item}" for item in range(N_ITEMS)]
    tables = replace(
        tables_of(1, BEFORE), category=no_attributes(N_ITEMS).category, log_price=no_attributes(N_ITEMS).log_price
    )
    mix = replace(cautious_mix(tables, "purchases"), fit=fit, **changes)  # type: ignore[arg-type]
    bundle = mix_bundle(folder, ids, item_table(1, N_ITEMS), CONFIG, mix, pl.DataFrame({"item_id": ids}))
    encode_catalogue(bundle)
    return catalogue_of(bundle)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return a_catalogue(tmp_path_factory.mktemp("b") / "b")


def a_task(kind: str = "first_step", n_features: int = N_FEATURES, **changes: object) -> Task:
    task = Task(
        task_id="mix-0", round=0, bundle_version="v", bundle_hash=hashlib.sha256(b"").digest(), blocks=(NO_ITEMS,),
        plan=PLAN.mix_plan(kind, n_features), suite=Suite.X25519, round_public_key=b"", deadline=TASK_NOW + 3_600,
        come_back_at=TASK_NOW,
    )  # fmt: skip
    return replace(task, **changes)  # type: ignore[arg-type]


def own_of(user: int) -> OwnHistory:
    """The events of one user before NOW, and those of another log after it."""
    rows, later = BEFORE.of(user), AFTER.of(user)
    return OwnHistory(
        np.concatenate([BEFORE.item_idx[rows], AFTER.item_idx[later]]),
        np.concatenate([BEFORE.kind[rows], AFTER.kind[later]]),
        np.concatenate([BEFORE.time[rows], AFTER.time[later] + NOW]),
        at=2 * NOW,
    )


def test_a_device_says_what_the_simulation_makes_of_its_history(catalogue: Catalogue) -> None:
    assert catalogue.mix is not None
    signals = Signals(catalogue.table, catalogue.config, catalogue.mix.tables)
    weights = {name: prior_weights("purchases", name) for name in LISTS}
    for user in range(5):
        vectors = mix_vectors(own_of(user), catalogue, a_task(), judges=False)
        central = make_examples(signals, BEFORE, AFTER, NOW, np.array([user]))
        for name, part in mix_update(central, weights, "first_step").parts.items():
            np.testing.assert_allclose(vectors[name], part, rtol=1e-5, atol=1e-6)
        assert np.linalg.norm(vectors["gradient_all"]) > 0


def test_a_device_of_the_other_role_says_zeros_of_the_same_length(catalogue: Catalogue, tmp_path: Path) -> None:
    weights = {name: prior_weights("ratings", name) for name in LISTS}
    judging = a_catalogue(tmp_path / "b", FitState(STEPS, weights))
    for held, kind, judges in ((catalogue, "first_step", True), (judging, "guard", False)):
        silent = mix_vectors(own_of(0), held, a_task(kind), judges=judges)
        speaking = mix_vectors(own_of(0), held, a_task(kind), judges=not judges)
        assert not any(part.any() for part in silent.values())
        assert any(part.any() for part in speaking.values())
        assert {name: part.shape for name, part in silent.items()} == {n: p.shape for n, p in speaking.items()}


def test_without_events_on_both_sides_of_the_tables_moment_it_says_zeros(catalogue: Catalogue) -> None:
    whole = own_of(0)
    assert catalogue.mix is not None
    for rows in (whole.time < NOW, whole.time >= NOW, np.zeros(len(whole.time), dtype=bool)):
        part = OwnHistory(whole.item_idx[rows], whole.kind[rows], whole.time[rows], whole.at)
        assert own_example(part, catalogue, catalogue.mix) is None
        assert not any(vector.any() for vector in mix_vectors(part, catalogue, a_task(), judges=False).values())
    early = replace(whole, at=NOW - 1)  # as of a moment before: what came later has not happened
    assert own_example(early, catalogue, catalogue.mix) is None


def test_a_task_of_another_step_than_the_bundles_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    weights = {name: prior_weights("purchases", name) for name in LISTS}
    for held in (
        catalogue,
        a_catalogue(tmp_path / "over", FitState(STEPS + 1, weights)),
        a_catalogue(tmp_path / "old", prior=None),
        replace(catalogue, mix=None),
    ):
        with pytest.raises(TaskRefused, match="of a guard, the mix of"):
            mix_vectors(own_of(0), held, a_task("guard"), judges=True)
    with pytest.raises(TaskRefused, match="parts: must be"):
        mix_vectors(own_of(0), catalogue, a_task(n_features=3), judges=False)


@pytest.mark.parametrize("kind", ["first_step", "step", "guard"])
def test_only_the_privacy_plans_own_sums_of_the_mix_are_taken(kind: str) -> None:
    """A service that may widen a clip or quieten the noise would have one device's gradient to itself."""
    task = a_task(kind)
    check_round_plan(task, PLAN)
    wide = replace(task.plan.parts[0], clip_norm=4.0)
    for plan in (
        replace(task.plan, sigma=task.plan.sigma - 1),
        replace(task.plan, min_reports=49),
        replace(task.plan, parts=(wide, *task.plan.parts[1:])),
        replace(PLAN, noise_multiplier=1.0).mix_plan(kind, N_FEATURES),
    ):
        with pytest.raises(TaskRefused, match="the privacy plan's own"):
            check_round_plan(replace(task, plan=plan), PLAN)
    with pytest.raises(TaskRefused, match=r"one block 0\.\.0"):
        check_round_plan(replace(task, blocks=(Block(0, 1),)), PLAN)
    with pytest.raises(TaskRefused, match="parts="):
        check_round_plan(replace(task, plan=replace(task.plan, parts=task.plan.parts[1:])), PLAN)


@pytest.mark.parametrize(
    ("judges", "kind", "share"),
    [(None, "step", 0.2), (False, "step", 0.2), (True, "step", 0.0), (True, "guard", 0.2), (False, "guard", 0.0)],
)
def test_a_cap_counts_fifths_and_zeros_are_free(judges: bool | None, kind: str, share: float) -> None:
    policy = DevicePolicy(b"", 0.0, max_participations=1, max_epsilon=math.inf)
    task, entry = a_task(kind), LedgerEntry(b"\1" * 32, 0, 0, 1.0, share=SHARE_OF_ROUND)
    four = DeviceState(consent="contribute", participation=Participation((entry,) * 4, judges=judges))
    five = replace(four, participation=replace(four.participation, entries=(entry,) * 5))
    assert TrainingRound().refused(four, task, policy, 9) is None
    assert TrainingRound().refused(five, task, policy, 9) == ("cap_reached" if share else None)


def test_epsilon_of_a_lifetime_is_checked_before_the_report() -> None:
    task = a_task("step")
    enough = Participation(judges=False).epsilon(1e-6, and_rho=rho_of(task.plan))
    state = DeviceState(consent="contribute", participation=Participation(judges=False))
    policy = DevicePolicy(b"", 0.0, max_epsilon=enough)
    assert TrainingRound().refused(state, task, policy, 9) is None
    assert TrainingRound().refused(state, task, replace(policy, max_epsilon=0.99 * enough), 9) == "budget_spent"
    judge = replace(state, participation=Participation(judges=True))
    assert TrainingRound().refused(judge, task, replace(policy, max_epsilon=0.0), 9) is None


def test_a_mix_that_says_neither_prior_nor_moment_is_not_learned_live() -> None:
    tables = replace(tables_of(1, BEFORE), as_of=None)
    old = MixModel({n: prior_weights("ratings", n) for n in LISTS}, dict.fromkeys(LISTS, "mix"), 9, tables)
    assert next_sum(None) is next_sum(old) is next_sum(replace(old, prior="ratings")) is None
    assert next_sum(cautious_mix(tables_of(1, BEFORE), "ratings")) == "first_step"
