"""The report of an experiment: one HTML file that needs nothing else, made of a reading. It computes no figure.

A reading is plain values: definition, state, results (as a service answers them), windows, and of a rehearsal what was
assumed. Every number in the page's text stands in a `<data>` element that names where in the reading it is from; the
sentences of a verdict are the reading's own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.atomic import atomic_folder, check_replaceable
from data.errors import DataError
from recsys.experiments.analysis.experiment_plots import effects_figure, plot_effects
from recsys.experiments.analysis.verdict import Guard, State
from recsys.experiments.definition.definition_file import experiment_of
from recsys.reports.page import SourcedNumber, report_page, sourced, svg_of

PAGES = Path(__file__).with_name("pages")
READING = "experiment.json"
TABLES = {"effects.csv": "effects", "looks.csv": "history", "segments.csv": "segments"}
KEYS = ("definition", "state", "results", "windows", "rehearsal")
STATES: dict[State, str] = {
    State.INVALID: "invalid",
    State.GUARDRAIL_HURT: "worse than allowed in a guardrail",
    State.GUARDRAIL_UNKNOWN: "a guardrail has no figure",
    State.BETTER: "better",
    State.WORSE: "worse",
    State.CONTRADICTORY: "contradictory",
    State.NOT_HELD: "shown earlier, not held since",
    State.NO_DIFFERENCE: "no difference shown",
    State.RUNNING: "still running",
    State.TOO_FEW: "nothing to say yet",
}
GUARDS: dict[Guard, str] = {
    Guard.HURT: "worse than its margin",
    Guard.HELD: "within its margin",
    Guard.OPEN: "not yet known",
    Guard.NO_FIGURE: "no figure",
}


def reading_of(folder: Path | str) -> dict[str, Any]:
    """Read the reading in a folder that `write_report` made. Raises DataError when it is none."""
    place = Path(folder)
    try:
        reading = json.loads((place / READING).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{place}: is not a folder that `ownshelf experiment run --out` or `report --out` made: {error}"
        ) from None
    return check_reading(reading)


def check_reading(reading: Any) -> dict[str, Any]:
    """Check that the reading has what a report is made of, and return it. Raises DataError."""
    if not isinstance(reading, dict) or not set(KEYS) <= set(reading):
        raise DataError(f"reading: must have {', '.join(KEYS)}")
    if not isinstance(reading["results"], dict) or not {"analysis", "verdicts", "privacy"} <= set(reading["results"]):
        raise DataError("reading: results must have analysis, verdicts and privacy")
    experiment_of(reading["definition"])
    return reading


def write_report(reading: Mapping[str, Any], folder: Path) -> None:
    """report.html, experiment.json, tables as CSV and plots as PNG: a folder that appears whole or not at all.

    Replaces what an earlier report left there. Raises DataError if anything else is there.
    """
    plain = check_reading(json.loads(json.dumps(reading, allow_nan=False)))
    names = [metric["name"] for metric in plain["definition"]["metrics"]]
    check_replaceable(folder, ("report.html", READING, *TABLES, *(f"effect-{name}.png" for name in names)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder, overwrite=True) as fresh:
        (fresh / "report.html").write_text(report_html(plain), encoding="utf-8")
        (fresh / READING).write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
        for name, text in tables_of(plain).items():
            (fresh / name).write_text(text, encoding="utf-8")
        analysis = plain["results"]["analysis"]
        for name in names if analysis else ():
            if any(point["metric"] == name for point in analysis["history"]):
                plot_effects(analysis, fresh / f"effect-{name}.png", name)


def tables_of(reading: Mapping[str, Any]) -> dict[str, str]:
    """Make CSV by file name: effects at the last look, at every look, and by segment. Empty cells are unknown."""
    analysis = reading["results"]["analysis"]
    tables = {}
    for name, key in TABLES.items():
        rows = analysis[key] if analysis else []
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["metric", "arm", "look"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        tables[name] = out.getvalue()
    return tables


def report_html(reading: Mapping[str, Any]) -> str:
    """Render the report as HTML: self-contained, without scripts and without requests to anywhere."""
    definition, analysis = reading["definition"], reading["results"]["analysis"]
    return report_page(
        PAGES,
        "verdict.html",
        title=f"Experiment {definition['id']}",
        report=_Report(reading),
        reading=reading,
        definition=definition,
        analysis=analysis,
        rehearsal=reading["rehearsal"],
        interleaved=definition.get("design") == "interleaved",
        states=STATES,
    )


class _Report:
    """What the template asks of a reading: numbers with where they are from, pictures, words."""

    def __init__(self, reading: Mapping[str, Any]) -> None:
        self._reading = reading
        self._definition: Mapping[str, Any] = reading["definition"]
        self._analysis: Mapping[str, Any] = reading["results"]["analysis"] or {}
        self._guards: dict[tuple[str, str], Guard] = {
            (verdict["arm"], name): guard
            for verdict in reading["results"]["verdicts"] or ()
            for name, guard in verdict["guardrails"].items()
        }
        self.primary = next(metric["name"] for metric in self._definition["metrics"] if metric["role"] == "primary")
        self.rivals = [arm["name"] for arm in self._definition["arms"] if arm["name"] != self._definition["control"]]

    @property
    def arms(self) -> str:
        """Name the arms against control."""
        return " against ".join([", ".join(self.rivals), self._definition["control"]])

    @property
    def definition_text(self) -> str:
        """Write the definition as JSON."""
        return json.dumps(self._definition, indent=1, ensure_ascii=False)

    def looks_at(self, metric: str) -> list[int]:
        """List the places of a metric's looks in the history."""
        return [at for at, point in enumerate(self._analysis["history"]) if point["metric"] == metric]

    def effects_svg(self, metric: str) -> str:
        """Draw a metric's effect over looks, as SVG."""
        return svg_of(effects_figure(self._analysis, metric))

    def role(self, effect: Mapping[str, Any]) -> str:
        """Say the role of an effect's metric, and of a guardrail how it stands."""
        role = next(metric["role"] for metric in self._definition["metrics"] if metric["name"] == effect["metric"])
        guard = self._guards.get((effect["arm"], effect["metric"]))
        return f"{role}" if guard is None else f"{role}: {GUARDS.get(guard, guard)}"

    def day(self, deadline: float) -> str:
        """Write the day (UTC) of a moment in seconds."""
        return datetime.fromtimestamp(int(deadline), UTC).date().isoformat()

    def effect(self, key: str, at: int) -> list[SourcedNumber | None]:
        """Read an effect relative to control, its low and its high; absolute where the relative is not known."""
        row = self._analysis[key][at]
        relative = row["relative"] is not None and row["relative_low"] is not None and row["relative_high"] is not None
        names = ("relative", "relative_low", "relative_high") if relative else ("effect", "low", "high")
        return [self.analysed(key, at, name, "+.1%" if relative else "+.4g") for name in names]

    def analysed(self, key: str, at: int, name: str, style: str = ".4g") -> SourcedNumber | None:
        """Read a number of the analysis."""
        return self.number("results", "analysis", key, at, name, style=style)

    def number(self, *path: str | int, style: str = "g") -> SourcedNumber | None:
        """Read a number of the reading; None for one that is not there."""
        value: Any = self._reading
        for key in path:
            value = value[key]
        return sourced(value, " ".join(map(str, path)), style)
