"""What a device says for the mix is five arrays within their clips; of many devices it is their sum."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from data.errors import FederationError
from federation.learning.mix_step import judged_by_guard, start_fit, step_fit, symmetric
from federation.learning.mix_sum import (
    GRADIENT_CLIP,
    GUARD_CLIP,
    HESSIAN_CLIP,
    SHARE_OF_ROUND,
    STEPS,
    judged_of,
    mix_parts,
    mix_sum_of,
    n_features_of,
    sum_at,
)
from federation.learning.mix_update import MixJudgement, MixUpdate, by_list, mix_judgement, mix_update
from federation.learning.privacy_plan import PrivacyPlan, noised_plan
from federation.learning.taste_update import Clips
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.fixed_point import decode
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.plan import SumPlan
from recsys.mix.examples import Examples, make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.priors import LISTS, prior_weights
from tests.recsys.mix.worlds import NOW, shop_log, signals_of

WEIGHTS = {name: prior_weights("purchases", name) for name in LISTS}
JUDGED = judged_by_guard(WEIGHTS, "ratings")
KINDS = ("first_step", "step", "guard")


def plan_of(kind: str, n_features: int = N_FEATURES, z: float = 0.0) -> SumPlan:
    return noised_plan(mix_parts(kind, n_features), z, min_reports=1, max_reports=20)


def examples() -> Examples:
    before, after = shop_log(1), shop_log(2)
    users = np.flatnonzero((before.counts > 0) & (after.counts > 0))
    return make_examples(signals_of(1, before), before, after, NOW, users)


def one_of(every: Examples, device: int) -> Examples:
    return every.devices(np.arange(len(every.pools)) == device)


def test_an_update_carries_only_gradients_hessians_and_one():
    """No item, no pool, no feature of an item, no count of events: the fields are the complete list.

    `one` is 1 or 0: whether the device has an example at all, which a Newton step divides by the number of.
    """
    names = ["gradient_all", "gradient_new", "hessian_all", "hessian_new", "one"]
    assert [field.name for field in fields(MixUpdate)] == names
    update = mix_update(one_of(examples(), 0), WEIGHTS, "first_step")
    assert {name: part.shape for name, part in update.parts.items()} == {
        "gradient_all": (N_FEATURES,),
        "gradient_new": (N_FEATURES,),
        "hessian_all": (N_FEATURES * (N_FEATURES + 1) // 2,),
        "hessian_new": (N_FEATURES * (N_FEATURES + 1) // 2,),
        "one": (1,),
    }
    assert update.one.tolist() == [1.0]
    assert set(mix_update(one_of(examples(), 0), WEIGHTS, "step").parts) == {"gradient_all", "gradient_new", "one"}
    assert repr(update) == "MixUpdate(…)"


def test_a_judgement_carries_only_differences_of_figures_their_squares_and_one():
    """No figure of a single item, and no list: 21 differences of NDCG a list, within a norm of 2."""
    names = ["apart_all", "square_all", "apart_new", "square_new", "one"]
    assert [field.name for field in fields(MixJudgement)] == names
    judgement = mix_judgement(one_of(examples(), 0), JUDGED)
    lengths = {name: judged_of(N_FEATURES) for name in names} | {"one": 1}
    assert {name: len(part) for name, part in judgement.parts.items()} == lengths
    assert repr(judgement) == "MixJudgement(…)"


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_a_report_does_not_depend_on_the_catalogue_or_the_history(kind):
    of_kind = {
        "first_step": N_FEATURES * 2 + N_FEATURES * (N_FEATURES + 1) + 1,
        "step": N_FEATURES * 2 + 1,
        "guard": 4 * (N_FEATURES + 2) + 1,
    }
    assert plan_of(kind).length == of_kind[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_is_known_by_the_names_of_its_parts_and_by_nothing_less(kind):
    parts = mix_parts(kind, 7)
    names = [part.name for part in parts]
    assert mix_sum_of(names) == kind
    assert n_features_of(parts) == 7
    assert mix_sum_of(names[1:]) is None
    assert mix_sum_of([*names, "rows"]) is None
    assert mix_sum_of(["rows", "counts", "second", "first", "one", "metrics"]) is None


def test_five_steps_and_then_the_guard():
    assert [sum_at(step) for step in range(7)] == ["first_step", "step", "step", "step", "step", "guard", None]


def test_many_devices_are_the_sum_of_each():
    every = examples()
    for together, each in (
        (mix_update(every, WEIGHTS, "first_step"), lambda one: mix_update(one, WEIGHTS, "first_step")),
        (mix_judgement(every, JUDGED), lambda one: mix_judgement(one, JUDGED)),
    ):
        singles = [each(one_of(every, device)).parts for device in range(len(every.pools))]
        for name, part in together.parts.items():
            np.testing.assert_allclose(part, sum(single[name] for single in singles), rtol=1e-9, atol=1e-9)


def test_every_device_is_within_the_clips():
    every = examples()
    far = {name: 20 * WEIGHTS[name] for name in LISTS}
    for device in range(len(every.pools)):
        parts = mix_update(one_of(every, device), far, "first_step").parts
        judged = mix_judgement(one_of(every, device), judged_by_guard(far, "ratings")).parts
        for name in LISTS:
            assert np.linalg.norm(parts[f"gradient_{name}"]) <= GRADIENT_CLIP + 1e-9
            assert np.linalg.norm(symmetric(parts[f"hessian_{name}"])) <= HESSIAN_CLIP + 1e-9
            assert np.linalg.norm(judged[f"apart_{name}"]) <= GUARD_CLIP + 1e-9
            assert np.linalg.norm(judged[f"square_{name}"]) <= GUARD_CLIP + 1e-9


def test_a_private_sum_gives_what_a_newton_step_needs():
    """The protocol's own fixed point over the devices' vectors: rounding, below a thousandth of a clip a device."""
    every, plan = examples(), plan_of("first_step")
    n = len(every.pools)
    vectors = [mix_update(one_of(every, device), WEIGHTS, "first_step").parts for device in range(n)]
    parts = decode(plan, sum_in_process(plan, vectors, np.random.default_rng(0)))
    exact = mix_update(every, WEIGHTS, "first_step").parts
    np.testing.assert_allclose(parts["gradient_all"], exact["gradient_all"], atol=n * GRADIENT_CLIP / 1_000)
    np.testing.assert_allclose(parts["hessian_all"], exact["hessian_all"], atol=n * HESSIAN_CLIP / 1_000)
    assert parts["one"].tolist() == [n]


def test_too_few_devices_end_the_fit_at_once():
    parts, plan = mix_update(examples(), WEIGHTS, "first_step").parts, plan_of("first_step")
    over = step_fit(start_fit("purchases"), "purchases", parts, plan, 11)
    assert sum_at(over.step) is None
    with pytest.raises(FederationError, match="no step of the fit is left"):
        step_fit(over, "purchases", parts, plan, 11)
    enough = step_fit(start_fit("purchases"), "purchases", parts | {"one": np.array([100.0])}, plan, 11)
    assert sum_at(enough.step) == "step"
    noisy = replace(plan, sigma=40)  # √2·40/1024 of a device, three times: 100 could be 99.9
    assert (
        sum_at(step_fit(start_fit("purchases"), "purchases", parts | {"one": np.array([100.0])}, noisy, 11).step)
        is None
    )


def test_a_later_step_of_half_the_reports_takes_half_of_the_first_steps_hessian():
    """Half of the same devices, each twice as common, is the same step."""
    every, plan = examples(), plan_of("step")
    first = mix_update(every, WEIGHTS, "first_step").parts | {"one": np.array([200.0])}
    begun = step_fit(start_fit("purchases"), "purchases", first, plan_of("first_step"), 200)
    later = mix_update(every, begun.weights, "step").parts
    whole = step_fit(begun, "purchases", later, plan, 200)
    half = step_fit(begun, "purchases", {name: part / 2 for name, part in later.items()}, plan, 100)
    for name in LISTS:
        np.testing.assert_allclose(half.weights[name], whole.weights[name], rtol=1e-12)


def test_all_steps_together_cost_as_much_as_one_training_round():
    z = 4.0
    plan = PrivacyPlan(Clips(1.0, 3.0, 0.4, 0.6), z, 5, 1, 1_000, 1e-6)
    spent = sum(rho_of(plan.mix_plan(sum_at(step), N_FEATURES)) for step in range(STEPS))
    assert spent == pytest.approx(1 / (2 * z**2), rel=2e-3)
    assert epsilon_of(spent, 1e-6) == pytest.approx(plan.epsilon_after(1), rel=0.02)
    assert STEPS * SHARE_OF_ROUND == 1.0
    judging = rho_of(plan.mix_plan("guard", N_FEATURES))
    assert judging < spent / 4  # a device that judges never fits


def test_figures_of_the_guard_fit_their_part():
    lengths = {f"{what}_{name}": judged_of(N_FEATURES) for name in LISTS for what in ("apart", "square")}
    assert {part.name: part.length for part in plan_of("guard").parts} == lengths | {"one": 1}
    assert {name: len(of_list) - 1 for name, of_list in JUDGED.items()} == dict.fromkeys(LISTS, judged_of(N_FEATURES))


def test_both_lists_are_made_of_the_same_devices():
    every = examples()
    assert {name: len(of_list.pools) for name, of_list in by_list(every).items()} == dict.fromkeys(
        LISTS, len(every.pools)
    )
