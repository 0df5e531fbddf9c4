"""Commands of the laboratory: train, evaluate. Bodies parse, call one function and print."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.progress import TaskID

from data.atomic import check_replaceable
from data.dataset import Dataset
from data.errors import DataError, ModelError
from data.interactions import Interactions
from data.split import known_at, parse_time
from federation.lab.column_weights import choose_column_weights
from federation.lab.comparison import compare_models
from federation.lab.defaults import protocol_for, protocol_of, with_private_half_life
from federation.lab.folds import Folds
from federation.lab.mixing import participations_of, shipped_mix
from federation.lab.publish import publish, shipped_surfaces
from federation.lab.questions import Question, question
from federation.lab.recipe_file import find_recipe
from federation.lab.recipes import Recipe, privately, statistics_noise
from federation.lab.result_cache import ResultCache
from federation.lab.selection import TABLES_OF_SELECT, select
from federation.simulation.learning_curve import RoundRecord, last_rounds, mean_holdout, rounds_of
from federation.simulation.strategy import parse_strategy
from federation.simulation.training import Training
from federation.simulation.training import train as train_federatedly
from recsys.catalogue.bundle import BUNDLE_FILES, Bundle
from recsys.leakage import Inspection, Setup, inspect, refuse_leaks
from recsys.lists.placements.placement import NO_PLACEMENTS
from recsys.lists.placements.placements_file import check_against, read_placements
from recsys.mix.mix_tables import attributes_of
from recsys.mix.model import MixModel
from recsys.model.items import INTENT, TASTE
from recsys.reports.plots import plot_models, plot_training
from serving.cli.lab.evaluation import models_asked, parse_target, print_evaluation
from serving.cli.output import console, errors, jsonable, print_json, progress

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="folder made by ingest, or sample:NAME")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable JSON on stdout")]
Seed = Annotated[int, typer.Option(min=0, help="seed of every draw; the same bytes again on the same machine")]
RecipeName = Annotated[str, typer.Option("--recipe", help="auto, purchases, sessions, ratings, or a file made by tune")]
Rounds = Annotated[int | None, typer.Option(min=0, help="rounds of training")]
Cohort = Annotated[int | None, typer.Option(min=1, help="devices asked per round, at most")]
Dim = Annotated[int | None, typer.Option(min=1, help="width of an item embedding")]
StrategyName = Annotated[str | None, typer.Option("--strategy", help="profile, global, local or fine-tune")]
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", help="simulate the noise of both parties for this lifetime ε of a device"),
]
Delta = Annotated[float, typer.Option(help="δ beside --epsilon")]
Select = Annotated[
    bool, typer.Option("--select", help="choose λ, α and profile settings by federated cross-validation")
]


def train_command(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="bundle folder to write")],
    until: Annotated[str | None, typer.Option(help="train on events before this ISO time")] = None,
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    cohort_size: Cohort = None,
    dim: Dim = None,
    strategy: StrategyName = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    choose: Select = False,
    placements: Annotated[
        Path | None, typer.Option(help="placements.yaml, which the bundle carries to service and devices")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace the bundle if it exists")] = False,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Train item embeddings federatedly over simulated devices. Ctrl-C saves; the same command goes on from there."""
    opened = Dataset.open(dataset)
    log = opened.interactions()
    if out.exists() and not overwrite:
        raise ModelError(f"{out}: exists already; choose another folder or pass --overwrite")
    check_replaceable(out, BUNDLE_FILES)
    saved = NO_PLACEMENTS if placements is None else read_placements(placements)
    check_against(saved, opened.catalogue)
    out.parent.mkdir(parents=True, exist_ok=True)  # now, not after the training
    at = parse_time(until) if until else int(log.time.max()) + 1
    known = known_at(log, at)
    noise = 0.0 if epsilon is None else statistics_noise(epsilon, delta)
    given = find_recipe(recipe_name, known, seed=seed, noise=noise)
    name, spent = given.base, given.participations
    chosen = adjusted(given.recipe, rounds, cohort_size, dim, strategy)
    selection = out.with_name(f".{out.name}.selection")
    if choose:
        chosen, more = selected(known, name, chosen, seed, ResultCache(selection))
        spent += more
    if epsilon is not None:
        chosen = privately(chosen, epsilon=epsilon, delta=delta, n_devices=int((known.counts > 0).sum()))
        chosen = with_private_half_life(chosen, known, at, seed=seed)
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    trained = train_with_progress(known, chosen, seed=seed, now=at, checkpoint=checkpoint)
    reasons = list(given.about.get("reasons", []))
    if recipe_name in ("auto", name) and epsilon is None:  # a file's weights are what its user wants
        columns = choose_column_weights(trained, chosen.serve, known)
        chosen = replace(chosen, serve=columns.config)
        reasons += [columns.reason] if columns.reason else []
    mix = shipped_mix(known, at, chosen, trained.table, seed=seed, attributes=attributes_of(opened.catalogue))
    surfaces = shipped_surfaces(known, chosen, opened.catalogue)
    bundle = publish(
        out, opened, trained, chosen, now=at, mix=mix, surfaces=surfaces, placements=saved,
        selection_participations=spent, overwrite=overwrite,
    )  # fmt: skip
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(selection, ignore_errors=True)
    report = training_report(trained, mix)
    plot_training(report["records"], out.with_name(f"{out.name}-training.png"))
    summary = {
        "bundle": str(out),
        "version": bundle.version,
        "recipe": name,
        "reasons": reasons,
        "selection_participations": spent,
    } | report
    if as_json:
        print_json(summary)
    else:
        last = trained.records[-1] if trained.records else None
        for reason in reasons:
            console.print(reason, highlight=False, markup=False)
        console.print(f"bundle {bundle.version} of {bundle.name}: {out}", highlight=False)
        if last is not None:
            console.print(
                f"{len(trained.records)} rounds{of_parts(report)}, "
                f"at most {report['max_participations']} participations a device, "
                f"hold-out NDCG@20 {figure(report['holdout_ndcg'])} (training devices {figure(report['train_ndcg'])})",
                highlight=False,
            )
        console.print(f"serve it: ownshelf serve {out}", highlight=False)


def evaluate_command(
    dataset: DatasetArgument,
    split_at: Annotated[
        str | None, typer.Option(help="ISO time: train before, test after; default: last fifth")
    ] = None,
    protocol: Annotated[str, typer.Option(help="auto, temporal, sessions or leave-last-out")] = "auto",
    given: Annotated[float | None, typer.Option(help="sessions: share of a session that is known; default 0.5")] = None,
    recipe_name: RecipeName = "auto",
    rounds: Rounds = None,
    cohort_size: Cohort = None,
    dim: Dim = None,
    strategy: StrategyName = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    choose: Select = False,
    bundle: Annotated[Path | None, typer.Option(help="evaluate this bundle's table instead of training one")] = None,
    models: Annotated[str, typer.Option(help="comma-separated names; default all but fine_tune, ease and ials")] = "",
    baselines: Annotated[str, typer.Option(help="more models beside the default ones: ease, ials, fine_tune")] = "",
    target: Annotated[str, typer.Option(help="kind of event to foretell: any, purchase, cart, view, like")] = "any",
    k: Annotated[int, typer.Option(min=1, max=1000, help="length of a list")] = 20,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="rank among so many random items, as published tables do")
    ] = None,
    accept_sampled: Annotated[
        bool, typer.Option("--accept-sampled-metrics", help="with --negatives: know that they can order models wrongly")
    ] = False,
    despite_leaks: Annotated[
        bool, typer.Option("--despite-leaks", help="evaluate a set-up that knows the future of its test")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="folder for evaluation.json, its plots and per-user-free tables")
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Train, then compare personalized with global models on what came later; full ranking, intervals over users."""
    if choose and bundle is not None:
        raise ModelError("--select: chooses settings of a training, and --bundle trains nothing; leave one of them out")
    opened = Dataset.open(dataset)
    log = opened.interactions()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # now, not after the training
    loaded = None
    if bundle is not None:
        loaded = Bundle.load(bundle)
        log = on_items_of(loaded, opened, log)
    if negatives is not None and not accept_sampled:
        raise ModelError(
            f"negatives={negatives}: sampled metrics can order models differently from full ranking; "
            "leave it out, or pass --accept-sampled-metrics to repeat a published table"
        )
    kind = protocol_of(protocol, log)
    if given is not None and kind != "sessions":
        raise DataError(f"--given={given:g}: is for the protocol sessions, and this is {kind}; leave it out")
    if split_at is not None and kind == "leave-last-out":
        raise DataError(f"--split-at={split_at}: leave-last-out has no moment of a split; leave it out")
    share = 0.5 if given is None else given
    test_question = question(log, kind, parse_time(split_at) if split_at else None, share, parse_target(target))
    noise = 0.0 if epsilon is None else statistics_noise(epsilon, delta)
    settled = find_recipe(recipe_name, test_question.split.train, seed=seed, noise=noise)
    name = settled.base
    chosen = adjusted(settled.recipe, rounds, cohort_size, dim, strategy)
    table, mix = (None, None) if loaded is None else (loaded.table, loaded.mix)
    chosen = chosen if loaded is None else replace(chosen, serve=loaded.config)
    inspection = inspect_question(test_question, log, loaded)
    for warning in refuse_leaks(inspection, despite=despite_leaks):
        errors.print(warning, highlight=False, markup=False)
    if choose:
        chosen, _ = selected(test_question.split.train, name, chosen, seed)
    if epsilon is not None:
        devices = int((test_question.split.train.counts > 0).sum())
        chosen = privately(chosen, epsilon=epsilon, delta=delta, n_devices=devices)
        chosen = with_private_half_life(chosen, test_question.split.train, test_question.now, seed=seed)
    with progress("federated rounds", chosen.train.all_rounds) as bar:
        compared = compare_models(
            test_question,
            chosen,
            seed=seed,
            k=k,
            models=models_asked(models, baselines),
            table=table,
            n_negatives=negatives,
            attributes=attributes_of(opened.catalogue),
            mix=mix,
            on_round=lambda _: bar.advance(TaskID(0)),
        )
    result = jsonable(compared.to_dict() | {"dataset": opened.name, "recipe": name})
    result["reasons"] = list(settled.about.get("reasons", []))
    result["serve"] = jsonable(asdict(chosen.serve))
    result["leakage"] = jsonable(inspection.to_dict())
    if out is not None:
        write_evaluation(out, result, compared.evaluation.to_frame(), f"ndcg@{k}")
    if as_json:
        print_json(result)
    else:
        print_evaluation(result, f"ndcg@{k}")


def inspect_question(question: Question, log: Interactions, bundle: Bundle | None) -> Inspection:
    """Inspect what `evaluate` is about to do by the leakage guards; a bundle says until when it learned."""
    setup = Setup.of(question.split, log=log, histories=question.histories)
    until = None if bundle is None else bundle.manifest["training"].get("until")
    return inspect(replace(setup, trained_until=until))


def on_items_of(bundle: Bundle, dataset: Dataset, log: Interactions) -> Interactions:
    """Put the log on the bundle's items. A dataset that grew since may have more; their events are left out."""
    n = bundle.table.n_items
    if list(dataset.catalogue["item_id"][:n]) != list(bundle.catalogue["item_id"]):
        raise ModelError(
            f"bundle {bundle.version}: its items are not the first {n} of {dataset.name}; another log's bundle"
        )
    return replace(log.where(log.item_idx < n), n_items=n)


def adjusted(
    base: Recipe, rounds: int | None, cohort_size: int | None, dim: int | None, strategy: str | None
) -> Recipe:
    """Set the recipe's settings given on the command line."""
    train = base.train
    train = train if rounds is None else replace(train, rounds=rounds)
    train = train if cohort_size is None else replace(train, cohort_size=cohort_size)
    train = train if dim is None else replace(train, dim=dim)
    train = train if strategy is None else replace(train, strategy=parse_strategy(strategy))
    return replace(base, train=train)


def selected(
    log: Interactions, name: str, start: Recipe, seed: int, cache: ResultCache | None = None
) -> tuple[Recipe, int]:
    """Select a recipe on the log itself, its last fifth held out.

    Beside it, what that cost in participations of a device.
    """
    folds = Folds(log, protocol_for(log), seed=seed)
    with progress("federated cross-validation", TABLES_OF_SELECT * len(folds)) as bar:
        try:
            best, stages = select(folds, start, seed=seed, cache=cache, on_step=lambda: bar.advance(TaskID(0)))
        except KeyboardInterrupt:
            if cache is not None:
                errors.print(f"stopped; kept in {cache.folder}: the same command goes on from there", highlight=False)
            raise
    return best, sum(stage.participations for stage in stages)


def train_with_progress(log: Interactions, chosen: Recipe, *, seed: int, now: int, checkpoint: Path | None) -> Training:
    """Train federatedly with a bar on stderr."""
    resumed = checkpoint is not None and checkpoint.exists()
    if resumed:
        errors.print(f"going on from {checkpoint}", highlight=False)
    with progress("federated rounds", chosen.train.all_rounds) as bar:

        def tell(record: RoundRecord) -> None:
            bar.update(TaskID(0), completed=record.round + 1)

        try:
            return train_federatedly(log, chosen.train, seed=seed, now=now, checkpoint=checkpoint, on_round=tell)
        except KeyboardInterrupt:
            errors.print(f"stopped; saved to {checkpoint}: the same command goes on from there", highlight=False)
            raise


def training_report(trained: Training, mix: MixModel | None) -> dict[str, Any]:
    """Report curves and counts of a training as JSON: its end figures are means of the last smoothing window."""
    window = last_rounds(trained.records, trained.config.smoothing)
    participations = participations_of(trained, mix)
    learned = [record.train_ndcg for record in window if record.train_ndcg == record.train_ndcg]
    return {
        "rounds": rounds_of(trained.records, TASTE),
        "intent_rounds": rounds_of(trained.records, INTENT),
        "best_round": trained.best_round,
        "max_participations": participations,
        "privacy": None if trained.config.privacy is None else trained.config.privacy.statement(participations),
        "holdout_ndcg": jsonable(mean_holdout(window)),
        "train_ndcg": sum(learned) / len(learned) if learned else None,
        "records": [jsonable(asdict(record)) for record in trained.records],
    }


def of_parts(report: dict[str, Any]) -> str:
    """Say which rounds were of the taste and which of the intent, where there were both."""
    return (
        f" ({report['rounds']} of the taste, {report['intent_rounds']} of the intent)"
        if report["intent_rounds"]
        else ""
    )


def figure(value: float | None) -> str:
    """Write three decimals, or that there is no figure."""
    return "not measured" if value is None else f"{value:.3f}"


def write_evaluation(out: Path, result: dict[str, Any], table: pl.DataFrame, metric: str) -> None:
    """Write evaluation.json, models.parquet and the plots, in a folder that is there."""
    (out / "evaluation.json").write_text(json.dumps(result, indent=1))
    table.write_parquet(out / "models.parquet")
    plot_models(result, out / "models.png", metric)
    if result["training"]["records"]:
        plot_training(result["training"]["records"], out / "training.png")
