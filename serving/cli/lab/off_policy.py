"""`ownshelf off-policy`: what another policy would have earned, from a log of what was shown with which chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.markup import escape
from rich.table import Table

from data.atomic import write_atomically
from data.errors import DataError
from data.log_reading.recognition import AUTO
from data.logged_feedback import LoggedFeedback, open_logged_feedback, read_logged_feedback
from recsys.evaluation.statistics import RESAMPLES
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.policy_plot import plot_off_policy
from recsys.off_policy.policy_report import evaluate_policy
from serving.cli.output import console, errors, jsonable, print_json
from serving.cli.pairs import pairs


def off_policy_command(
    log: Annotated[str, typer.Argument(metavar="LOG", help="csv, parquet or jsonl file, or sample:open-bandit")],
    policy: Annotated[
        str,
        typer.Option(help="uniform, a policy that the log names, or a file of item, slot, probability"),
    ],
    logged_by: Annotated[str | None, typer.Option(help="estimate from this policy's rounds; needed if several")] = None,
    against: Annotated[
        str | None, typer.Option(help="compare with this policy on the same rounds; default: what was live")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE of a context column, repeatable")] = None,
    estimators: Annotated[str, typer.Option(help="of ips, snips, clipped, dr, replay")] = "ips,snips,clipped,dr",
    interval: Annotated[str, typer.Option(help="bootstrap or asymptotic")] = "bootstrap",
    resamples: Annotated[int, typer.Option(min=100, help="resamples of the bootstrap")] = RESAMPLES,
    reward_bound: Annotated[
        float | None, typer.Option(help="no item earns more than this on average; narrows what clipped may miss")
    ] = None,
    preset: Annotated[str, typer.Option("--format", help="auto, generic or open-bandit")] = AUTO,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="item= reward= propensity= slot= user= policy=COLUMN, repeatable")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for off-policy.json, its plot and estimates.parquet")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable JSON on stdout")] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of every draw")] = 0,
) -> None:
    """Estimate a policy from the log of another one; refused where the log says too little about it."""
    named = pairs("--map", mapping)
    if log.startswith("sample:"):
        if named or preset != AUTO:
            raise DataError(f"{log}: its columns are known; leave --map and --format out")
        whole = open_logged_feedback(log)
    else:
        whole = read_logged_feedback(log, preset=preset, mapping=named)
    whole = _part(whole, pairs("--where", where))
    rounds, target, logged_policy = _chosen(whole, policy, logged_by)
    report = evaluate_policy(
        rounds,
        target,
        [name for name in estimators.split(",") if name],
        against=None if against is None else _named(whole, rounds, against)[0],
        own_log=logged_policy,
        interval=interval,
        resamples=resamples,
        reward_bound=reward_bound,
        seed=seed,
    )
    result = jsonable(report.to_dict())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "off-policy.json", (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
        report.to_frame().write_parquet(out / "estimates.parquet")
        plot_off_policy(result, out / "off-policy.png")
    if as_json:
        print_json(result)
    else:
        _show(result)


def _part(log: LoggedFeedback, wanted: dict[str, str]) -> LoggedFeedback:
    for column, value in wanted.items():
        contexts = [name for name in log.rounds.columns if not name.endswith("_idx") and name != "line"]
        if column not in contexts:
            raise DataError(f"--where {column}={value}: the log has {', '.join(contexts)}")
        log = log.where(pl.col(column).cast(pl.String) == value)
    return log


def _chosen(
    log: LoggedFeedback, policy: str, logged_by: str | None
) -> tuple[LoggedFeedback, SlotPolicy, LoggedFeedback | None]:
    """Choose the rounds to estimate from, the policy, and the policy's own rounds where the log has them."""
    _check_known(log, policy)
    others = [name for name in log.policies if name != policy]
    if logged_by is None and len(others) > 1:
        raise DataError(f"--logged-by: the log has rounds of {', '.join(others)}; say whose to estimate from")
    logged_by = others[0] if logged_by is None and others else logged_by
    rounds = log.of_policy(logged_by) if logged_by is not None else log
    if policy == logged_by:
        raise DataError(f"--logged-by={policy}: is the policy itself, whose mean needs no estimate")
    return rounds, *_named(log, rounds, policy)


def _check_known(log: LoggedFeedback, policy: str) -> None:
    """Check a policy's name; raises DataError for one that is neither named nor a file."""
    if policy not in ("uniform", *log.policies) and not Path(policy).is_file():
        known = ", ".join(["uniform", *log.policies])
        raise DataError(f"policy={policy}: must be one of {known}, or a csv or parquet file; there is no such file")


def _named(log: LoggedFeedback, rounds: LoggedFeedback, policy: str) -> tuple[SlotPolicy, LoggedFeedback | None]:
    """Find a policy by its name or file, and its own rounds where the log has them."""
    if policy in log.policies:
        logged = log.of_policy(policy)
        return SlotPolicy.frequencies(logged, policy), logged
    if policy == "uniform":
        return SlotPolicy.uniform(rounds), None
    _check_known(log, policy)
    path = Path(policy)
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"policy={policy}: not readable: {str(error).splitlines()[0]}") from None
    return SlotPolicy.from_frame(frame, rounds, path.stem), None


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['policy']}, from {result['log']}", title_justify="left")
    for name in ("", "reward a round", "95 % interval", "rests on"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    rows = [
        ("what was live", result["logged"]),
        *((estimate["estimator"], estimate) for estimate in result["estimates"]),
    ]
    if result["on_policy"]:
        rows.append((f"{result['policy']} in its own log", result["on_policy"]))
    for name, estimate in rows:
        label = name if estimate["clip"] is None else f"{name}, weights ≤ {estimate['clip']:.3g}"
        interval = f"{estimate['low']:.5f} - {estimate['high']:.5f}"
        table.add_row(label, f"{estimate['value']:.5f}", interval, f"{estimate['rewarded']:,} rewards")
    console.print(table)
    overlap = result["overlap"]
    console.print(
        f"{result['rounds']:,} rounds, resampled by {result['unit']}; {overlap['effective_rounds']:,.0f} effective, "
        f"largest weight {overlap['max_weight']:.3g}, mean weight {overlap['mean_weight']:.3f} ± "
        f"{overlap['mean_weight_error']:.3f}",
        highlight=False,
    )
    for warning in result["warnings"]:
        errors.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
    console.print(result["verdict"], highlight=False)
