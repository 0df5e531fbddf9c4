"""The mix of a log: the question one step earlier, whose answer is known, teaches the weights that are served now."""

from __future__ import annotations

from dataclasses import replace

from data.errors import DataError, FederationError
from data.interactions import Interactions
from data.split import Split
from federation.lab.defaults import protocol_for
from federation.lab.questions import Question
from federation.lab.recipes import MIX_PARTICIPATIONS, Recipe
from federation.learning.mix_update import NOISE_OF_MIX
from federation.simulation.mix_training import Earlier, MixConfig, cautious_mix, train_mix
from federation.simulation.training import Training, train
from recsys.mix.mix_tables import ItemAttributes, build_tables
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.model.items import ItemTable

PRIVATE_DEVICES = 20_000
"""Whose examples a private fit reads at most: noise is a sum's, so every further device helps; each holds 20 kB."""


def learn_mix(
    question: Question,
    recipe: Recipe,
    prior: str,
    table: ItemTable | None = None,
    *,
    seed: int,
    attributes: ItemAttributes | None = None,
) -> MixModel:
    """Learn the mix for a question.

    Tables are of everything it may know, weights from the same question one step earlier.

    A table is trained anew on what was known then, so that no signal has seen what it is weighed by. Under a privacy
    plan that would cost its rounds again: there `table`, trained for the question, stands in for it, which has seen the
    examples through its noise only; and there are no transitions, for pairs of items have no private sum yet.
    Where the log has no earlier question, or too few devices for one, the weights are cautious ones.
    """
    plan = recipe.train.privacy
    exact = plan is None or not plan.private
    if table is None and not exact:
        raise FederationError("learn_mix: a private plan needs the table that was trained for the question")
    tables = build_tables(question.split.train, question.now, attributes, transitions=exact)
    try:
        before = question.earlier()
        if table is None or exact:
            config = replace(recipe.train, measure_every=0, patience=0)
            table = train(before.split.train, config, seed=seed, now=before.now).table
    except (DataError, FederationError):  # too short for an earlier question, or too few devices for its rounds
        return cautious_mix(tables, prior)
    earlier_tables = build_tables(before.split.train, before.now, attributes, transitions=exact)
    signals = Signals(table, recipe.serve, earlier_tables)
    earlier = Earlier(signals, before.histories, before.split.test, before.now)
    if plan is None or not plan.private:
        return train_mix(earlier, tables, prior, MixConfig(), seed=seed)
    noise = plan.noise_multiplier * NOISE_OF_MIX
    return train_mix(earlier, tables, prior, MixConfig(max_devices=PRIVATE_DEVICES, noise_multiplier=noise), seed=seed)


def shipped_mix(
    log: Interactions,
    now: int,
    recipe: Recipe,
    table: ItemTable | None = None,
    *,
    seed: int,
    attributes: ItemAttributes | None = None,
) -> MixModel | None:
    """Learn the mix that a bundle of a log ships, as of `now` (µs); None for a recipe without one."""
    if recipe.mix is None or recipe.train.strategy != "profile":
        return None
    everything = Split(log, log, "everything", None)
    question = Question(everything, log, now, protocol_for(log))
    return learn_mix(question, recipe, recipe.mix, table, seed=seed, attributes=attributes)


def participations_of(training: Training, mix: MixModel | None) -> int:
    """Count the rounds that the device asked most took part in, the mix's sums counted as the plan counts them."""
    participations = int(training.participations.max(initial=0))
    learned = mix is not None and mix.devices > 0 and training.config.privacy is not None
    return participations + (MIX_PARTICIPATIONS if learned else 0)
