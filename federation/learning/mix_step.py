"""The fit of the mix from private sums, one sum at a time: the same for a simulation and for live rounds.

Only sums come in and only public weights go out. The fit's state travels in the bundle, so that a device finds in it
what its next gradient is taken at, and a service that starts again goes on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from federation.learning.mix_sum import STEPS, MixSum, sum_at
from federation.private_sum.plan import SumPlan
from recsys.evaluation.mix_guard import GuardSums, candidates, choose
from recsys.mix.features import N_FEATURES, SIGNALS
from recsys.mix.fit import FitState, StepSums, newton_step
from recsys.mix.model import MixModel
from recsys.mix.priors import LISTS, MIN_DEVICES, ListName, cautious_weights, prior_weights

Floats = npt.NDArray[np.float64]
Parts = Mapping[str, Floats]

CLEAR = 3.0
"""A count is believed to be enough only when it is so by this many standard deviations of its noise."""


@dataclass(frozen=True)
class Verdict:
    """What is served after the guard: weights of each list (F,), and what they are. devices: how many judged."""

    weights: Mapping[ListName, Floats]
    served: Mapping[ListName, str]
    devices: float


def start_fit(prior: str) -> FitState:
    """Begin at the prior of a recipe, a name of recsys.mix.priors.PRIORS."""
    return FitState(0, {name: prior_weights(prior, name) for name in LISTS})


def next_sum(mix: MixModel | None) -> MixSum | None:
    """Tell which sum a live round asks for next; None where the mix is learned, or cannot be."""
    if mix is None or mix.prior is None or mix.tables.as_of is None:
        return None
    return sum_at(0 if mix.fit is None else mix.fit.step)


def fit_of(mix: MixModel) -> FitState:
    """Return the state of a mix whose next_sum is not None."""
    if mix.prior is None:
        raise FederationError("mix: has no prior, so no fit")
    return start_fit(mix.prior) if mix.fit is None else mix.fit


def step_fit(fit: FitState, prior: str, parts: Parts, plan: SumPlan, reports: int) -> FitState:
    """Step the weights by the sum of one step.

    parts: as decoded, noise and all. reports: in the sum, public. The first step's Hessians serve all others, scaled to
    as many reports. With fewer than MIN_DEVICES the fit is over, and its weights are for nobody.
    """
    if sum_at(fit.step) not in ("first_step", "step"):
        raise FederationError(f"step={fit.step}: no step of the fit is left, must be 0..{STEPS - 1}")
    if fit.step == 0:
        devices = float(parts["one"][0])
        if devices - CLEAR * noise_of(plan, "one") < MIN_DEVICES:
            return replace(fit, step=STEPS + 1, reports=reports, devices=devices)
        fit = replace(
            fit,
            hessians={name: symmetric(parts[f"hessian_{name}"]) for name in LISTS},
            reports=reports,
            devices=devices,
            noise=noise_of(plan, "hessian_all"),
        )
    share = reports / max(fit.reports, 1)
    weights: dict[ListName, Floats] = {}
    for name in LISTS:
        sums = StepSums(
            fit.devices * share, parts[f"gradient_{name}"], fit.hessians[name] * share, fit.noise * share
        )  # fmt: skip
        weights[name] = newton_step(fit.weights[name], sums, prior_weights(prior, name))
    return replace(fit, step=fit.step + 1, weights=weights)


def judged_by_guard(weights: Mapping[ListName, Floats], prior: str) -> dict[ListName, dict[str, Floats]]:
    """List what the guard compares, by list and name, the learned weights as "mix"."""
    return {
        name: candidates(weights[name], prior_weights(prior, name), cautious_weights(prior, name)) for name in LISTS
    }


def judge(
    weights: Mapping[ListName, Floats],
    prior: str,
    parts: Parts,
    plan: SumPlan,
    allowed: tuple[str, ...] | None = None,
) -> Verdict:
    """Choose what is served for each list by the sum of the devices that judge.

    allowed: names of what may be served instead of `weights`, wherever it judges better; None for everything, where it
    judges clearly better.
    """
    served: dict[ListName, str] = {}
    judged = judged_by_guard(weights, prior)
    for name in LISTS:
        names = [candidate for candidate in judged[name] if candidate != "mix"]
        apart = dict(zip(names, parts[f"apart_{name}"].tolist(), strict=True))
        square = dict(zip(names, parts[f"square_{name}"].tolist(), strict=True))
        useful = names if name == "all" else [candidate for candidate in names if candidate not in SIGNALS["own"]]
        keep = useful if allowed is None else allowed
        sums = GuardSums(
            float(parts["one"][0]),
            {candidate: apart[candidate] for candidate in keep},
            {candidate: square[candidate] for candidate in keep},
            noise_of(plan, f"apart_{name}"),
        )
        served[name] = choose(sums) if allowed is None else choose(sums, errors=0.0)
    return Verdict({name: judged[name][served[name]] for name in LISTS}, served, float(parts["one"][0]))


def advance_mix(mix: MixModel, parts: Parts, plan: SumPlan, reports: int) -> MixModel:
    """Advance a bundle's mix by the sum of a live round; what it serves changes with the guard's sum alone."""
    kind, prior, fit = next_sum(mix), mix.prior, fit_of(mix)
    if kind is None or prior is None:
        raise FederationError("mix: has been learned, no sum of it is left")
    if kind != "guard":
        return replace(mix, fit=step_fit(fit, prior, parts, plan, reports))
    verdict = judge(fit.weights, prior, parts, plan)
    return replace(
        mix,
        weights=verdict.weights,
        served=verdict.served,
        devices=max(round(fit.devices + verdict.devices), 0),
        fit=FitState(STEPS + 1, fit.weights),
    )


def symmetric(triangle: Floats) -> Floats:
    """Rebuild the matrix (F, F) of an upper triangle."""
    matrix = np.zeros((N_FEATURES, N_FEATURES))
    matrix[np.triu_indices(N_FEATURES)] = triangle
    whole: Floats = matrix + np.triu(matrix, 1).T
    return whole


def noise_of(plan: SumPlan, name: str) -> float:
    """Compute the standard deviation of the noise in each coordinate of a published part, in the part's own unit."""
    (scale,) = (part.scale for part in plan.parts if part.name == name)
    return float(np.sqrt(2.0) * plan.sigma / scale)
