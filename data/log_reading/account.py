"""The account of a log: every row is an event, a duplicate, a cancellation or refused, and listed if it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.errors import DataError
from data.log_reading.log_source import OpenedLog
from data.log_reading.validation import BOT, GUEST, MISSING_USER, NO_PRODUCT_EVENT

MAX_REFUSED = 0.2
"""A log of which more is refused is usually misread: an error is cheaper than a good dataset replaced."""
FEW = 10
"""As many refused rows are read by eye; a share of them says nothing. A share that is named counts from the first."""


def check_account(summary: Mapping[str, Any], rejects: int, counted: int | None) -> None:
    """Raise DataError unless rows = events + duplicates + cancellations + Σ refused, and Σ refused = rejects.

    counted: rows of the source counted in another way than by reading them, None where there is none. An error here is
    a mistake of this program, not of the log: a row was lost, and no dataset is made.
    """
    refused = sum(summary["rejected"].values())
    rows, events, duplicates, cancelled = (summary[k] for k in ("rows", "events", "duplicates", "cancellations"))
    said = f"{events} events + {duplicates} duplicates + {cancelled} cancellations + {refused} refused"
    if rows != events + duplicates + cancelled + refused:
        raise DataError(f"source={summary['source']}: internal error: {rows} rows are not {said}; please report it")
    if refused != rejects:
        raise DataError(
            f"source={summary['source']}: internal error: {refused} refused rows, {rejects} listed; please report it"
        )
    if counted is not None and counted != rows:
        raise DataError(f"source={summary['source']}: internal error: {counted} rows, {rows} read; please report it")


def check_refused(log: OpenedLog, rows: int, rejected: Mapping[str, int]) -> None:
    """Raise DataError when more than max_refused of the rows are refused for what may be a misreading.

    Events of no product, guests, bots and a preset's own reasons are no misreading.
    """
    expected = {NO_PRODUCT_EVENT, GUEST, BOT, *(reason for reason, _ in log.preset.refuse)}
    if log.preset.name != "generic":
        expected.add(MISSING_USER)  # a public log and a shop system's export have guests
    wrong = {reason: count for reason, count in rejected.items() if reason not in expected}
    bound = MAX_REFUSED if log.options.max_refused is None else log.options.max_refused
    share, few = sum(wrong.values()) / rows, log.options.max_refused is None and sum(wrong.values()) <= FEW
    if share > bound and not few:
        listed = ", ".join(f"{reason} ({count})" for reason, count in wrong.items())
        raise DataError(
            f"source={log.source.name}: {sum(wrong.values())} of {rows} rows would be refused ({share:.0%}, more than "
            f"max_refused={bound:g}): {listed}; nothing was written"
        )
