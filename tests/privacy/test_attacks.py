"""The attackers of tests/benchmarks in a small shop: at chance where sums carry noise, certain where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data.synthetic import SyntheticShop
from federation.learning.privacy_plan import PrivacyPlan
from recsys.model.histories import Histories, merge_histories
from tests.benchmarks.attacks_known import auc_error, audit, epsilon_bound
from tests.benchmarks.attacks_leak import auc, item_features, learn, matched_pairs, one_by_one, scored, watch
from tests.benchmarks.leak import CLIPS, CONFIG, DELTA, attacked, guess_of

REPORTS, PARTICIPATIONS, DIM = 50, 3, 8


@pytest.fixture(scope="module")
def histories() -> Histories:
    log = SyntheticShop(900, 400, 27_000, seed=3, n_clusters=10, drift=0.2).interactions()
    return merge_histories(log, CONFIG, int(log.time.max()) + 1)


@pytest.fixture(scope="module")
def plan() -> PrivacyPlan:
    return PrivacyPlan.calibrated(8.0, DELTA, PARTICIPATIONS, CLIPS, min_reports=REPORTS, max_reports=1_000)


def members(histories: Histories) -> np.ndarray:
    return np.flatnonzero(histories.counts >= 4)[:600]


def service_view(histories: Histories, plan: PrivacyPlan | None) -> dict[str, Any]:
    """Figures of the item and the profile attack on all that the service has."""
    view = watch(
        histories,
        CONFIG,
        members(histories),
        reports=REPORTS,
        participations=PARTICIPATIONS,
        clips=CLIPS,
        plan=None if plan is None else plan.sum_plan(histories.n_items, DIM),
        dim=DIM,
        seed=0,
    )
    return attacked(view, histories, matched_pairs(histories, members(histories), 4, seed=0), seed=0)


def test_with_the_whole_service_side_at_min_reports_an_attacker_is_at_chance(
    histories: Histories, plan: PrivacyPlan
) -> None:
    found = service_view(histories, plan)
    assert min(found["item_members"], found["item_non_members"]) >= 600
    assert abs(found["item_auc"] - 0.5) <= 0.05
    assert guess_of(found) <= found["mean_cos"] + 0.02


def test_updates_in_the_clear_give_items_and_profile_away_to_the_same_attack(histories: Histories) -> None:
    V = np.random.default_rng(1).normal(0, 0.3, (histories.n_items, DIM)).astype(np.float32)
    view = one_by_one(histories, CONFIG, members(histories), V, CLIPS)
    found = attacked(view, histories, matched_pairs(histories, members(histories), 4, seed=0), seed=0)
    assert found["item_auc"] >= 0.95
    assert found["raw_moment_cos"] >= 0.999


def test_sums_of_fifty_without_noise_are_no_protection_once_reports_can_be_linked(histories: Histories) -> None:
    """Why noise is on by default, and why tokens are blind."""
    found = service_view(histories, None)
    assert found["item_auc"] >= 0.65


def test_pairs_are_matched_in_popularity(histories: Histories) -> None:
    """Knowing how popular an item is tells nothing about which of a pair it is."""
    pairs = matched_pairs(histories, members(histories), 4, seed=0)
    owners = np.bincount(histories.item_idx, minlength=histories.n_items)
    assert abs(auc(owners[pairs.item].astype(float), pairs.truth) - 0.5) <= 0.03
    for device in pairs.device[:50]:
        own = histories.item_idx[histories.offsets[device] : histories.offsets[device + 1]]
        mine = pairs.device == device
        np.testing.assert_array_equal(np.isin(pairs.item[mine], own), pairs.truth[mine])


def test_the_discriminant_finds_what_there_is_to_find_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(4_000) % 2 == 0
    x = rng.normal(size=(4_000, 3)) + np.outer(truth, [1.0, 0.0, -1.0])
    weights = learn(x[:2_000], truth[:2_000])
    # Distance √2 between two unit Gaussians: AUC = Φ(√2/√2) = .841.
    assert auc(scored(weights, x[2_000:]), truth[2_000:]) == pytest.approx(0.841, abs=0.03)
    noise = rng.normal(size=(4_000, 3))
    assert abs(auc(scored(learn(noise[:2_000], truth[:2_000]), noise[2_000:]), truth[2_000:]) - 0.5) <= 0.05


def test_features_of_a_pair_do_not_depend_on_the_other_pairs(histories: Histories) -> None:
    some = members(histories)[:120]
    view = watch(
        histories, CONFIG, some, reports=40, participations=2, clips=CLIPS, plan=None, dim=4, seed=1
    )  # fmt: skip
    pairs = matched_pairs(histories, some, 3, seed=1)
    whole = item_features(view, pairs)
    part = pairs.of(some[:10])
    np.testing.assert_allclose(item_features(view, part), whole[np.isin(pairs.device, some[:10])])


def test_who_knows_every_other_report_stays_within_what_the_stated_epsilon_allows(plan: PrivacyPlan) -> None:
    found = audit(plan, 1_500, seed=0)
    assert found["auc"] <= found["bound"] + 3 * found["error"]
    assert found["auc"] >= 0.6  # a report at its clips in this noise is no secret: the audit looks at something
    assert found["bound"] <= found["epsilon_bound"]
    assert found["epsilon_lower"] <= plan.epsilon


def test_the_audit_notices_a_custodian_that_adds_half_the_noise(plan: PrivacyPlan) -> None:
    found = audit(plan, 1_500, seed=0, noise_scale=0.5)
    assert found["auc"] > found["bound"] + 3 * found["error"]


def test_bounds_of_no_privacy_and_of_perfect_privacy() -> None:
    assert epsilon_bound(0.0, 0.0) == pytest.approx(0.5, abs=1e-6)
    assert epsilon_bound(30.0, 0.0) == pytest.approx(1.0, abs=1e-4)
    assert auc_error(0.5, 100) == pytest.approx(np.sqrt(201 / (12 * 100**2)), rel=0.01)  # √((2n + 1)/(12·n²))
