"""Recognition: which preset reads a source, told by its columns or its first line; never by its name or a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence

from data.errors import DataError
from data.exports.registry import export_of
from data.log_reading.columns import fits_all
from data.log_reading.formats import PRESETS
from data.log_reading.opening.sources import Table, peek

AUTO = "auto"


def recognise(source: Table, *, separators: Sequence[str] = ()) -> tuple[str, str]:
    """Name the preset of a source and how it was told, `generic` where no other fits.

    separators: of a csv, all of the presets' by default. A preset with more marks (a log of purchases beside one of
    views) is the better fit. Raises DataError when two fit equally well.
    """
    every = tuple(dict.fromkeys(mark for preset in PRESETS.values() for mark in preset.separators if len(mark) == 1))
    line, columns, record = peek(source, tuple(separators) or every)
    if (export := export_of(record or dict.fromkeys(columns))) is not None:
        return export.name, "its fields"
    for preset in PRESETS.values():
        if preset.first_line and re.fullmatch(preset.first_line, line):
            return preset.name, "its first line"
    matches: dict[str, tuple[str, ...]] = {}
    for preset in PRESETS.values():
        fitting = [marks for marks in preset.marks if fits_all(marks, columns)]
        if fitting:
            matches[preset.name] = max(fitting, key=len)
    most = max((len(marks) for marks in matches.values()), default=0)
    best = [name for name, marks in matches.items() if len(marks) == most]
    if len(best) > 1:
        raise DataError(f"format=auto: {' and '.join(best)} both fit the columns; say which by format")
    return (best[0], f"its columns {', '.join(matches[best[0]])}") if best else ("generic", "no preset's own columns")
