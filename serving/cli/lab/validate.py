"""`ownshelf validate`: does a recipe hold where it never looked? Folds, gap, canary, curves, nested search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from data.atomic import check_replaceable, write_atomically
from data.dataset import Dataset
from data.split import iso, parse_time
from federation.lab.defaults import protocol_of
from federation.lab.folds import set_apart, windows_of
from federation.lab.recipe_file import find_recipe
from federation.lab.result_cache import ResultCache
from federation.lab.tuning import Budget
from federation.lab.validation import SECTIONS, validate
from recsys.reports.search_plots import plot_validation
from serving.cli.lab.lab import Cohort, DatasetArgument, Dim, Json, RecipeName, Rounds, Seed, adjusted
from serving.cli.lab.tune import Length, ProtocolName, Until, windows_said
from serving.cli.output import console, errors, jsonable, print_json, progress, text_of

VALIDATE_FILES = ("validation.json", "validation.parquet", "validation.png", "kept")


def validate_command(
    dataset: DatasetArgument,
    out: Annotated[
        Path | None, typer.Option(help="folder for validation.json, .parquet and .png; makes the run resumable")
    ] = None,
    until: Until = None,
    protocol: ProtocolName = "auto",
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    cohort_size: Cohort = None,
    dim: Dim = None,
    folds: Annotated[int, typer.Option(min=2, help="parts of the devices")] = 3,
    windows: Annotated[int, typer.Option(min=1, help="windows in time that are foretold")] = 3,
    nested: Annotated[int, typer.Option(min=0, help="trials of a nested search for settings; 0 leaves it out")] = 0,
    settings: Annotated[int, typer.Option(min=1, help="profile settings of each of these trials")] = 4,
    k: Length = 20,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Say whether a recipe overfits: folds over devices and time, trained against new devices, canary, curves."""
    log = Dataset.open(dataset).interactions()
    if out is not None:
        check_replaceable(out, VALIDATE_FILES)
        out.mkdir(parents=True, exist_ok=True)
    known, at = set_apart(log, protocol, parse_time(until) if until else None)
    given = find_recipe(recipe_name, known, seed=seed)
    protocol_name = protocol_of(protocol, known)
    errors.print(windows_said(known, windows_of(known, windows), windows), highlight=False, soft_wrap=True)
    sections = len(SECTIONS) - (nested == 0)
    with progress("validation", sections) as bar:
        begun = 0

        def tell(section: str) -> None:
            nonlocal begun
            bar.update(TaskID(0), completed=begun, description=section.replace("_", " "))
            begun += 1

        try:
            validation = validate(
                known,
                protocol_name,
                adjusted(given.recipe, rounds, cohort_size, dim, None),
                folds=folds,
                windows=windows,
                search=Budget(nested, settings=settings) if nested else None,
                seed=seed,
                k=k,
                cache=ResultCache(None if out is None else out / "kept"),
                on_section=tell,
            )
        except KeyboardInterrupt:
            if out is not None:
                errors.print(f"stopped; kept in {out}: the same command goes on from there", highlight=False)
            raise
    name = dataset if dataset.startswith("sample:") else Path(dataset).name
    figures = jsonable({"dataset": name, "recipe": given.base, "until": iso(at)} | validation.to_dict())
    if out is not None:
        write_atomically(out / "validation.json", text_of(figures).encode())
        validation.to_frame().write_parquet(out / "validation.parquet")
        plot_validation(figures, out / "validation.png")
    if as_json:
        print_json(figures)
    else:
        _say(figures)


def _say(figures: Mapping[str, Any]) -> None:
    table = Table(title=f"{figures['metric']}, mean over devices and 95 % interval", title_justify="left")
    for column in ("", "devices", "personalized", "popularity"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in figures["over_devices"]["folds"]:
        _row(table, row["fold"].partition(",")[0], row)
    _row(table, "all devices", figures["over_devices"])
    table.add_section()
    spans = [(row["from"][:10], row["until"][:10]) for row in figures["over_time"]["folds"]]
    shown = 10 if len(set(spans)) == len(spans) else 16
    for row in figures["over_time"]["folds"]:
        _row(table, f"{row['from'][:shown]} to {row['until'][:shown]}", row)
    _row(table, "all windows", figures["over_time"])
    for section, word in (("by_number_of_devices", "devices"), ("by_number_of_rounds", "rounds")):
        table.add_section()
        for row in figures[section]:
            _row(table, f"{row[word]:,} {word}", row)
    console.print(table)
    for key, what in (("later", "later events"), ("last_basket", "last basket")):
        if (row := figures["gap"][key]) is not None:
            console.print(
                f"gap, {what}: trained on {_figure(row['trained'])}, never trained on {_figure(row['held_out'])}, "
                f"difference {_figure(row['difference'], '+.4f')}",
                highlight=False,
            )
    canary = figures["canary"]
    console.print(
        f"canary: {_figure(canary['permuted'])} on shuffled items, {_figure(canary['intact'])} on true ones; "
        f"popularity {_figure(canary['popularity'])}, chance {_figure(canary['chance'])}: "
        + ("ALARM, answers reach the model beside its events" if canary["alarm"] else "no alarm"),
        highlight=False,
    )
    if (search := figures["nested"]) is not None:
        console.print(
            f"search of {search['trials']} trials: promises {_figure(search['naive'])}, holds "
            f"{_figure(search['nested'])} on what it has not seen, began with {_figure(search['start'])}; optimism "
            f"{_figure(search['optimism'], '+.4f')}, gain {_figure(search['gain'], '+.4f')}",
            highlight=False,
        )
    console.print(f"nothing from {figures['until'][:10]} on was looked at", highlight=False)


def _row(table: Table, name: str, row: Mapping[str, Any]) -> None:
    ours, theirs = row["personalized"], row["popularity"]
    table.add_row(name, f"{ours['devices']:,}", _figure(ours), _figure(theirs))


def _figure(row: Mapping[str, Any], form: str = ".4f") -> str:
    low, high = row["ci95"]
    return f"{row['mean']:{form}} ({low:{form}} to {high:{form}})"
