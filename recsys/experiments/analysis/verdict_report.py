"""The report of an experiment: one HTML file that needs nothing else, made of a reading. It computes no figure.

A reading is plain values: definition, state, results (as a service answers them), windows, and of a rehearsal what was
assumed. Every number in the page's text stands in a `<data>` element that names where in the reading it is from; the
sentences of a verdict are the reading's own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from data.atomic import atomic_folder, check_replaceable
from data.errors import DataError
from recsys.experiments.analysis.experiment_plots import effects_figure, plot_effects
from recsys.experiments.analysis.verdict import Guard, State
from recsys.experiments.definition.definition_file import experiment_of
from recsys.reports.page import document, figure, svg_of, table

READING = "experiment.json"
TABLES = {"effects.csv": "effects", "looks.csv": "history", "segments.csv": "segments"}
KEYS = ("definition", "state", "results", "windows", "rehearsal")
STATES: dict[State, str] = {
    State.INVALID: "invalid",
    State.GUARDRAIL_HURT: "worse than allowed in a guardrail",
    State.BETTER: "better",
    State.WORSE: "worse",
    State.CONTRADICTORY: "contradictory",
    State.NO_DIFFERENCE: "no difference shown",
    State.RUNNING: "still running",
    State.TOO_FEW: "nothing to say yet",
}
GUARDS: dict[Guard, str] = {Guard.HURT: "hurt", Guard.HELD: "unharmed", Guard.OPEN: "not yet known"}

_P = ".4f"
"""How p is written: never as 0, which it is not."""


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
    return document(f"Experiment {reading['definition']['id']}", "".join(_Report(reading).parts()))


class _Report:
    """One report in the making; `parts` are its sections in order."""

    def __init__(self, reading: Mapping[str, Any]) -> None:
        self._reading = reading
        self._definition: Mapping[str, Any] = reading["definition"]
        self._analysis: Mapping[str, Any] | None = reading["results"]["analysis"]
        self._primary = next(metric["name"] for metric in self._definition["metrics"] if metric["role"] == "primary")
        self._interleaved = self._definition.get("design") == "interleaved"
        self._rivals = [a["name"] for a in self._definition["arms"] if a["name"] != self._definition["control"]]

    def parts(self) -> Iterator[str]:
        yield self._head()
        if self._analysis is not None:
            yield self._over_looks()
            yield self._metrics()
            yield self._segments()
            yield self._sample_ratio()
        yield self._plan()
        yield self._privacy()
        if self._reading["rehearsal"] is not None:
            yield self._rehearsal()
        text = json.dumps(self._definition, indent=1, ensure_ascii=False)
        yield f"<details><summary>definition</summary><pre>{escape(text)}</pre></details>"

    def _head(self) -> str:
        definition = self._definition
        begin, end = (escape(str(definition[key])[:10]) for key in ("starts_at", "ends_at"))
        arms = " against ".join([", ".join(self._rivals), definition["control"]])
        rehearsal = self._reading["rehearsal"]
        kind = "" if rehearsal is None else f" Rehearsed on {escape(str(rehearsal['dataset']))}: answers are simulated."
        description = f"<p>{escape(definition['description'])}</p>" if definition["description"] else ""
        return (
            f"<header><h1>Experiment {escape(definition['id'])}</h1>"
            f'<p class="soft">{escape(arms)}, {begin} to {end}, version {self._n("definition", "version")}, '
            f"{escape(str(self._reading['state']))}.{kind}</p>{description}</header>{self._verdicts()}"
        )

    def _verdicts(self) -> str:
        verdicts = self._reading["results"]["verdicts"]
        if not verdicts:
            return '<div class="verdict"><p>No window is summed yet: there is nothing to say.</p></div>'
        return "".join(
            f'<div class="verdict"><b>{escape(verdict["arm"])}: '
            f"{STATES.get(verdict['state'], escape(verdict['state']))}</b>"
            f'<p data-text-from="results verdicts {at} text">{escape(verdict["text"])}</p></div>'
            for at, verdict in enumerate(verdicts)
        )

    def _over_looks(self) -> str:
        assert self._analysis is not None
        history = self._analysis["history"]
        one_arm = "pair" if len(self._rivals) == 1 else "all"
        parts = [
            '<section><h2>Effect over looks</h2><p class="soft">Each interval holds whatever look one stops at.</p>'
            f'<div class="{one_arm}">'
        ]
        for metric in self._definition["metrics"]:
            name = metric["name"]
            places = [at for at, point in enumerate(history) if point["metric"] == name]
            if not places:
                continue
            picture = svg_of(effects_figure(self._analysis, name))
            caption = "Grey: an effect of 0 is still possible."
            rows = "".join(
                f"<tr><th>{escape(history[at]['arm'])}, look {self._of('history', at, 'look', 'd')}</th>"
                f'<td class="n">{self._of("history", at, "shoppers", ",.0f")}</td>'
                f'<td class="n">{self._of("history", at, "control")}</td>'
                f'<td class="n">{self._of("history", at, "treatment")}</td>'
                f'<td class="n">{self._effect("history", at)}</td></tr>'
                for at in places
            )
            names = ["look", "shoppers", "control", "arm", "effect"]
            details = f"<details><summary>table</summary>{table(names, [rows])}</details>"
            shown = figure(picture, f"{name} ({metric['role']}). {caption}")
            parts.append(f"<div>{shown}{details}</div>")
        return "".join(parts) + "</div></section>"

    def _metrics(self) -> str:
        assert self._analysis is not None
        guards = {
            (verdict["arm"], name): guard
            for verdict in self._reading["results"]["verdicts"]
            for name, guard in verdict["guardrails"].items()
        }
        roles = {metric["name"]: metric["role"] for metric in self._definition["metrics"]}
        rows = []
        for at, effect in enumerate(self._analysis["effects"]):
            guard = guards.get((effect["arm"], effect["metric"]))
            role = roles[effect["metric"]] + ("" if guard is None else f": {GUARDS.get(guard, guard)}")
            cells = [
                self._of("effects", at, "control"),
                self._of("effects", at, "treatment"),
                self._effect("effects", at),
                self._of("effects", at, "adjusted_p", _P),
                self._of("effects", at, "reduction", ".1%"),
                self._of("effects", at, "noise_share", ".1%"),
            ]
            rows.append(
                f"<tr><th>{escape(effect['metric'])}<br><small>{escape(effect['arm'])}, {escape(role)}</small></th>"
                + "".join(f'<td class="n">{cell}</td>' for cell in cells)
                + "</tr>"
                + self._problem(effect, len(cells) + 1)
            )
        names = ["metric", "control", "arm", "effect", "p, corrected", "gain by covariate", "privacy's share"]
        return (
            '<section><h2>All metrics at the last look</h2><p class="soft">Gain by covariate: the share of the '
            "variance that it took away. Privacy's share: of the variance, what the noise is. p is corrected over "
            "the metrics of a role and the arms; guardrails are not corrected, since each alone may stop an "
            f"experiment.</p>{table(names, rows)}</section>"
        )

    def _segments(self) -> str:
        assert self._analysis is not None
        if not self._analysis["segments"]:
            return ""
        rows = [
            f"<tr><th>{escape(str(row['segment']))}: {escape(str(row['level']))}<br><small>{escape(row['arm'])}</small>"
            f'</th><td class="n">{self._of("segments", at, "shoppers", ",.0f")}</td>'
            f'<td class="n">{self._effect("segments", at)}</td>'
            f'<td class="n">{self._of("segments", at, "adjusted_p", _P)}</td></tr>' + self._problem(row, 4)
            for at, row in enumerate(self._analysis["segments"])
        ]
        differs = "".join(
            f"<li>{escape(row['segment'])}, {escape(row['arm'])}: "
            f"{escape(row['problem'] or 'p')} {self._of('interactions', at, 'adjusted_p', _P)}</li>"
            for at, row in enumerate(self._analysis["interactions"])
        )
        return (
            f'<section><h2>Segments</h2><p class="soft">{escape(self._primary)} by declared segments; p corrected for '
            f"their number.</p>{table(['level', 'shoppers', 'effect', 'p, corrected'], rows)}"
            f"<p>Do effects differ between the levels?</p><ul>{differs}</ul></section>"
        )

    def _sample_ratio(self) -> str:
        assert self._analysis is not None
        ratio = self._analysis["sample_ratio"]
        if self._interleaved:
            body = (
                "<p>Both make every list together, so no shopper is in one arm alone and there is nothing to test.</p>"
            )
        elif ratio is None:
            body = "<p>An arm is below min_reports: its shoppers are not shown.</p>"
        else:
            path = ("results", "analysis", "sample_ratio")
            rows = [
                f'<tr><th>{escape(arm)}</th><td class="n">{self._n(*path, "observed", arm, style=",.0f")}</td>'
                f'<td class="n">{self._n(*path, "expected", arm, style=",.0f")}</td></tr>'
                for arm in ratio["observed"]
            ]
            conclusion = "Mismatch: no effect can be read" if ratio["mismatch"] else "No mismatch is shown"
            p = self._n(*path, "p_value", style=_P)
            body = f"{table(['arm', 'shoppers', 'expected'], rows)}<p>{conclusion} (p {p}).</p>"
        return f"<section><h2>Do the arms hold the shoppers they should?</h2>{body}</section>"

    def _plan(self) -> str:
        analysis = ("results", "analysis")
        looks = "–" if self._analysis is None else self._n(*analysis, "look", style="d")
        planned = [
            ("planned effect, relative", self._n("definition", "minimum_effect", style=".1%")),
            ("power for it", self._n("definition", "power", style=".0%")),
        ]
        rows = [
            *(() if self._interleaved else planned),
            ("alpha", self._n("definition", "alpha", style="g")),
            ("method", escape(self._definition["looks"]["method"].replace("_", " "))),
            ("looks", f"{looks} of {self._n('definition', 'looks', 'count', style='d')}"),
            ("days of outcomes", self._n("definition", "outcome_days", style="d")),
        ]
        for at, row in enumerate(self._analysis["stopped"] if self._analysis else ()):
            path = (*analysis, "stopped", at)
            rows.append(
                (
                    f"{row['arm']}, allowing for when it was decided",
                    f"{self._n(*path, 'estimate', style='+.4g')} ({self._n(*path, 'low', style='+.4g')} to "
                    f"{self._n(*path, 'high', style='+.4g')}), look {self._n(*path, 'look', style='d')}",
                )
            )
        return f"<section><h2>The plan</h2>{_list(rows)}</section>"

    def _privacy(self) -> str:
        privacy = self._reading["results"]["privacy"]
        path = ("results", "privacy")
        spent = "privacy is off: sums without noise"
        if privacy["epsilon"] is not None:
            spent = f"{self._n(*path, 'epsilon', style='g')} at δ {self._n(*path, 'delta', style='g')}"
        rows = [
            ("ε spent by an installation, all looks", spent),
            ("least shoppers shown", self._n(*path, "min_reports", style=",d")),
        ]
        lines = [
            f"<tr><th>{self._n('windows', at, 'window', style='d')}</th>"
            f'<td class="n">{escape(datetime.fromtimestamp(int(window["deadline"]), UTC).date().isoformat())}</td>'
            f'<td class="n">{escape(str(window["state"]))}</td>'
            f'<td class="n">{self._n("windows", at, "reports", style=",d")}</td>'
            f'<td class="n">{escape(str(window["failure"] or ""))}</td></tr>'
            for at, window in enumerate(self._reading["windows"])
        ]
        windows = table(["window", "until", "state", "reports, zeros too", "failure"], lines) if lines else ""
        return f"<section><h2>Privacy and windows</h2>{_list(rows)}{windows}</section>"

    def _rehearsal(self) -> str:
        about = self._reading["rehearsal"]
        came, hits = (
            ", ".join(f"{escape(arm)} {self._n('rehearsal', key, arm, style=style)}" for arm in about[key])
            for key, style in (("exposed", ",d"), ("listed", ".1%"))
        )
        rows = [
            ("log", escape(str(about["dataset"]))),
            ("lift", self._n("rehearsal", "lift", style="g")),
            ("seed", self._n("rehearsal", "seed", style="d")),
            ("came in", came),
            ("lists that held what was wanted", hits),
        ]
        truth = [
            f"<tr><th>{escape(entry['metric'])}<br><small>{escape(entry['arm'])}</small></th>"
            + "".join(
                f'<td class="n">{self._n("rehearsal", "truth", at, key, style=style)}</td>'
                for key, style in (
                    ("control", ".4g"),
                    ("treatment", ".4g"),
                    ("effect", "+.4g") if entry["relative"] is None else ("relative", "+.1%"),
                )
            )
            + "</tr>"
            for at, entry in enumerate(about["truth"])
        ]
        assumed = "".join(f"<li>{escape(entry)}</li>" for entry in about["assumptions"])
        return (
            f"<section><h2>The rehearsal</h2>{_list(rows)}<h3>Simulated truth</h3>"
            f"{table(['metric', 'control', 'arm', 'effect'], truth)}"
            f'<h3>Assumed, not measured</h3><ul class="assumed">{assumed}</ul></section>'
        )

    def _effect(self, key: str, at: int) -> str:
        """Format an effect relative to control with its interval; absolute where that is not known."""
        assert self._analysis is not None
        row = self._analysis[key][at]
        relative = row["relative"] is not None and row["relative_low"] is not None and row["relative_high"] is not None
        names = ("relative", "relative_low", "relative_high") if relative else ("effect", "low", "high")
        style = "+.1%" if relative else "+.4g"
        value, low, high = (self._of(key, at, name, style) for name in names)
        return value if row[names[0]] is None else f"{value} <small>{low}…{high}</small>"

    def _problem(self, effect: Mapping[str, Any], columns: int) -> str:
        if not effect["problem"]:
            return ""
        return f'<tr class="problem"><td colspan="{columns}"><small>{escape(str(effect["problem"]))}</small></td></tr>'

    def _of(self, key: str, at: int, name: str, style: str = ".4g") -> str:
        return self._n("results", "analysis", key, at, name, style=style)

    def _n(self, *path: str | int, style: str = "g") -> str:
        """Format a number of the reading, with where it is from; a dash for one that is not there."""
        value: Any = self._reading
        for key in path:
            value = value[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "–"
        where = escape(" ".join(map(str, path)))
        shown = "&lt; 0.0001" if style == _P and value < 0.00005 else f"{value:{style}}"
        return f'<data value="{value!r}" data-from="{where}">{shown}</data>'


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"
