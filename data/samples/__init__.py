"""The bundled logs, as published, read on demand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from data.dataset import Dataset
from data.errors import DataError

SAMPLES = {
    "online-retail": ("online-retail", "online_retail/events.parquet"),
    "eshop-2008": ("eshop-2008", "eshop_clothing_2008/clicks.parquet"),
}


@cache
def open_sample(name: str) -> Dataset:
    """A bundled log by its name; kept in memory for the next call."""
    from data.log_reading.ingest import ingest

    if name == "open-bandit":
        raise DataError("sample='open-bandit': has propensities and no shoppers; read it with `ownshelf off-policy`")
    if name not in SAMPLES:
        raise DataError(f"sample={name!r}: must be one of {', '.join(SAMPLES)}")
    preset, file = SAMPLES[name]
    return replace(ingest(Path(__file__).parent / file, preset=preset), name=f"sample:{name}")


def open_bandit_rounds() -> Path:
    """Locate the bundled log with propensities, which data/logged_feedback.py reads.

    No history of any shopper is in it.
    """
    return Path(__file__).parent / "open_bandit" / "rounds.parquet"
