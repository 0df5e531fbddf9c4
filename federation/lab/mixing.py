"""The mix of a log: the question one step earlier, whose answer is known, teaches the weights that are served now."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from data.errors import DataError, FederationError
from data.interactions import Interactions
from data.split import Split
from federation.lab.defaults import protocol_for
from federation.lab.questions import Protocol, Question
from federation.lab.recipes import (
    MIX_PARTICIPATIONS,
    PAIR_DEVICES,
    PAIR_PARTICIPATIONS,
    TABLE_PARTICIPATIONS,
    Recipe,
    sums_pairs,
)
from federation.learning.mix_sum import NOISE_OF_MIX
from federation.simulation.mix_training import Earlier, MixConfig, cautious_mix, train_mix
from federation.simulation.pair_sums import private_transitions
from federation.simulation.table_sums import sum_popularity
from federation.simulation.training import Training, train
from recsys.mix.mix_tables import ItemAttributes, build_tables, no_attributes, tables_from
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.model.bucketed_popularity import BucketedPopularity
from recsys.model.items import ItemTable
from recsys.model.transitions import Transitions, no_transitions

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
    examples through its noise only. The popularity of both moments is one private sum; where the log has no times to
    split by, that of the question stands in as well.
    Where the log has no earlier question, or too few devices for one, the weights are cautious ones.
    """
    plan = recipe.train.privacy
    if plan is not None and plan.private:
        if table is None:
            raise FederationError("learn_mix: a private plan needs the table that was trained for the question")
        return _learn_privately(question, recipe, prior, table, plan.noise_multiplier, attributes, seed)
    tables = build_tables(question.split.train, question.now, attributes)
    try:
        before = question.earlier()
        config = replace(recipe.train, measure_every=0, patience=0)
        table = train(before.split.train, config, seed=seed, now=before.now).table
    except (DataError, FederationError):  # too short for an earlier question, or too few devices for its rounds
        return cautious_mix(tables, prior)
    earlier_tables = build_tables(before.split.train, before.now, attributes)
    signals = Signals(table, recipe.serve, earlier_tables)
    earlier = Earlier(signals, before.histories, before.split.test, before.now)
    return train_mix(earlier, tables, prior, MixConfig(), seed=seed)


def _learn_privately(
    question: Question,
    recipe: Recipe,
    prior: str,
    table: ItemTable,
    noise_multiplier: float,
    attributes: ItemAttributes | None,
    seed: int,
) -> MixModel:
    """Learn from what private sums publish, and nothing else; noise_multiplier: of a training round."""
    log = question.split.train
    attributes = attributes or no_attributes(log.n_items)
    popularity = sum_popularity(log, question.now, noise_multiplier, seed=seed)
    transitions = _private_transitions(log, recipe, table, popularity, noise_multiplier, seed)
    tables = tables_from(popularity.decayed, transitions, question.now, attributes)
    try:
        before = question.earlier()
    except DataError:
        return cautious_mix(tables, prior)
    earlier_tables = tables
    if before.split.at is not None:
        then = partial(popularity.decayed, earlier=True)
        earlier_tables = tables_from(then, transitions, before.now, attributes)
    earlier = Earlier(Signals(table, recipe.serve, earlier_tables), before.histories, before.split.test, before.now)
    config = MixConfig(max_devices=PRIVATE_DEVICES, noise_multiplier=noise_multiplier * NOISE_OF_MIX)
    return train_mix(earlier, tables, prior, config, seed=seed)


def _private_transitions(
    log: Interactions,
    recipe: Recipe,
    table: ItemTable,
    popularity: BucketedPopularity,
    noise_multiplier: float,
    seed: int,
) -> Transitions:
    """Estimate what follows what by a private sum, of fleets that are large enough for it; else the table is empty.

    Summed are the pairs of before the popularity's earlier moment, so that no example is in the table.
    """
    if not sums_pairs(recipe):
        return no_transitions(log.n_items)
    timed = bool((log.time != log.time[0]).any())
    known = log.where(log.time < popularity.moment) if timed else log
    return private_transitions(known, table, popularity.decayed(math.inf, earlier=True), noise_multiplier, seed=seed)


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
    question = Question(everything, log, now, _protocol_of(log, recipe))
    return learn_mix(question, recipe, recipe.mix, table, seed=seed, attributes=attributes)


def _protocol_of(log: Interactions, recipe: Recipe) -> Protocol:
    """Choose how the examples of a bundle are made: under a plan by the recipe, which was chosen through noise."""
    plan = recipe.train.privacy
    if plan is None or not plan.private:
        return protocol_for(log)
    if (log.time == log.time[0]).all():  # whether there are times is public
        return "leave-last-out"
    return "sessions" if recipe.mix == "sessions" else "temporal"


def participations_of(training: Training, mix: MixModel | None) -> int:
    """Count the rounds that the device asked most took part in, the mix's sums counted as the plan counts them."""
    participations = int(training.participations.max(initial=0))
    plan = training.config.privacy
    if plan is None:
        return participations
    learned = mix is not None and (plan.private or mix.devices > 0)  # the first sum says whether they are enough
    pairs = plan.private and mix is not None and training.config.cohort_size >= PAIR_DEVICES
    return (
        participations
        + (TABLE_PARTICIPATIONS if plan.private else 0)
        + (MIX_PARTICIPATIONS if learned else 0)
        + (PAIR_PARTICIPATIONS if pairs else 0)
    )
