"""Whether a log can speak about another policy at all: it explored, and its propensities fit what it showed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from data.errors import DataError
from data.logged_feedback import LoggedFeedback

CERTAIN = 1.0 - 1e-9
"""A propensity from which nothing else could have been shown."""

LUCK = 1e-9
"""A chance below it is not taken for luck: that all repeats show one item, by what the propensities say."""

GAP_ERRORS = 5.0
"""Standard errors by which shown rounds must miss the propensities to be told: one in three million items by chance."""

GAP_RATIO = 1.25
"""And by so much at least: a smaller gap moves an estimate by less than it is known to in most logs."""

FEWEST_DRAWS = 100
"""Where a context's every value shows one item, there were no more draws than values; so many may still be chance."""

_ROLES = frozenset(("line", "item_idx", "slot_idx", "unit_idx", "reward", "propensity", "policy"))


@dataclass(frozen=True)
class PropensityGap:
    """An item of a slot that was shown more or less than its propensities say.

    share: of the slot's rounds. propensity: harmonic mean of those written, what the share is if the item could be
    shown in every round. errors: standard errors between them; above 0 it was shown too often, which only a wrong
    propensity does; below 0 it may also have been out of stock in some rounds.
    """

    item: str
    slot: str
    share: float
    propensity: float
    errors: float

    def __str__(self) -> str:
        rounds = f"shown in {self.share:.1%} of rounds, written {self.propensity:.1%}"
        return f"item {self.item!r} of slot {self.slot!r} {rounds}"


def check_log(log: LoggedFeedback) -> tuple[str, ...]:
    """Return warnings about propensities, by item. Raise DataError for a log that says nothing about other policies."""
    check_exploration(log)
    gaps = propensity_gaps(log)
    above = [gap for gap in gaps if gap.errors > 0]
    told = "; ".join(str(gap) for gap in gaps[:5]) + (f" (and {len(gaps) - 5} more)" if len(gaps) > 5 else "")
    if above:
        raise DataError(
            f"propensity: contradicts what {log.name} shows: {told}; write the chances that were drawn from"
        )
    if not gaps:
        return ()
    return (f"propensities are larger than the shares shown, unless items were out of stock: {told}",)


def check_exploration(log: LoggedFeedback) -> None:
    """Raise DataError where a rule chose what was shown: nothing is known of what it did not show.

    One item for each user is no rule: it may have been drawn once for each of many.
    """
    advice = "log with chance: show another item in some rounds, and write the chance of what was shown"
    if (log.propensity >= CERTAIN).all():
        raise DataError(f"{log.name}: no exploration: every propensity is 1; {advice}")
    rounds = log.rounds
    if rounds.select(pl.struct("slot_idx", "item_idx").n_unique() == pl.col("slot_idx").n_unique()).item():
        raise DataError(f"{log.name}: no exploration: each slot shows one item alone; {advice}")
    contexts = [name for name in rounds.columns if name not in _ROLES]
    keys = [(name, [name]) for name in contexts]
    if len(contexts) > 1:
        keys.append((" and ".join(contexts), contexts))
    for name, key in keys:
        groups = rounds.group_by([*key, "slot_idx"]).agg(
            pl.col("item_idx").n_unique().alias("items"),
            pl.col("propensity").log().slice(1).sum().alias("log_chance"),
        )
        repeats = groups["items"].max() == 1 and groups["log_chance"].sum() < math.log(LUCK)
        if repeats and groups.height < FEWEST_DRAWS:
            raise DataError(
                f"{log.name}: no exploration: all rounds of one {name} show one item, against their propensities; "
                f"{advice}"
            )


def propensity_gaps(log: LoggedFeedback) -> list[PropensityGap]:
    """Items whose shown rounds contradict their propensities, the worst first.

    The sum of 1/propensity over an item's shown rounds estimates the rounds in which it could be shown (Horvitz and
    Thompson 1952), at most all of its slot's, with the variance Σ (1 − p)/p².
    """
    inverse = 1.0 / pl.col("propensity")
    sizes = log.rounds.group_by("slot_idx").agg(pl.len().alias("rounds"))
    found = (
        log.rounds.group_by("slot_idx", "item_idx")
        .agg(
            pl.len().alias("shown"),
            inverse.sum().alias("possible"),
            (inverse * (inverse - 1.0)).sum().sqrt().alias("error"),
        )
        .join(sizes, on="slot_idx")
        .with_columns(((pl.col("possible") - pl.col("rounds")) / pl.col("error")).alias("errors"))
        .filter(
            (pl.col("errors").abs() > GAP_ERRORS)
            & ~(pl.col("possible") / pl.col("rounds")).is_between(1.0 / GAP_RATIO, GAP_RATIO)
        )
        .sort(pl.col("errors").abs(), descending=True)
    )
    return [
        PropensityGap(
            item=str(log.items.ids[row["item_idx"]]),
            slot=str(log.slots.ids[row["slot_idx"]]),
            share=row["shown"] / row["rounds"],
            propensity=row["shown"] / row["possible"],
            errors=row["errors"],
        )
        for row in found.iter_rows(named=True)
    ]
