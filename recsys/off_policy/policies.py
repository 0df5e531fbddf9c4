"""Target policies: with which chance each item would have been shown in a round. Not how they were found.

A policy that was fitted on the log it is estimated from looks better than it is: fit it on another log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import DataError
from data.logged_feedback import LoggedFeedback

Floats = npt.NDArray[np.float64]

CELLS_AT_ONCE = 4_000_000
"""Chances held at a time, rounds × items: 32 MB."""
SUM_TOLERANCE = 1e-6


class TargetPolicy(Protocol):
    """Anything that says how it would have chosen."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def probabilities(self, log: LoggedFeedback) -> Floats:
        """Compute the chances of every item, (len(log), len(log.items)) float64, rows sum to 1.

        They depend on what was known before each round was shown.
        """
        ...


@dataclass(frozen=True, eq=False)
class SlotPolicy:
    """A policy that knows nothing of a round but its slot: table (n_slots, n_items), rows sum to 1.

    A row of zeros is a slot that the policy says nothing about; a round there is an error.
    """

    name: str
    table: Floats

    def probabilities(self, log: LoggedFeedback) -> Floats:
        """Look up the rows of the log's slots, (len(log), n_items)."""
        return self.table[log.slot_idx]

    @classmethod
    def uniform(cls, log: LoggedFeedback, name: str = "uniform") -> SlotPolicy:
        """Give every item that the log has in a slot the same chance."""
        shown = _counts(log) > 0
        return cls(name, _normalize(shown.astype(np.float64)))

    @classmethod
    def frequencies(cls, log: LoggedFeedback, name: str) -> SlotPolicy:
        """Count how often a logged policy showed each item in each slot: its average over the log.

        Not the mean of its propensities: those of shown items alone are biased upwards. What the average earns is what
        the policy earned if the same items would have been clicked at all times, which a policy that learns assumes.
        """
        return cls(name, _normalize(_counts(log)))

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, log: LoggedFeedback, name: str) -> SlotPolicy:
        """Read columns item, probability and, if the log has several slots, slot: ids as in the log.

        Raises DataError for a column that is missing, an unknown id, a pair that occurs twice, a chance outside 0..1,
        or a slot whose chances do not sum to 1.
        """
        several = len(log.slots) > 1
        needed = ["item", "probability", *(["slot"] if several else [])]
        if missing := [column for column in needed if column not in frame.columns]:
            raise DataError(f"policy={name}: no column {missing[0]!r}; needs {', '.join(needed)}")
        rows = frame.with_columns(
            pl.col("item").cast(pl.String),
            (pl.col("slot").cast(pl.String) if several else pl.lit(log.slots.ids[0])).alias("slot"),
            pl.col("probability").cast(pl.Float64, strict=False),
        )
        wrong = rows.filter(~pl.col("probability").is_between(0, 1).fill_null(value=False))
        if wrong.height:
            raise DataError(f"policy={name}: probability={wrong['probability'][0]}: must be 0..1")
        for role, ids in (("item", log.items.ids), ("slot", log.slots.ids)):
            unknown = rows.filter(~pl.col(role).is_in(ids.implode()) & (pl.col("probability") > 0))
            if unknown.height:
                raise DataError(f"policy={name}: {role}={unknown[role][0]!r}: the log never shows it")
        rows = rows.filter(pl.col("probability") > 0)
        if (twice := rows.filter(pl.struct("slot", "item").is_duplicated())).height:
            raise DataError(f"policy={name}: slot={twice['slot'][0]!r}, item={twice['item'][0]!r} occurs twice")
        slots = {slot: place for place, slot in enumerate(log.slots.ids)}
        items = {item: place for place, item in enumerate(log.items.ids)}
        table = np.zeros((len(slots), len(items)))
        for slot, item, chance in rows.select("slot", "item", "probability").iter_rows():
            table[slots[slot], items[item]] = chance
        sums = table.sum(axis=1)
        if (bad := np.flatnonzero((sums > 0) & (np.abs(sums - 1) > SUM_TOLERANCE))).size:
            raise DataError(
                f"policy={name}: chances of slot {log.slots.ids[int(bad[0])]!r} sum to {sums[bad[0]]:g}, not 1"
            )
        return cls(name, table)

    def mixed(self, other: SlotPolicy, share: float) -> SlotPolicy:
        """Mix this policy with another, which acts with chance `share`.

        It is a way to keep exploring, and to be near a log.
        """
        if not 0 <= share <= 1:
            raise DataError(f"share={share}: must be 0..1")
        return SlotPolicy(f"{self.name}+{share:g}·{other.name}", (1 - share) * self.table + share * other.table)


def in_chunks(policy: TargetPolicy, log: LoggedFeedback) -> Iterator[tuple[slice, Floats]]:
    """Yield the policy's chances, some rows at a time, checked. Raises DataError for chances that are none."""
    step = max(1, CELLS_AT_ONCE // max(1, len(log.items)))
    for start in range(0, len(log), step):
        rows = slice(start, min(start + step, len(log)))
        chances = np.asarray(policy.probabilities(log.take(rows)), dtype=np.float64)
        shape = (rows.stop - rows.start, len(log.items))
        if chances.shape != shape:
            raise DataError(f"policy={policy.name}: probabilities of shape {chances.shape}, must be {shape}")
        wrong = ~(chances >= 0).all(axis=1) | ~(np.abs(chances.sum(axis=1) - 1) <= SUM_TOLERANCE)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            line = log.rounds["line"][start + place]
            raise DataError(
                f"policy={policy.name}: chances at line {line} sum to {chances[place].sum():g} "
                f"(smallest {chances[place].min():g}): must be 0 or more and sum to 1"
            )
        yield rows, chances


def chance_of_shown(policy: TargetPolicy, log: LoggedFeedback) -> Floats:
    """Compute the chance with which the policy would have shown what was shown, (n_rounds,)."""
    chance = np.empty(len(log))
    for rows, chances in in_chunks(policy, log):
        chance[rows] = chances[np.arange(len(chances)), log.item_idx[rows]]
    return chance


def _counts(log: LoggedFeedback) -> Floats:
    shape = (len(log.slots), len(log.items))
    cells = np.ravel_multi_index((log.slot_idx, log.item_idx), shape)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _normalize(table: Floats) -> Floats:
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1e-300))
