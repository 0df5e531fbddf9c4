"""`ownshelf replay`: what each arm would have shown at every moment of a log, and whether it was right."""

from __future__ import annotations

import importlib
import re
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from data.atomic import check_replaceable
from data.dataset import Dataset
from data.errors import DataError
from data.split import parse_time
from federation.lab.recipe_file import find_recipe
from federation.lab.replay import DEFAULT_ARMS, MIXED, replay
from federation.simulation.continual import ContinualTrainer
from recsys.evaluation.arm_names import REPLAY_ARMS
from recsys.leakage import refuse_leaks
from recsys.replay.guards import inspect_replay
from recsys.replay.result import FILES, Replay
from recsys.replay.settings import ReplayConfig, Target, Ties
from serving.cli.lab.lab import Cohort, DatasetArgument, Dim, Json, RecipeName, Rounds, Seed, adjusted
from serving.cli.output import console, errors, print_json, progress

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def replay_command(
    dataset: DatasetArgument,
    arms: Annotated[
        str,
        typer.Option(help=f"comma-separated: {', '.join((*REPLAY_ARMS, MIXED))}, or MODULE:NAME of a Python object"),
    ] = ",".join(DEFAULT_ARMS),
    targets: Annotated[str, typer.Option(help="comma-separated: next_item, next_purchase, session")] = "next_item",
    every: Annotated[str, typer.Option(help="simulated time between two bundles: 1d, 12h, 1w")] = "1d",
    start: Annotated[str | None, typer.Option(help="score events from this ISO time on")] = None,
    until: Annotated[str | None, typer.Option(help="score events before this ISO time")] = None,
    sample: Annotated[float, typer.Option(help="share of the events that is scored")] = 1.0,
    ties: Annotated[str, typer.Option(help="events of a device at one time: auto, together or in_order")] = "auto",
    group: Annotated[str | None, typer.Option(help="column of the log that groups devices")] = None,
    lists: Annotated[
        bool, typer.Option(help="also diversity, novelty, coverage, churn and the adaptation curve")
    ] = True,
    negatives: Annotated[int | None, typer.Option(help="rank among so many sampled items; see --allow-sampled")] = None,
    allow_sampled: Annotated[
        bool, typer.Option("--allow-sampled", help="sampled figures, though they can order arms wrongly")
    ] = False,
    despite_leaks: Annotated[
        bool, typer.Option("--despite-leaks", help="replay what the leakage guards would refuse")
    ] = False,
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    cohort_size: Cohort = None,
    dim: Dim = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="length of a list")] = 20,
    bootstrap: Annotated[int, typer.Option(min=100, help="resamples of an interval")] = 1000,
    jobs: Annotated[int, typer.Option(min=1, help="processes; the result is the same")] = 1,
    out: Annotated[Path | None, typer.Option(help="folder for parquet tables and replay.json")] = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Replay a log with federated rounds. With --out, Ctrl-C keeps what is done; the same command goes on."""
    opened = Dataset.open(dataset)
    if out is not None:
        check_replaceable(out, FILES)
        out.parent.mkdir(parents=True, exist_ok=True)
    given = find_recipe(recipe_name, opened.interactions(), validate=False)
    chosen = adjusted(given.recipe, rounds, cohort_size, dim, None)
    config = ReplayConfig(
        k=k,
        targets=_targets(targets),
        every_us=duration_us(every),
        cohort_size=chosen.train.cohort_size,
        start_us=None if start is None else parse_time(start),
        until_us=None if until is None else parse_time(until),
        sample=sample,
        ties=_ties(ties),
        lists=lists,
        group=group,
        negatives=negatives,
        allow_sampled=allow_sampled,
        bootstrap=bootstrap,
        seed=seed,
    )
    chosen_arms = [_own(arm) if ":" in arm else arm for arm in _words(arms)]
    others = [arm for arm in chosen_arms if not isinstance(arm, str)]
    inspection = inspect_replay(opened, others, config, ContinualTrainer(chosen.train, seed))
    for warning in refuse_leaks(inspection, despite=despite_leaks):
        errors.print(warning, highlight=False, markup=False)
    work = None if out is None else out.with_name(f".{out.name}.replay")
    if work is not None and work.exists():
        errors.print(f"going on from {work}", highlight=False)
    began = time.process_time()
    with progress("events replayed", opened.log.height) as bar:
        try:
            replayed = replay(
                opened,
                chosen_arms,
                config,
                settings=chosen,
                jobs=jobs,
                work=work,
                on_period=lambda done, _: bar.update(TaskID(0), completed=done),
            )
        except KeyboardInterrupt:
            if work is not None:
                errors.print(f"stopped; saved to {work}: the same command goes on from there", highlight=False)
            raise
    if out is not None:
        replayed.write(out)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = time.process_time() - began + sum(usage[1][:2])
    cost = {
        "cpu_s": round(cpu, 2),
        "events_per_cpu_s": round(replayed.protocol["scored_events"] / max(cpu, 1e-9)),
        "peak_gb": round(max(used.ru_maxrss for used in usage) / 1e6, 3),
    }
    if as_json:
        print_json(
            replayed.to_dict()
            | {"recipe": given.base, "out": None if out is None else str(out), "run": cost}
            | {"leakage": inspection.to_dict()}
        )
        return
    for target in config.targets:
        console.print(summary_table(replayed, target))
    protocol = replayed.protocol
    console.print(
        f"{protocol['scored_events']:,} of {protocol['n_events']:,} events scored, {protocol['bundles']} bundles, full "
        f"ranking of what was known; {cost['events_per_cpu_s']:,} events per CPU-second"
        + (f"; tables in {out}" if out else ""),
        highlight=False,
    )


def summary_table(replayed: Replay, target: str) -> Table:
    """Make a table of arms × metrics of one target, with intervals."""
    rows = replayed.cuts.filter(target=target, cut="all")
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    table = Table(title=f"{target}: mean over users and 95 % interval", title_justify="left")
    table.add_column("arm", no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right")
    for arm in replayed.arms:
        cells: list[str] = []
        for value, low, high in rows.filter(arm=arm).select("value", "low", "high").rows():
            cells.append(f"{value:.3f}\n[dim]{low:.3f}-{high:.3f}[/dim]".replace("0.", "."))
        table.add_row(arm, *cells)
    return table


def duration_us(text: str) -> int:
    """Parse 30m, 12h, 1d or 2w to microseconds.

    Raises DataError for anything else.

    >>> duration_us("12h")
    43200000000
    """
    match = re.fullmatch(r"(\d+)([mhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise DataError(f"every={text!r}: must be a whole number of m, h, d or w, such as 1d")
    return int(match[1]) * _UNITS[match[2]] * 1_000_000


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _targets(text: str) -> tuple[Target, ...]:
    words: Any = tuple(_words(text))  # ReplayConfig says which are known
    return words  # type: ignore[no-any-return]


def _ties(text: str) -> Ties:
    word: Any = text
    return word  # type: ignore[no-any-return]


def _own(arm: str) -> Any:
    """Import the Python object MODULE:NAME; looked for in the folder the command is run in too."""
    module, _, name = arm.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise DataError(f"arm={arm!r}: must be MODULE:NAME ({type(error).__name__}: {error})") from error
