"""The mix of a log: the question one step earlier, whose answer is known, teaches the weights that are served now."""

from __future__ import annotations

from dataclasses import replace


from data.errors import DataError
from data.interactions import Interactions
from federation.lab.questions import Question, question
from federation.lab.recipes import Recipe
from federation.simulation.mix_training import Earlier, MixConfig, train_mix
from federation.simulation.training import train
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import LISTS, prior_weights
from recsys.mix.tables import ItemAttributes, MixTables, build_tables


def learn_mix(
    asked: Question, recipe: Recipe, *, seed: int, attributes: ItemAttributes | None = None
) -> MixModel:
    """The mix for a question: tables of everything it may know, weights from the same question one step earlier.

    A table is trained anew on what was known then, so that no signal has seen what it is weighed by. Where the log has
    no earlier question, the weights are the recipe's prior.
    """
    tables = build_tables(asked.split.train, asked.now, attributes)
    try:
        before = question(asked.split.train, asked.protocol)
    except DataError:
        return prior_mix(tables, recipe.mix)
    config = replace(recipe.train, measure_every=0, patience=0)
    trained = train(before.split.train, config, seed=seed, now=before.now)
    signals = Signals(trained.table, recipe.serve, build_tables(before.split.train, before.now, attributes))
    earlier = Earlier(signals, before.histories, before.split.test, newcomers_of(before), before.now)
    return train_mix(earlier, tables, recipe.mix, MixConfig(), seed=seed)


def newcomers_of(before: Question) -> Interactions:
    """The events of users whom the training does not know, the first of them first."""
    unknown = before.split.train.counts == 0
    known = before.histories.counts > 0
    first, later = before.histories, before.split.test
    return first.where(unknown[first.user_idx]) if known[unknown].any() else later.where(unknown[later.user_idx])


def prior_mix(tables: MixTables, prior: str) -> MixModel:
    """The recipe's weights with a log's tables; newcomers get the week's trend."""
    weights = {name: prior_weights(prior, name) for name in LISTS}
    return MixModel(weights, dict.fromkeys(LISTS, "prior"), 2, 0, tables)


