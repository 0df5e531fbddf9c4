"""`ownshelf experiment report`: what an experiment says, from a service or a folder, as words, page, JSON and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.experiments.service_commands import Ca, Key, ask
from serving.cli.options import AsJson
from serving.cli.output import console, print_json

Out = Annotated[Path | None, typer.Option(help="folder for report.html, experiment.json, CSV tables and plots")]


def report(
    experiment: Annotated[str, typer.Argument(help="An id, with --service; or a folder that --out made.")],
    service: Annotated[str | None, typer.Option(help="Address of the service.", envvar="OWNSHELF_SERVICE")] = None,
    key: Key = None,
    ca: Ca = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Report verdict, effects over looks, guardrails, segments, sample ratio and ε of an experiment."""
    from recsys.experiments.analysis.verdict_report import check_reading, reading_of, write_report

    folder = Path(experiment)
    here = service is None or folder.is_dir()
    reading = reading_of(folder) if here else check_reading(reading_from(str(service), experiment, key, ca))
    if out is not None:
        write_report(reading, out)
    if as_json:
        print_json(reading)
    else:
        console.print("\n".join(words_of(reading)), highlight=False, markup=False)
        if out is not None:
            console.print(f"report: {out / 'report.html'}", highlight=False, markup=False)


def reading_from(service: str, experiment: str, key: str | None, ca: Path | None) -> dict[str, Any]:
    """Fetch the reading of a running service's experiment."""
    entry = ask("GET", f"/{experiment}", service, key, ca)
    results = ask("GET", f"/{experiment}/results", service, key, ca)
    windows = results.pop("windows")
    return {
        "definition": entry["definition"],
        "state": entry["state"],
        "results": results,
        "windows": windows,
        "rehearsal": None,
    }


def words_of(reading: dict[str, Any]) -> list[str]:
    """Put windows and verdicts in words, a line each."""
    lines = [
        f"window {entry['window']}: {entry['state']}, {entry['reports']:,} reports"
        + (f" ({entry['failure']})" if entry["failure"] else "")
        for entry in reading["windows"]
    ]
    verdicts = reading["results"]["verdicts"]
    if not verdicts:
        return [*lines, "no window is summed yet"]
    privacy = reading["results"]["privacy"]
    spent = "privacy off" if privacy["epsilon"] is None else f"ε {privacy['epsilon']:g} for all looks"
    return [*lines, *(f"{entry['arm']}: {entry['text']}" for entry in verdicts), spent]
