"""All exports by name, and which one a record is of."""

from __future__ import annotations

from data.exports.analytics import ANALYTICS
from data.exports.flat import Export, Record
from data.exports.shops import SHOPS

EXPORTS: dict[str, Export] = {export.name: export for export in (*ANALYTICS, *SHOPS)}


def export_of(record: Record | None) -> Export | None:
    """Find the export that a record is of, or None; the first that fits."""
    if not record:
        return None
    return next((export for export in EXPORTS.values() if export.fits(record)), None)
