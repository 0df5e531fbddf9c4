"""Refining a plan: what a full read refuses, and the first thousand rows did not show, is tried in its other ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from data.log_reading.canonical import MAX_WORDS, Plan, with_words
from data.log_reading.times.time_reader import time_column, widened
from data.log_reading.times.written_times import FIRST_LIKELY
from data.log_reading.validation import NOT_A_NUMBER, UNKNOWN_EVENT, UNREADABLE_TIME
from data.values.nobody import is_nobody

ROUNDS = 4
"""Each of the ways is tried once at most."""


def refine(plan: Plan, refused: Mapping[str, int], names: Mapping[str, pl.Series]) -> Plan | None:
    """Return a plan that reads more, or None where there is none.

    refused: reason → rows. names: role → the distinct ids of user and item, where they are text. Times are read each
    by its own notation, numbers with currencies and thousands, event words by the field's table; words for nobody are
    no ids. What the caller said stays as it is. The log is then read again.
    """
    better = plan
    if refused.get(UNREADABLE_TIME) and not (plan.times.fixed or plan.times.wide):
        better = _with_wide_times(better)
    if not plan.wide_numbers and any(refused.get(NOT_A_NUMBER.format(role)) for role in ("price", "quantity", "order")):
        better = replace(better, wide_numbers=True)
    if refused.get(UNKNOWN_EVENT):
        better = _with_rare_words(better)
    nobody = dict(better.nobody)
    for role, ids in names.items():
        words = tuple(word for word in ids.filter(ids.str.len_chars() <= _LONGEST).to_list() if is_nobody(word))
        fresh = sorted(word for word in words if word not in nobody.get(role, ()))
        if fresh:
            nobody[role] = (*nobody.get(role, ()), *fresh)
    if nobody != better.nobody:
        better = replace(better, nobody=nobody)
    return None if better is plan else better


_LONGEST = 12  # of a word for nobody


def _with_wide_times(plan: Plan) -> Plan:
    moment = time_column(plan.columns.roles["time"])
    dtype = plan.sample.select(time=moment).schema["time"]
    if not (dtype == pl.String or dtype.is_numeric()) or plan.times.earliest != FIRST_LIKELY:
        return plan
    times = widened(moment, dtype, timezone=plan.timezone, locale=plan.locale, unit=plan.preset.time_unit)
    return replace(plan, times=times.settled(plan.source.frame))


def _with_rare_words(plan: Plan) -> Plan:
    column = plan.columns.roles["event"]
    words = plan.source.frame.select(pl.col(column).cast(pl.String).unique()).collect(engine="streaming").to_series()
    return with_words(plan, words) if len(words) <= MAX_WORDS else plan
