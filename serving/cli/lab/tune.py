"""`ownshelf tune`: a recipe for a log, by federated cross-validation within a budget; its file is for train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import TaskID

from data.atomic import check_replaceable, write_atomically
from data.dataset import Dataset
from data.errors import FederationError
from data.interactions import Interactions
from data.log_statistics import measure_log
from data.split import iso, parse_time
from federation.lab.defaults import protocol_of
from federation.lab.folds import Folds, Window, set_apart, windows_of
from federation.lab.guards import GUARDED
from federation.lab.recipe_file import RecipeFile, find_recipe
from federation.lab.result_cache import ResultCache
from federation.lab.search_space import SPACE, space_for, values
from federation.lab.tuning import Budget, Trial, TuningResult, tune
from recsys.reports.search_plots import plot_trials
from serving.cli.lab.lab import Cohort, DatasetArgument, Dim, Json, RecipeName, Rounds, Seed, adjusted
from serving.cli.output import console, errors, jsonable, print_json, progress, text_of

TUNE_FILES = ("recipe.json", "trials.parquet", "tune.json", "trials.png", "kept")
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""

Until = Annotated[
    str | None, typer.Option(help="look at events before this ISO time only; default: the last fifth stays unseen")
]
ProtocolName = Annotated[str, typer.Option("--protocol", help="auto, temporal, sessions or leave-last-out")]
Length = Annotated[int, typer.Option("--k", min=1, max=1000, help="length of a list")]


def tune_command(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="folder for recipe.json, trials.parquet, tune.json and trials.png")],
    trials: Annotated[int, typer.Option(min=1, help="settings of training to try, the start among them")] = 28,
    minutes: Annotated[float | None, typer.Option(help="CPU minutes after which no trial begins")] = None,
    settings: Annotated[int, typer.Option(min=1, help="profile settings that each table is judged with")] = 8,
    until: Until = None,
    protocol: ProtocolName = "auto",
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    cohort_size: Cohort = None,
    dim: Dim = None,
    folds: Annotated[int, typer.Option(min=2, help="parts of the devices; each is asked once a window")] = 3,
    windows: Annotated[int, typer.Option(min=1, help="windows in time that are foretold")] = 1,
    part: Annotated[str, typer.Option(help="all, or new: items of the own history left out")] = "all",
    k: Length = 20,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Search for a recipe by federated cross-validation. Ctrl-C keeps what was found; the same command goes on."""
    if part not in ("all", "new"):
        raise FederationError(f"part={part!r}: must be all or new")
    log = Dataset.open(dataset).interactions()
    check_replaceable(out, TUNE_FILES)
    out.mkdir(parents=True, exist_ok=True)
    known, at = set_apart(log, protocol, parse_time(until) if until else None)
    begun = find_recipe(recipe_name, known, seed=seed)
    protocol_name = protocol_of(protocol, known)
    start = adjusted(begun.recipe, rounds, cohort_size, dim, None)
    judged_on = Folds(known, protocol_name, windows_of(known, windows), folds, seed)
    budget = Budget(trials, np.inf if minutes is None else 60 * minutes, settings)
    errors.print(windows_said(known, judged_on.windows, windows), highlight=False, soft_wrap=True)
    with progress("trials", budget.steps()) as bar:
        best = -np.inf

        def tell(trial: Trial) -> None:
            nonlocal best
            best = max(best, trial.mean)
            bar.update(TaskID(0), advance=1, description=f"trials, best {part} ndcg@{k} {best:.4f}")

        space = space_for(start, measure_log(known))
        cache = ResultCache(out / "kept")
        tuned = tune(judged_on, start, budget, space=space, seed=seed, k=k, part=part, cache=cache, on_trial=tell)
    figures = _figures(tuned, begun.participations) | {
        "dataset": Path(dataset).name if not dataset.startswith("sample:") else dataset,
        "protocol": protocol_name,
        "until": iso(at),
        "metric": f"ndcg@{k}",
        "part": part,
        "folds": folds,
        "windows": [[iso(begin), iso(end)] for begin, end in judged_on.windows],
        "seed": seed,
    }
    about = {key: value for key, value in figures.items() if key not in ("trials", "cpu_s", "stopped")}
    RecipeFile(begun.base, tuned.best, figures["participations"], jsonable(about)).save(out / "recipe.json")
    tuned.to_frame().write_parquet(out / "trials.parquet")
    write_atomically(out / "tune.json", text_of(figures).encode())
    plot_trials(figures, out / "trials.png")
    if as_json:
        print_json(figures)
    else:
        _say(figures, dataset, out)
    if tuned.stopped == "interrupted":
        errors.print(f"stopped; kept in {out}: the same command goes on from there", highlight=False)
        raise typer.Exit(INTERRUPTED)


def windows_said(log: Interactions, windows: Sequence[Window], wanted: int) -> str:
    """Say what the windows in time are, one line.

    How many, how long, from when until when; and why fewer than asked.
    """
    begin, end = windows[0][0], windows[-1][1]
    hours = (end - begin) / len(windows) / 3_600_000_000
    length = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
    events = int(((log.time >= begin) & (log.time < end)).sum()) // len(windows)
    plural = "windows" if len(windows) > 1 else "window"
    fewer = f"; {wanted} were asked for, but too many events are of one moment" if len(windows) < wanted else ""
    return (
        f"foretold: {len(windows)} {plural} in time, of about {events:,} events and {length} each, "
        f"{iso(begin)[:16]} to {iso(end)[:16]}{fewer}"
    )


def _figures(tuned: TuningResult, spent_before: int) -> dict[str, Any]:
    """Collect what tune prints, but for what it was asked."""
    start, best = tuned.trials[0].judged, tuned.winner.judged
    place, won = start.candidates.index(tuned.start), best.candidates.index(tuned.best)
    before, after = values(tuned.start, SPACE), values(tuned.best, SPACE)
    return {
        "best": {"mean": float(best.mean[won]), "error": float(best.error[won]), "trial": tuned.winner.number},
        "start": {"mean": float(start.mean[place]), "error": float(start.error[place])},
        "parts": {
            part: {"start": start.parts[place][part].mean, "best": best.parts[won][part].mean}
            for part in GUARDED
            if start.parts[place][part].devices
        },
        "refused": [{"trial": trial, "mean": mean, "why": why} for trial, mean, why in tuned.refusals],
        "devices": best.devices,
        "changed": {name: [before[name], after[name]] for name in before if before[name] != after[name]},
        "participations": tuned.participations + spent_before,
        "cpu_s": sum(trial.validation.cpu_s for trial in tuned.trials if trial.validation is not None),
        "stopped": tuned.stopped,
        "trials": [
            {
                "trial": trial.number,
                "share": trial.share,
                "mean": None if trial.validation is None else float(trial.validation.mean[trial.place or 0]),
                "error": None if trial.validation is None else float(trial.validation.error[trial.place or 0]),
            }
            for trial in tuned.trials
        ],
    }


def _say(figures: Mapping[str, Any], dataset: str, out: Path) -> None:
    best, start = figures["best"], figures["start"]
    for name, row in (("began with", start), ("found", best)):
        console.print(f"{name:>10}  {figures['metric']} {row['mean']:.4f} ± {row['error']:.4f} (s.e.)", highlight=False)
    for name, (before, after) in figures["changed"].items():
        console.print(f"{name:>18}  {before:g} → {after:g}", highlight=False)
    for part, row in figures["parts"].items():
        console.print(f"{part:>18}  {row['start']:.4f} → {row['best']:.4f}", highlight=False)
    if refused := figures["refused"]:
        first = max(refused, key=lambda row: row["mean"])
        console.print(
            f"{len(refused)} settings with a higher figure were refused; the highest, {first['mean']:.4f} in trial "
            f"{first['trial']}: {first['why']}",
            highlight=False,
        )
    console.print(
        f"{len(figures['trials'])} trials, {figures['devices']:,} devices measured, nothing from "
        f"{figures['until'][:10]} on was looked at\nthe best of many is flattered by having been chosen; judge it on "
        f"what it has not seen:\n  ownshelf evaluate {dataset} --recipe {out / 'recipe.json'}\n"
        f"  ownshelf train {dataset} --recipe {out / 'recipe.json'} --out bundle",
        highlight=False,
        soft_wrap=True,
    )
