"""`ownshelf experiment run`: an experiment rehearsed on a log, before any shopper is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.progress import TaskID

from data.errors import DataError
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import read_experiment
from serving.cli.experiments.experiment_report import Out, words_of
from serving.cli.experiments.service_commands import File
from serving.cli.output import console, print_json, progress

Json = Annotated[bool, typer.Option("--json", help="machine-readable JSON on stdout")]
Seed = Annotated[int, typer.Option(min=0, help="seed of every draw")]
RecipeName = Annotated[str, typer.Option("--recipe", help="auto, purchases, sessions or ratings")]
Rounds = Annotated[int | None, typer.Option(min=0, help="rounds of training of the lists' model")]
On = Annotated[str, typer.Option("--on", metavar="DATASET", help="folder made by ingest, or sample:NAME")]
Epsilon = Annotated[str | None, typer.Option(help="instead of the definition's ε: a number, or off")]


def run(
    file: File,
    on: On,
    lift: Annotated[
        float, typer.Option(help="how much more often happens what only the arm's list held; 0 is an A/A")
    ] = 0.2,
    epsilon: Epsilon = None,
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Rehearse an experiment on a log: the live code from assignment to verdict, with simulated answers."""
    from data.dataset import Dataset
    from federation.lab.recipe_file import find_recipe
    from federation.lab.rehearsal import rehearse_on
    from recsys.experiments.analysis.verdict_report import write_report

    experiment = with_epsilon(read_experiment(file), epsilon)
    dataset = Dataset.open(on)
    chosen = find_recipe(recipe_name, dataset.interactions(), validate=False).recipe
    if rounds is not None:
        chosen = replace(chosen, train=replace(chosen.train, rounds=rounds))
    with progress("federated rounds", chosen.train.all_rounds) as bar:

        def on_progress(stage: str, done: int, total: int) -> None:
            bar.update(TaskID(0), description=stage, completed=done, total=total)

        rehearsal = rehearse_on(
            dataset,
            experiment,
            chosen,
            lift=lift,
            seed=seed,
            on_round=lambda _: bar.advance(TaskID(0)),
            on_progress=on_progress,
        )
    shown = rehearsal.to_dict()
    if out is not None:
        write_report(shown, out)
    if as_json:
        print_json(shown)
    else:
        console.print("\n".join(lines_of(shown)), highlight=False, markup=False, soft_wrap=True)


def with_epsilon(experiment: Experiment, epsilon: str | None) -> Experiment:
    """Change the experiment's ε; "off" is none. Raises DataError for what is no number."""
    if epsilon is None:
        return experiment
    try:
        value = None if epsilon == "off" else float(epsilon)
    except ValueError:
        raise DataError(f"epsilon={epsilon!r}: must be a number, or off") from None
    return replace(experiment, privacy=replace(experiment.privacy, epsilon=value))


def lines_of(shown: dict[str, Any]) -> list[str]:
    """Say in a few lines what a rehearsal says."""
    about = shown["rehearsal"]
    exposed = ", ".join(f"{arm} {n:,}" for arm, n in about["exposed"].items())
    lines = [f"rehearsed on {about['dataset']}, lift {about['lift']:g}, seed {about['seed']}; came in: {exposed}"]
    lines += words_of(shown)
    lines += [
        f"simulated truth of {entry['metric']}, {entry['arm']}: "
        + (f"{entry['effect']:+.4g}" if entry["relative"] is None else f"{entry['relative']:+.1%}")
        for entry in about["truth"]
    ]
    return [*lines, "assumed, not measured:", *(f"- {entry}" for entry in about["assumptions"])]
