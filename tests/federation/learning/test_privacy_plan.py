"""ε is checked against formulas of other hands: Bun and Steinke's bound, the analytic Gaussian, the PLD accountant."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_discrete_gaussian_mechanism
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from data.errors import FederationError
from federation.device.report import DevicePolicy, check_task
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.refusals import PlanRefused
from tests.federation.custodian.a_custodian import CLIPS, a_promise
from tests.federation.private_sum.a_round import CUSTODIAN, NOW, a_draft

DELTAS = (1e-9, 1e-6, 1e-3)
MULTIPLIERS = (0.5, 1.0, 3.0, 12.0, 90.0)


def zcdp_epsilon(rho: float, delta: float) -> float:
    """min over α of αρ + ln((α−1)/α) − (ln δ + ln α)/(α−1) (Canonne, Kamath, Steinke 2020, prop. 12)."""

    def at(log_excess: float) -> float:
        alpha = 1 + math.exp(log_excess)
        return alpha * rho + math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)

    best = minimize_scalar(at, bounds=(math.log(1e-2), math.log(1e6)), method="bounded", options={"xatol": 1e-10})
    return max(0.0, float(best.fun))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Exact ε of the continuous Gaussian mechanism with Δ/σ = mu (Balle, Wang 2018, theorem 8)."""

    def gap(epsilon: float) -> float:
        inside = norm.logcdf(-epsilon / mu - mu / 2) + epsilon
        return float(norm.cdf(-epsilon / mu + mu / 2) - math.exp(inside) - delta)

    return 0.0 if gap(0.0) <= 0 else float(brentq(gap, 0.0, 5_000.0, xtol=1e-9))


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("z", MULTIPLIERS)
@pytest.mark.parametrize("n", [1, 6, 100])
def test_epsilon_is_the_zcdp_optimum_over_all_orders(z: float, n: int, delta: float) -> None:
    found = replace(a_promise(z), delta=delta).epsilon_after(n)
    best = zcdp_epsilon(n / (2 * z**2), delta)
    assert best * (1 - 1e-9) - 1e-9 <= found <= best * 1.001 + 1e-6


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("z", MULTIPLIERS)
@pytest.mark.parametrize("n", [1, 6, 100])
def test_epsilon_lies_between_the_exact_gaussian_and_the_simple_bound(z: float, n: int, delta: float) -> None:
    """ρ-zCDP gives ρ + 2√(ρ ln 1/δ) (Bun, Steinke 2016, prop. 1.3); n compositions of a Gaussian are one with Δ·√n."""
    rho = n / (2 * z**2)
    found = replace(a_promise(z), delta=delta).epsilon_after(n)
    assert gaussian_epsilon(math.sqrt(n) / z, delta) <= found <= rho + 2 * math.sqrt(rho * math.log(1 / delta))


@pytest.mark.parametrize(("z", "n"), [(1.0, 1), (2.0, 6), (4.0, 20)])
def test_epsilon_covers_the_discrete_gaussian_itself(z: float, n: int) -> None:
    """dp-accounting's other accountant, on the mechanism's own privacy loss: one coordinate of sensitivity 8."""
    sensitivity = 8
    loss = from_discrete_gaussian_mechanism(sigma=z * sensitivity, sensitivity=sensitivity).self_compose(n)
    exact = loss.get_epsilon_for_delta(1e-6)
    assert exact <= replace(a_promise(z), delta=1e-6).epsilon_after(n) <= 1.15 * exact


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0, 8.0])
def test_a_calibrated_plan_spends_what_was_asked_and_hardly_less(epsilon: float) -> None:
    plan = PrivacyPlan.calibrated(epsilon, 1e-6, 6, CLIPS, min_reports=50, max_reports=1_000)
    assert epsilon * 0.998 <= plan.epsilon <= epsilon
    assert zcdp_epsilon(6 / (2 * plan.noise_multiplier**2), 1e-6) <= epsilon
    assert float(f"{plan.noise_multiplier:.4g}") == plan.noise_multiplier


def test_an_infinite_epsilon_is_privacy_off() -> None:
    off = PrivacyPlan.calibrated(math.inf, 1e-6, 6, CLIPS, min_reports=1, max_reports=10)
    assert not off.private
    assert off.epsilon == math.inf
    assert off.statement()["epsilon"] is None
    assert off.sum_plan(4, 2).sigma == 0
    assert not PrivacyPlan.off(CLIPS, max_participations=1, min_reports=1, max_reports=2).private


def test_what_no_noise_can_give_is_refused() -> None:
    for epsilon in (0.0, -1.0, math.nan, 1e-9):
        with pytest.raises(PlanRefused, match="epsilon"):
            PrivacyPlan.calibrated(epsilon, 1e-6, 6, CLIPS, min_reports=50, max_reports=1_000)


def test_epsilon_grows_with_participations_and_stops_at_the_cap() -> None:
    plan = a_promise(2.0)
    spent = [plan.epsilon_after(n) for n in range(6)]
    assert spent[0] == 0.0
    assert all(np.diff(spent) > 0)
    assert plan.epsilon == plan.epsilon_after(4)
    assert [plan.epsilon_of_rounds(n) for n in (3, 4, 500)] == [spent[3], spent[4], spent[4]]
    with pytest.raises(FederationError, match="participations=-1"):
        plan.epsilon_after(-1)


def test_the_guarantee_counts_one_partys_noise_not_both() -> None:
    """Both together would allow ε of √2·z, about a third less: not claimed."""
    plan = a_promise(2.0)
    assert plan.epsilon == pytest.approx(zcdp_epsilon(4 / (2 * 2.0**2), 1e-6), rel=1e-3)
    assert plan.epsilon > 1.3 * zcdp_epsilon(4 / (2 * (2.0 * math.sqrt(2)) ** 2), 1e-6)


@given(
    z=st.floats(0.1, 500.0),
    n_block=st.integers(1, 300),
    dim=st.integers(1, 32),
    max_reports=st.integers(1, 100_000),
)
def test_sigma_is_the_least_integer_that_a_device_of_the_same_plan_accepts(
    z: float, n_block: int, dim: int, max_reports: int
) -> None:
    plan = replace(a_promise(z, min_reports=1), max_reports=max_reports)
    sums = plan.sum_plan(n_block, dim)
    assert sums.sigma**2 >= z**2 * sums.sensitivity_squared > (sums.sigma - 1) ** 2
    assert (sums.min_reports, sums.max_reports) == (1, max_reports)


def test_clips_of_the_plan_are_those_of_its_sums() -> None:
    parts = {part.name: part for part in a_promise().sum_plan(10, 4).parts}
    assert {name: parts[name].clip_norm for name in ("rows", "counts", "second", "first")} == {
        "rows": 2.0,
        "counts": 4.0,
        "second": 1.0,
        "first": 1.0,
    }


def test_scales_make_room_for_much_noise_over_few_reports() -> None:
    loud = replace(a_promise(900.0), max_reports=10).sum_plan(50, 8)
    assert loud.noise_multiplier == pytest.approx(900.0, rel=1e-6)
    assert all(part.clip_norm * part.scale > 1_000 for part in loud.parts)


def test_a_plan_survives_its_json() -> None:
    plan = PrivacyPlan.calibrated(4.0, 1e-6, 6, CLIPS, min_reports=50, max_reports=1_000)
    assert PrivacyPlan.from_json(plan.to_json()) == plan
    assert PrivacyPlan.from_json(plan.to_json().encode()) == plan


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": "1"}, "noise_multiplier"),
        ({"noise_multiplier": float("nan")}, "noise_multiplier"),
        ({"max_participations": 0}, "max_participations"),
        ({"max_participations": 1.5}, "max_participations"),
        ({"max_participations": True}, "max_participations"),
        ({"max_rounds": 0}, "max_rounds"),
        ({"min_reports": 0}, "min_reports"),
        ({"min_reports": 2_000}, "min_reports"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"clips": {"rows": 1.0}}, "clips"),
        ({"clips": {"rows": float("inf"), "counts": 1.0, "second": 1.0, "first": 1.0}}, "clips.rows"),
        ({"clips": {"rows": 0.0, "counts": 1.0, "second": 1.0, "first": 1.0}}, "clips.rows"),
        ({"clips": None}, "clips"),
        ({"extra": 1}, "plan"),
    ],
)
def test_a_plan_that_promises_nothing_is_refused_by_name(change: dict[str, object], named: str) -> None:
    raw = json.loads(a_promise().to_json()) | change
    with pytest.raises(PlanRefused, match=named):
        PrivacyPlan.from_json(json.dumps(raw))


def test_what_is_no_json_is_no_plan() -> None:
    for text in ("", "[]", "null", "{", b"\xff"):
        with pytest.raises(PlanRefused, match="plan"):
            PrivacyPlan.from_json(text)


def test_a_plan_without_finite_clips_cannot_exist() -> None:
    with pytest.raises(PlanRefused, match=r"clips\.rows=inf"):
        replace(a_promise(), clips=Clips())


def test_the_statement_says_what_the_epsilon_means() -> None:
    stated = a_promise(2.0).statement(2)
    assert stated["epsilon"] == a_promise(2.0).epsilon_after(2)
    assert (stated["unit"], stated["adjacency"], stated["amplification"], stated["noise_counted"]) == (
        "installation",
        "zero-out",
        None,
        "one party",
    )
    assert json.loads(json.dumps(stated)) == stated


def test_a_device_of_the_same_plan_takes_part_and_one_that_wants_more_noise_does_not() -> None:
    plan = a_promise(3.3)
    task = replace(a_draft(plan.sum_plan(20, 4)), round_public_key=bytes(32)).signed_by(CUSTODIAN)
    policy = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=3.3, min_reports=plan.min_reports)
    check_task(task, policy, NOW)
    with pytest.raises(FederationError, match="sigma"):
        check_task(task, replace(policy, min_noise_multiplier=3.3001), NOW)
