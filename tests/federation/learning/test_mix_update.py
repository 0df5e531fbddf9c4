"""What a device says for the mix is four arrays within their clips; of many devices it is their sum."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from data.errors import FederationError
from federation.learning.mix_update import (
    JUDGED,
    NOISE_OF_MIX,
    MixUpdate,
    guard_plan,
    mix_update,
    step_plan,
    step_sums,
    symmetric,
)
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.fixed_point import decode
from federation.private_sum.in_process import sum_in_process
from recsys.mix.examples import make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.fit import GRADIENT_CLIP, HESSIAN_CLIP, STEPS
from recsys.mix.priors import LISTS, prior_weights
from tests.recsys.mix.worlds import NOW, shop_log, signals_of

WEIGHTS = {name: prior_weights("purchases", name) for name in LISTS}


def examples():
    before, after = shop_log(1), shop_log(2)
    users = np.flatnonzero((before.counts > 0) & (after.counts > 0))
    every = make_examples(signals_of(1, before), before, after, NOW, users)
    return {"all": every, "new": every.new()}


def one_of(every, device: int):
    chosen = np.arange(len(every["all"].pools)) == device
    return {name: every[name].devices(chosen) for name in LISTS}


def test_an_update_carries_only_gradients_and_hessians():
    """No item, no pool, no feature of an item, no count: the fields are the complete list."""
    assert [field.name for field in fields(MixUpdate)] == ["gradient_all", "gradient_new", "hessian_all", "hessian_new"]
    update = mix_update(one_of(examples(), 0), WEIGHTS, 0)
    assert {name: part.shape for name, part in update.parts.items()} == {
        "gradient_all": (N_FEATURES,),
        "gradient_new": (N_FEATURES,),
        "hessian_all": (N_FEATURES * (N_FEATURES + 1) // 2,),
        "hessian_new": (N_FEATURES * (N_FEATURES + 1) // 2,),
    }
    assert set(mix_update(one_of(examples(), 0), WEIGHTS, 1).parts) == {"gradient_all", "gradient_new"}
    assert repr(update) == "MixUpdate(…)"


def test_the_length_of_a_report_does_not_depend_on_the_catalogue_or_the_history():
    plans = [step_plan(step, 1.0, min_reports=1, max_reports=9) for step in range(STEPS)]
    assert [plan.length for plan in plans] == [N_FEATURES * 2 + N_FEATURES * (N_FEATURES + 1)] + [N_FEATURES * 2] * 4


def test_many_devices_are_the_sum_of_each():
    every = examples()
    together = mix_update(every, WEIGHTS, 0).parts
    singles = [mix_update(one_of(every, device), WEIGHTS, 0).parts for device in range(len(every["all"].pools))]
    for name, part in together.items():
        np.testing.assert_allclose(part, sum(single[name] for single in singles), rtol=1e-9, atol=1e-9)


def test_every_device_is_within_the_clips():
    every = examples()
    for device in range(len(every["all"].pools)):
        parts = mix_update(one_of(every, device), {name: 20 * WEIGHTS[name] for name in LISTS}, 0).parts
        for name in LISTS:
            assert np.linalg.norm(parts[f"gradient_{name}"]) <= GRADIENT_CLIP + 1e-9
            assert np.linalg.norm(symmetric(parts[f"hessian_{name}"])) <= HESSIAN_CLIP + 1e-9


def test_a_private_sum_gives_what_a_newton_step_needs():
    """The protocol's own fixed point over the devices' vectors: rounding, below a thousandth of a clip a device."""
    every, plan = examples(), step_plan(0, 0.0, min_reports=1, max_reports=20)
    n = len(every["all"].pools)
    vectors = [mix_update(one_of(every, device), WEIGHTS, 0).parts for device in range(n)]
    parts = decode(plan, sum_in_process(plan, vectors, np.random.default_rng(0)))
    exact = mix_update(every, WEIGHTS, 0).parts
    sums = step_sums(parts, "all", n, None, 0.0)
    np.testing.assert_allclose(sums.gradient, exact["gradient_all"], atol=n * GRADIENT_CLIP / 1_000)
    np.testing.assert_allclose(sums.hessian, symmetric(exact["hessian_all"]), atol=n * HESSIAN_CLIP / 1_000)
    with pytest.raises(FederationError, match="first step"):
        step_sums({"gradient_all": np.zeros(N_FEATURES)}, "all", n, None, 0.0)


def test_all_steps_together_cost_as_much_as_one_training_round():
    z = 4.0
    plan = PrivacyPlan(Clips(1.0, 3.0, 0.4, 0.6), z, 5, 1, 1_000, 1e-6)
    spent = sum(rho_of(step_plan(step, z * NOISE_OF_MIX, min_reports=1, max_reports=1_000)) for step in range(STEPS))
    assert spent == pytest.approx(1 / (2 * z**2), rel=2e-3)
    assert epsilon_of(spent, 1e-6) == pytest.approx(plan.epsilon_after(1), rel=0.02)
    judging = rho_of(guard_plan(z * NOISE_OF_MIX, min_reports=1, max_reports=1_000))
    assert judging < spent / 4  # a device that judges never fits


def test_figures_of_the_guard_fit_their_part():
    plan = guard_plan(0.0, min_reports=1, max_reports=10)
    assert {part.name: part.length for part in plan.parts} == {
        f"{what}_{name}": JUDGED for name in LISTS for what in ("apart", "square")
    }
