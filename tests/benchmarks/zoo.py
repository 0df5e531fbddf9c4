"""The default against every simple baseline on a zoo of logs: what a stranger's log may be like, and who wins there.

A member is one log with one change (zoo_members.py). The default is what `ownshelf evaluate` does when nobody says
anything: recipe and protocol from statistics of the train side. For each part the rival is the simple baseline that was
best on a hold-out *within* the train side; differences are paired over shoppers, p-values are Holm's over all pairs of
all members. Parts of fewer than 100 shoppers say nothing and are left out.

Two counts, each with a Holm of its own. `below_simple` is over all, new, repeat and cold. `repeat` asks only those who
came back for an item: the own counter, which gives all its places to own items, wins there and loses in `all`.
`below_simple_again` has `again`, where own items alone are ranked, in the place of `repeat`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from data.atomic import write_atomically
from data.errors import DataError, OwnshelfError
from federation.lab.comparison import compare_models
from federation.lab.defaults import protocol_for, settle
from federation.lab.questions import Question, question
from recsys.evaluation.baselines import item_knn, popularity, recent_popularity
from recsys.evaluation.conclusion import SIMPLE
from recsys.evaluation.evaluation import Evaluation, evaluate
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.statistics import holm, paired_difference
from recsys.evaluation.strong_baselines import EASE_AT_MOST, own_counter
from recsys.mix.transition_arm import transition
from serving.cli.output import jsonable
from tests.benchmarks.ml100k import cache_folder
from tests.benchmarks.zoo_members import Member, members

K = 20
PARTS = ("all", "new", "repeat", "again", "cold")
COUNTS = {"below_simple": ("all", "new", "repeat", "cold"), "below_simple_again": ("all", "new", "again", "cold")}
"""Counts of pairs, and the parts of each."""
FEWEST = 100
"""Shoppers of a part, for it to say anything."""
ASKED, ASKED_COLD = 1_200, 400
"""Shoppers that are asked in a member, with and without a history, at most."""
CENTRAL = ("ials", "item_knn", "ease")
LEVEL = 0.05
RESAMPLES = 20_000
"""Of a paired difference: p is at least 2 / (1 + RESAMPLES), which must stay small after Holm over some 200 pairs."""
ROOT = Path(__file__).resolve().parents[2]


def run(
    *,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
    members: str = "",
    kept: Path | None = None,
    zoo: Sequence[Member] = members(),
) -> dict[str, Any]:
    """`{"members", "below_simple", "above_central_share", "table": [...], "left_out": [...], "reasons": {...}}`.

    members: comma-separated names, or beginnings of names such as `retail:`; all by default. kept: folder of finished
    members, from which the same call goes on; by default one in the cache for the code as it is. zoo: what there is.
    """
    tell = say or (lambda _: None)
    wanted = [word for word in members.split(",") if word]
    chosen = [one for one in zoo if not wanted or any(one.name.startswith(word) for word in wanted)]
    if not chosen:
        raise OwnshelfError(f"members={members}: none of that name; there are {', '.join(one.name for one in zoo)}")
    folder = cache_folder() / "zoo" / code_digest() if kept is None else kept
    found, left_out = [], []
    for member in chosen:
        path = folder / f"{member.name.replace('/', 'by').replace(':', '-')}-{seed}.json"
        if path.exists():
            found.append(json.loads(path.read_text()))
            continue
        try:
            measured = measure(member, seed)
        except DataError as error:
            left_out.append({"member": member.name, "why": str(error)})
            tell(f"{member.name}: left out, {error}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(jsonable(measured), allow_nan=False).encode())
        found.append(json.loads(path.read_text()))
        tell(f"{member.name}: {_line(found[-1])}")
    return figures_of(found) | {"left_out": left_out, "seed": seed}


def code_digest() -> str:
    """sha256 (12 hex digits) of the code that a figure depends on."""
    known = hashlib.sha256()
    for house in ("data", "recsys", "federation"):
        for path in sorted((ROOT / house).rglob("*.py")):
            known.update(path.read_bytes())
    for name in ("zoo.py", "zoo_members.py", "ml100k.py", "instacart.py"):
        known.update((ROOT / "tests" / "benchmarks" / name).read_bytes())
    return known.hexdigest()[:12]


def measure(member: Member, seed: int = 0) -> dict[str, Any]:
    """All figures of one member, JSON values: means by model and part, and the paired difference to the rival."""
    start = time.process_time()
    log, at = member.load(seed)
    protocol = protocol_for(log)
    asked = some_shoppers(question(log, protocol, at), seed)
    settled = settle(asked.split.train, seed=seed)
    models = ["personalized", *SIMPLE, "ials"] + (["ease"] if log.n_items <= EASE_AT_MOST else [])
    compared = compare_models(
        asked, settled.recipe, seed=seed, k=K, models=models, bootstrap=2, attributes=member.attributes
    )
    rivals = best_on_holdout(asked, protocol, settled.recipe.train.trend_half_life, seed)
    rows = []
    for part in PARTS:
        means = _means(compared.evaluation, part)
        own = compared.evaluation.column("personalized", f"ndcg@{K}", part)
        if np.count_nonzero(~np.isnan(own)) < FEWEST:
            continue
        rival = rivals.get(part) or max((name for name in SIMPLE if name in means), key=lambda name: means[name])
        if rival not in means:
            continue
        pair = paired_difference(
            own, compared.evaluation.column(rival, f"ndcg@{K}", part), resamples=RESAMPLES, seed=seed
        )
        central = {name: means[name] for name in CENTRAL if name in means}
        rows.append(
            {
                "member": member.name,
                "part": part,
                "default": means["personalized"],
                "best_simple": means[rival],
                "best_simple_name": rival,
                "best_central": max(central.values()) if central else None,
                "best_central_name": max(central, key=lambda name: central[name]) if central else None,
                "difference": pair.difference,
                "ci95": [pair.low, pair.high],
                "p_value": pair.p_value,
                "users": pair.users,
                "held_out": member.held_out,
                "means": means,
            }
        )
    return {
        "member": member.name,
        "held_out": member.held_out,
        "protocol": protocol,
        "recipe": settled.name,
        "reasons": list(settled.reasons),
        "users": log.n_users,
        "items": log.n_items,
        "events": log.n_events,
        "rows": rows,
        "cpu_s": round(time.process_time() - start, 1),
    }


def some_shoppers(asked: Question, seed: int) -> Question:
    """Ask at most ASKED shoppers with a history and ASKED_COLD without; what is learned from stays the same."""
    test, rng = asked.split.test, np.random.default_rng([seed, 37])
    warm = asked.histories.counts > 0
    keep = np.zeros(test.n_users, dtype=np.bool_)
    for users, most in ((warm, ASKED), (~warm, ASKED_COLD)):
        keep[rng.permutation(np.flatnonzero(users & (test.counts > 0)))[:most]] = True
    return replace(asked, split=replace(asked.split, test=test.where(keep[test.user_idx])))


def best_on_holdout(asked: Question, protocol: str, half_life: float, seed: int) -> dict[str, str]:
    """Find the simple baseline that is best on a hold-out of the train side, part by part; none for a small part."""
    try:
        inner = some_shoppers(question(asked.split.train, protocol), seed)
    except DataError:
        return {}
    log, now = inner.split.train, inner.now
    arms: list[Recommender] = [
        popularity(log),
        replace(recent_popularity(log, now, half_life), name="global"),
        own_counter(log, now, half_life),
        item_knn(log),
        transition(log, now),
    ]
    figures = evaluate(arms, inner.split, histories=inner.histories, k=K, now=now, bootstrap=2)
    best = {}
    for part in PARTS:
        means = _means(figures, part)
        users = np.count_nonzero(~np.isnan(figures.column("global", f"ndcg@{K}", part)))
        if means and users >= FEWEST // 2:
            best[part] = max(means, key=lambda name: means[name])
    return best


def _means(figures: Evaluation, part: str) -> dict[str, float]:
    columns = {name: figures.column(name, f"ndcg@{K}", part) for name in figures.models}
    return {name: float(np.nanmean(column)) for name, column in columns.items() if not np.isnan(column).all()}


def figures_of(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The bench's figures from those of its members.

    below_simple, below_simple_again: pairs of member and part whose difference is below zero after Holm over all pairs
    of the count; a row says which counts it is in, and of each its p-value and whether it is below.
    above_central_share: of the members, those whose `all` is at least the best central figure.
    """
    rows = [dict(row) | {"p_holm": {}, "below": {}} for one in measured for row in one["rows"]]
    for name, parts in COUNTS.items():
        counted = [row for row in rows if row["part"] in parts]
        for row, p in zip(counted, holm([row["p_value"] for row in counted]), strict=True):
            row["p_holm"][name] = float(p)
            row["below"][name] = bool(p <= LEVEL and row["ci95"][1] < 0)
    above = [
        row["default"] >= row["best_central"]
        for row in rows
        if row["part"] == "all" and row["best_central"] is not None
    ]
    return {
        "members": len(measured),
        **{name: sum(row["below"].get(name, False) for row in rows) for name in COUNTS},
        "above_central_share": float(np.mean(above)) if above else None,
        "table": rows,
        "reasons": {one["member"]: one["reasons"] for one in measured},
        "cpu_s": round(sum(one["cpu_s"] for one in measured), 1),
    }


def is_below(row: Mapping[str, Any]) -> bool:
    """Whether a row is below the best simple baseline in any of the counts."""
    return any(row["below"].values())


def _line(measured: Mapping[str, Any]) -> str:
    parts = "; ".join(
        f"{row['part']} {row['default']:.3f} ({row['best_simple_name']} {row['best_simple']:.3f})"
        for row in measured["rows"]
    )
    return f"{parts}, {measured['cpu_s']} CPU-s"


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table for people."""
    table = Table(title=f"NDCG@{K}: default, best simple baseline, best central model", title_justify="left")
    for column in ("member", "part", "default", "best simple", "difference", "best central", "shoppers"):
        table.add_column(column)
    for row in figures["table"]:
        low, high = row["ci95"]
        style = "red" if is_below(row) else "green" if low > 0 else ""
        central = "-" if row["best_central"] is None else f"{row['best_central']:.3f} {row['best_central_name']}"
        table.add_row(
            row["member"] + (" *" if row["held_out"] else ""),
            row["part"],
            f"{row['default']:.3f}",
            f"{row['best_simple']:.3f} {row['best_simple_name']}",
            f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            central,
            str(row["users"]),
            style=style,
        )
    console.print(table)
    console.print(summary(figures), highlight=False)


def summary(figures: Mapping[str, Any]) -> str:
    """What the table comes to, in a line."""
    share = figures["above_central_share"]
    counts = [
        f"{figures[name]} of {sum(name in row['below'] for row in figures['table'])} pairs over {', '.join(parts)}"
        for name, parts in COUNTS.items()
    ]
    return (
        f"{figures['members']} members, below the best simple baseline: {'; '.join(counts)}. At or above the best "
        f"central model on {'none' if share is None else f'{share:.0%} of members'}. * held out from tuning"
    )


def markdown(figures: Mapping[str, Any]) -> str:
    """The table of docs/results.md."""
    lines = [
        summary(figures),
        "",
        "| member | part | default | best simple baseline | difference, 95 % | best central | shoppers |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["table"]:
        low, high = row["ci95"]
        mark = "**" if is_below(row) else ""
        central = "-" if row["best_central"] is None else f"{row['best_central']:.3f} {row['best_central_name']}"
        lines.append(
            f"| {row['member']}{' *' if row['held_out'] else ''} | {row['part']} | {mark}{row['default']:.3f}{mark} | "
            f"{row['best_simple']:.3f} {row['best_simple_name']} | "
            f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}] | {central} | {row['users']:,} |"
        )
    return "\n".join(lines) + "\n"


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """Each pair's difference with its interval, sorted, one panel a part."""
    figure, axes = plt.subplots(1, len(PARTS), figsize=(16, 9), constrained_layout=True)
    for axis, part in zip(axes, PARTS, strict=True):
        rows = sorted((row for row in figures["table"] if row["part"] == part), key=lambda row: row["difference"])
        place = np.arange(len(rows))
        middle = np.array([row["difference"] for row in rows])
        bounds = np.array([row["ci95"] for row in rows]).reshape(-1, 2)
        axis.hlines(place, bounds[:, 0], bounds[:, 1], color="0.7")
        colors = ["tab:red" if is_below(row) else "tab:blue" for row in rows]
        axis.scatter(middle, place, s=14, c=colors, marker="o")
        axis.axvline(0.0, color="black", linewidth=0.8)
        axis.set_yticks(place, [row["member"] + (" *" if row["held_out"] else "") for row in rows], fontsize=6)
        axis.set_title(f"{part}: default − best simple", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
