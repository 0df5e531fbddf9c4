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
    """Verdict, effects over looks, guardrails, segments, sample ratio and ε of an experiment."""
    from recsys.experiments.analysis.verdict_report import checked, reading_of, write_report

    folder = Path(experiment)
    here = service is None or folder.is_dir()
    reading = reading_of(folder) if here else checked(reading_from(str(service), experiment, key, ca))
    if out is not None:
        write_report(reading, out)
    if as_json:
        print_json(reading)
    else:
        console.print("\n".join(words_of(reading)), highlight=False, markup=False)
        if out is not None:
            console.print(f"report: {out / 'report.html'}", highlight=False, markup=False)


def reading_from(service: str, experiment: str, key: str | None, ca: Path | None) -> dict[str, Any]:
    """The reading of a running service's experiment."""
    held = ask("GET", f"/{experiment}", service, key, ca)
    found = ask("GET", f"/{experiment}/results", service, key, ca)
    windows = found.pop("windows")
    return {
        "definition": held["definition"],
        "state": held["state"],
        "results": found,
        "windows": windows,
        "rehearsal": None,
    }


def words_of(reading: dict[str, Any]) -> list[str]:
    """Windows and verdicts, a line each."""
    lines = [
        f"window {one['window']}: {one['state']}, {one['reports']:,} reports"
        + (f" ({one['failure']})" if one["failure"] else "")
        for one in reading["windows"]
    ]
    said = reading["results"]["verdicts"]
    if not said:
        return [*lines, "no window is summed yet"]
    privacy = reading["results"]["privacy"]
    spent = "privacy off" if privacy["epsilon"] is None else f"ε {privacy['epsilon']:g} for all looks"
    return [*lines, *(f"{one['arm']}: {one['text']}" for one in said), spent]
