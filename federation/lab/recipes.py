"""Recipes: how to train, and with what profile settings the bundle is then served.

The two differ on purpose. Training wants a long memory, since an item's row lives on co-occurrence; the profile
wants a short one. The named recipes were chosen by federated cross-validation (federation/lab/selection.py) outside
of the
test windows that the documents report: purchases on Online Retail up to 2011-11-09, the last month held out; sessions
on e-shop 2008 up to 2008-07-01, June held out; ratings on the second last rating of each user of MovieLens-100K.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from data.errors import FederationError
from federation.learning.privacy_plan import PrivacyPlan, least_noise
from federation.learning.taste_update import PRIVATE_CLIPS
from federation.simulation.training import TrainConfig
from recsys.model.intent_config import IntentConfig
from recsys.model.profile_config import ProfileConfig

ALIKE = (1.0, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Recipe:
    """Settings of a training, and of what is then served.

    train: rounds, cohorts and how histories are weighed in training. serve: what a bundle tells devices.
    mix: name of the prior (recsys/mix/priors.py) that the weights of the mix are learned from; None serves the plain
    score, without a mix.
    """

    train: TrainConfig = field(default_factory=TrainConfig)
    serve: ProfileConfig = field(default_factory=ProfileConfig)
    mix: str | None = None


_PURCHASES = ProfileConfig(
    alpha=0.2, reg=0.005, half_life=90.0, floor=0.1, trend_weight=0.15, repeat_weight=0.5, repeat_half_life=180.0
)
_SESSIONS = ProfileConfig(
    alpha=0.05, reg=0.015, half_life=float("inf"), half_life_unit="events", floor=1.0, kind_weights=ALIKE,
    trend_weight=0.01, repeat_weight=0.0, intent_pools=(0.9, 0.5, 0.0), intent_share=0.95,
)  # fmt: skip
_RATINGS = ProfileConfig(
    alpha=0.2, reg=0.01, half_life=20.0, half_life_unit="events", floor=0.2, kind_weights=ALIKE,
    trend_weight=0.0, repeat_weight=0.0,
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "purchases": Recipe(TrainConfig(profile=_PURCHASES), replace(_PURCHASES, half_life=30.0), "purchases"),
    "sessions": Recipe(
        TrainConfig(dim=96, cohort_size=500, intent=IntentConfig(), profile=_SESSIONS),
        replace(_SESSIONS, reg=0.06, half_life=0.25, floor=0.05),
        "sessions",
    ),
    "ratings": Recipe(
        TrainConfig(rounds=60, cohort_size=100, max_participations=10, profile=_RATINGS),
        replace(_RATINGS, reg=0.03, half_life=3.0, floor=0.02),
        "ratings",
    ),
}


MIX_PARTICIPATIONS = 1
"""Cost of the mix's sums to an installation, in training rounds: their noise is larger by as much."""

TABLE_PARTICIPATIONS = 1
"""What popularity, statistics and the choice of a half-life cost together (federation/learning/table_sum.py)."""

PAIR_PARTICIPATIONS, PAIR_DEVICES = 1, 100_000
"""What the sum of pairs costs, and how many devices it takes to say anything (docs/mix.md)."""

PRIVATE_ROUNDS = 4
"""Of each part."""


def private_participations(base: Recipe, n_devices: int) -> int:
    """Count the participations of an installation in all sums of a recipe under a plan."""
    parts = 1 if base.train.trained_intent is None else 2
    mixed = 0 if base.mix is None else MIX_PARTICIPATIONS + (PAIR_PARTICIPATIONS if n_devices >= PAIR_DEVICES else 0)
    return PRIVATE_ROUNDS * parts + TABLE_PARTICIPATIONS + mixed


def sums_pairs(private: Recipe) -> bool:
    """Tell whether a recipe under a plan asks for pairs of items; its cohort is everybody."""
    return private.mix is not None and private.train.cohort_size >= PAIR_DEVICES


def statistics_noise(epsilon: float, delta: float) -> float:
    """Compute the noise multiplier of the statistics that choose a recipe: enough for the one with the most sums."""
    return least_noise(epsilon, delta, max(private_participations(base, PAIR_DEVICES) for base in RECIPES.values()))


def privately(base: Recipe, *, epsilon: float, delta: float, n_devices: int) -> Recipe:
    """Put the recipe under a privacy plan.

    Every device is in each of a few rounds of every part, since noise is per sum.

    epsilon: of one installation's whole life under the plan, at delta: of the rounds of the taste and, where the recipe
    has one, of as many of the intent; the sums of the mix count as one round more, those of popularity, statistics and
    half-life as another, and so does that of pairs of items, where it is asked for. n_devices: that are expected.
    """
    cohort = max(n_devices, 2)
    intent = base.train.trained_intent
    if intent is not None:
        intent = replace(intent, rounds=PRIVATE_ROUNDS, cohort_size=cohort, max_participations=PRIVATE_ROUNDS)
    rounds = private_participations(base, n_devices)
    plan = PrivacyPlan.calibrated(
        epsilon,
        delta,
        rounds,
        PRIVATE_CLIPS,
        min_reports=max(cohort // 2 // base.train.blocks, 1),
        max_reports=cohort,
        max_rounds=rounds,
    )
    train = replace(
        base.train,
        rounds=PRIVATE_ROUNDS,
        cohort_size=cohort,
        max_participations=PRIVATE_ROUNDS,
        clips=PRIVATE_CLIPS,
        patience=0,
        privacy=plan,
        intent=intent,
        step=replace(base.train.step, step=1.0, final_step=0.5, momentum=0.0, memory=1.0),
    )
    return replace(base, train=train)


def recipe(name: str) -> Recipe:
    """Find a named recipe. Raises FederationError for another name."""
    try:
        return RECIPES[name]
    except KeyError:
        raise FederationError(f"recipe={name!r}: must be one of {', '.join(RECIPES)}") from None
