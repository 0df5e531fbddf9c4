"""The mix of a log: the question one step earlier, whose answer is known, teaches the weights that are served now."""

from __future__ import annotations

from dataclasses import replace

from data.errors import DataError
from federation.lab.questions import Question
from federation.lab.recipes import Recipe
from federation.simulation.mix_training import Earlier, MixConfig, train_mix
from federation.simulation.training import train
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import LISTS, prior_weights
from recsys.mix.tables import ItemAttributes, MixTables, build_tables


def learn_mix(
    asked: Question, recipe: Recipe, prior: str, *, seed: int, attributes: ItemAttributes | None = None
) -> MixModel:
    """The mix for a question: tables of everything it may know, weights from the same question one step earlier.

    A table is trained anew on what was known then, so that no signal has seen what it is weighed by. Where the log has
    no earlier question, the weights are the recipe's prior.
    """
    tables = build_tables(asked.split.train, asked.now, attributes)
    try:
        before = asked.earlier()
    except DataError:
        return prior_mix(tables, prior)
    config = replace(recipe.train, measure_every=0, patience=0)
    trained = train(before.split.train, config, seed=seed, now=before.now)
    signals = Signals(trained.table, recipe.serve, build_tables(before.split.train, before.now, attributes))
    earlier = Earlier(signals, before.histories, before.split.test, before.now)
    return train_mix(earlier, tables, prior, MixConfig(), seed=seed)


def prior_mix(tables: MixTables, prior: str) -> MixModel:
    """The recipe's weights with a log's tables."""
    weights = {name: prior_weights(prior, name) for name in LISTS}
    return MixModel(weights, dict.fromkeys(LISTS, "prior"), 0, tables)
