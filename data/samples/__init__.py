"""The bundled logs: which file each is and how it is read."""

from __future__ import annotations

from pathlib import Path

from data.errors import DataError

SAMPLES = {
    "online-retail": ("online-retail", "online_retail/events.parquet"),
    "eshop-2008": ("eshop-2008", "eshop_clothing_2008/clicks.parquet"),
}
"""name → preset, file."""
LICENCES = {
    "online-retail": "CC BY 4.0; Chen, Sain, Guo (2012), doi:10.1057/dbm.2012.17, UCI doi:10.24432/C5BW33",
    "eshop-2008": "CC BY 4.0; Łapczyński, Białowąs (2013), UCI doi:10.24432/C5QK7X",
}
"""name → licence and credit, as LICENSE-DATA.md has them in full."""


def sample_file(name: str) -> tuple[str, Path]:
    """Return the preset and the file of a bundled log; DataError for an unknown name."""
    if name == "open-bandit":
        raise DataError("sample='open-bandit': has propensities and no shoppers; read it with `ownshelf off-policy`")
    if name not in SAMPLES:
        raise DataError(f"sample={name!r}: must be one of {', '.join(SAMPLES)}")
    preset, file = SAMPLES[name]
    return preset, Path(__file__).parent / file


def open_bandit_rounds() -> Path:
    """Locate the bundled log with propensities, which data/logged_feedback.py reads.

    No history of any shopper is in it.
    """
    return Path(__file__).parent / "open_bandit" / "rounds.parquet"
