"""Refused rows of a log: the line of the file, the reason, the value that was wrong."""

from __future__ import annotations

import polars as pl

from data.log_reading.canonical import Plan, canonical
from data.log_reading.opening.source import BREAKS, LINE


def refusals(plan: Plan) -> pl.LazyFrame:
    """Collect line, reason, value, breaks of refused rows.

    With a null reason, also of fine ones that hold line ends.

    Their lines are those of the file only after `placed`: one sum over these few, not over all rows, which would be
    held in memory for it.
    """
    frame, row_checks = canonical(plan, exact=True)
    words = {0: None, **{number: check.reason for number, check in enumerate(row_checks, start=1)}}
    breaks = pl.col(BREAKS) if BREAKS in frame.collect_schema() else pl.lit(0)
    return frame.select(
        line=pl.col(LINE).cast(pl.Int64),
        reason=pl.col("reason").replace_strict(words, return_dtype=pl.String),
        value="value",
        breaks=breaks.cast(pl.Int64),
    ).filter(pl.col("reason").is_not_null() | (pl.col("breaks") > 0))


def placed(rows: pl.DataFrame, breaks_before: int = 0) -> tuple[pl.DataFrame, int]:
    """Place refused rows at their line of the file, and count line ends.

    Returns line, reason and value, and the line ends in these and those before.
    """
    sums = rows["breaks"].cum_sum() + breaks_before
    moved = rows.with_columns(line=pl.col("line") + sums - pl.col("breaks"))
    last = int(sums[-1]) if len(sums) else breaks_before
    return moved.filter(pl.col("reason").is_not_null()).select("line", "reason", "value"), last
