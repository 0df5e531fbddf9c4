"""Personalized against global, federated against central: every arm of DESIGN's table on one set of held-out events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from data.errors import DataError
from data.interactions import EventKind, Interactions
from federation.lab.mixing import learn_mix, participations_of
from federation.lab.questions import Question
from federation.lab.recipes import Recipe
from federation.learning.item_step import StepConfig
from federation.learning.taste_update import Clips
from federation.simulation.intent_sums import sum_intent_updates
from federation.simulation.intent_training import intent_step, start_intent, with_intent
from federation.simulation.learning_curve import RoundRecord, rounds_of
from federation.simulation.strategy import Strategy, arm_of, solver_of
from federation.simulation.training import Training, train
from recsys.evaluation.arm_names import ARMS, DEFAULT_ARMS
from recsys.evaluation.arms import PooledLog, arm
from recsys.evaluation.conclusion import PartConclusion, conclude, say
from recsys.evaluation.evaluation import Evaluation, compare_several, evaluate
from recsys.evaluation.ials import fit_ials
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.sampled import evaluate_sampled
from recsys.mix.mix_tables import ItemAttributes
from recsys.mix.model import MixModel
from recsys.model.histories import log_weights
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.trend import trend


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """The arms' figures, and the federated training and the mix (None: plain score) behind `personalized`."""

    evaluation: Evaluation
    training: Training
    metric: str
    mix: MixModel | None = None

    @cached_property
    def conclusions(self) -> tuple[PartConclusion, ...]:
        """`personalized` against the best simple baseline, part by part."""
        return conclude(self.evaluation, self.metric)

    def to_dict(self) -> dict[str, Any]:
        """Convert protocol, models, the training's curves, paired comparisons and what follows to JSON values."""
        config = asdict(self.training.config)
        participations = participations_of(self.training, self.mix)
        plan = self.training.config.privacy
        others = [name for name in self.evaluation.models if name != "personalized"]
        pairs = compare_several(self.evaluation, [("personalized", name) for name in others], self.metric)
        return self.evaluation.to_dict() | {
            "training": {
                "seed": self.training.seed,
                "rounds": rounds_of(self.training.records, TASTE),
                "intent_rounds": rounds_of(self.training.records, INTENT),
                "best_round": self.training.best_round,
                "max_participations": participations,
                "privacy": None if plan is None else plan.statement(participations),
                "config": config,
                "records": [asdict(record) for record in self.training.records],
            },
            "mix": None if self.mix is None else self.mix.settings,
            "conclusion": {
                "sentence": say(self.conclusions, self.metric),
                "parts": [conclusion.to_dict() for conclusion in self.conclusions],
            },
            "comparisons": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    "metric": pair.metric,
                    "difference": pair.found.difference,
                    "ci95": [pair.found.low, pair.found.high],
                    "p_holm": pair.p_holm,
                }
                for pair in pairs
            ],
        }


def compare_models(
    question: Question,
    recipe: Recipe,
    *,
    seed: int,
    k: int = 20,
    bootstrap: int = 1000,
    models: Sequence[str] = (),
    table: ItemTable | None = None,
    n_negatives: int | None = None,
    attributes: ItemAttributes | None = None,
    mix: MixModel | None = None,
    on_round: Callable[[RoundRecord], None] | None = None,
) -> ComparisonResult:
    """Train, then measure every arm on the same held-out events.

    models: names of ARMS, DEFAULT_ARMS by default. table: a trained table to evaluate instead of training one,
    with its mix, if it has one. attributes: of the items, which the mix reads beside the log.
    n_negatives: rank among so many random items (recsys.evaluation.sampled) instead of in full, to repeat a published
    table; then there is no mix, which orders a few hundred items and not whatever is drawn.
    """
    warm = np.count_nonzero((question.histories.counts > 0) & (question.split.test.counts > 0))
    if not warm:
        raise DataError(
            f"split {question.split.name}: none of the users with later events has a history; "
            "try the protocol sessions, or another moment"
        )
    wanted = tuple(models) or DEFAULT_ARMS
    if unknown := [name for name in wanted if name not in ARMS]:
        raise DataError(f"models={','.join(unknown)}: must be among {', '.join(ARMS)}")
    log = question.split.train
    rounds = replace(recipe.train, rounds=0, intent=None) if table is not None else recipe.train
    training = train(log, rounds, seed=seed, now=question.now, on_round=on_round)
    if table is not None:
        training = replace(training, table=replace(table, trend=trend(log, question.now, rounds.trend_half_life)))
    if n_negatives is not None:
        mix = None
    elif table is None and recipe.mix is not None and recipe.train.strategy == "profile":
        mix = learn_mix(question, recipe, recipe.mix, training.table, seed=seed, attributes=attributes)
    arms: list[Recommender] = []
    for name in dict.fromkeys(("personalized", *wanted)):
        if name == "personalized_no_repeat" and mix is None and not recipe.serve.repeat_weight:
            continue
        arms.append(_arm(name, question, recipe, training, mix, seed))
    if n_negatives is None:
        evaluation = evaluate(
            arms, question.split, histories=question.histories, k=k, now=question.now, bootstrap=bootstrap, seed=seed
        )
    else:
        evaluation = evaluate_sampled(
            arms,
            question.split,
            accept_sampled=True,
            n_negatives=n_negatives,
            k=k,
            now=question.now,
            bootstrap=bootstrap,
            seed=seed,
        )
    return ComparisonResult(evaluation, training, f"ndcg@{k}", mix)


def strategy_of(name: str) -> Strategy:
    """Choose the strategy that trains an arm's table; only `local` and `fine_tune` have one of their own."""
    if name == "local":
        return "local"
    return "fine-tune" if name == "fine_tune" else "profile"


def _arm(
    name: str, question: Question, recipe: Recipe, training: Training, mix: MixModel | None, seed: int
) -> Recommender:
    """Make an arm of the comparison; what is personalized is as the recipe's strategy makes it."""
    log, now = question.split.train, question.now
    if name in ("personalized", "personalized_no_repeat"):
        repeat = name == "personalized"
        return arm_of(recipe.train.strategy, training.table, recipe.serve, name, mix=mix, repeat=repeat)
    table, strategy = training.table, strategy_of(name)
    if strategy != "profile":
        table = train(log, replace(recipe.train, strategy=strategy, measure_every=0), seed=seed, now=now).table
    elif name in ("central", "ials"):
        central = recipe if name == "central" else replace(recipe, train=replace(recipe.train, intent=None))
        table = central_table(log, central, now, seed)
    pooled = PooledLog(lambda: log, now, half_life_days=recipe.train.trend_half_life)
    return arm(name, table, recipe.serve, make_solver=solver_of(strategy), pooled=pooled)


def central_table(log: Interactions, recipe: Recipe, now: int, seed: int) -> ItemTable:
    """Train central iALS on the pooled log with the same weights, α and λ as the federated training.

    The current intent, where the recipe has one: its rounds with everybody in each.
    """
    torch.set_num_threads(1)
    config = recipe.train.profile
    weights = np.where(log.kind == EventKind.DISLIKE, np.float32(0), log_weights(log, config, now))
    V = fit_ials(log, weights, dim=recipe.train.dim, alpha=config.alpha, reg=config.reg, seed=seed)
    table = ItemTable(V, trend(log, now, recipe.train.trend_half_life), np.zeros(recipe.train.dim, dtype=np.float32))
    if recipe.train.intent is None:
        return table
    everybody = np.flatnonzero(log.counts > 0)
    step = StepConfig(step=1.0, final_step=0.2, momentum=0.0, memory=1.0)
    state = start_intent(table, config, seed)
    for _ in range(recipe.train.intent.rounds):
        sums = sum_intent_updates(V, state.item_embeddings, log, everybody, config, recipe.train.intent, Clips())
        state = intent_step(state, sums, recipe.train.intent, step)
    return with_intent(table, state.item_embeddings, state.mean_profile)
