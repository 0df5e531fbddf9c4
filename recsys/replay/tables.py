"""From what every period left to the tables of a Replay. Asks nothing and ranks nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from data.dataset import Dataset
from data.errors import ModelError
from data.split import iso
from recsys.replay.answering import LIST_FIGURES
from recsys.replay.cuts import Facts, cut_questions
from recsys.replay.figures import ScoredQuestions, cut_table
from recsys.replay.listing import BundleLists, adaptation_table, list_table
from recsys.replay.questions import Log
from recsys.replay.result import Replay
from recsys.replay.settings import ReplayConfig
from recsys.replay.taste_changes import Changes
from recsys.replay.trainer import Arrays

ROUND_ROWS = pl.Schema(
    {
        "bundle": pl.Int32(),
        "time": pl.Datetime("us", "UTC"),
        "active": pl.Int64(),
        "cohort": pl.Int64(),
        "max_participations": pl.Int64(),
        "candidates": pl.Int64(),
        "events": pl.Int64(),
        "moments": pl.Int64(),
    }
)


@dataclass(frozen=True, eq=False)
class PeriodResult:
    """The results of one period.

    round: a row of ROUND_ROWS, its time in µs; candidates, head: (n_items,) bool; part: arrays of its answers
    (recsys/replay/answering.py), list.user and look added.
    """

    round: tuple[int, ...]
    candidates: npt.NDArray[np.bool_]
    head: npt.NDArray[np.bool_]
    part: Arrays = field(repr=False)


def make_tables(
    dataset: Dataset,
    log: Log,
    facts: Facts,
    changes: Changes,
    config: ReplayConfig,
    arms: tuple[str, ...],
    trainer: str | None,
    periods: list[PeriodResult],
) -> Replay:
    """Make the tables of a finished replay. trainer: its identity. Raises ModelError when nothing could be scored."""
    chance = {"resamples": config.bootstrap, "seed": config.seed}
    scored = tuple(_collect_scored(target, log, periods) for target in config.targets)
    if not any((questions.relevant > 0).any() for questions in scored):
        n_questions = sum(len(questions.row) for questions in scored)
        raise ModelError(
            f"replay: no list could have been right at any of {n_questions:,} moments: "
            "nothing that followed is of an item "
            "that had occurred when its bundle was made. Items that occur once, as orders or listings do, cannot be "
            "foretold; ingest what they have in common, such as a product, as the item"
        )
    tables = [
        cut_table(
            questions,
            cut_questions(log, facts, questions.row, questions.past, questions.head),
            log.user[questions.row],
            arms,
            config.k,
            **chance,
        )
        for questions in scored
    ]
    looked = [left.part for left in periods if "share" in left.part]
    look = np.concatenate([part["look"] for part in looked] or [np.empty(0, np.int64)]).astype(np.int64)
    share = np.concatenate([part["share"] for part in looked] or [np.empty((0, len(arms)))]).astype(np.float64)
    rounds = pl.DataFrame([left.round for left in periods], schema={**ROUND_ROWS, "time": pl.Int64()}, orient="row")
    return Replay(
        protocol=_protocol(dataset, log, changes, config, arms, trainer, scored, len(periods)),
        arms=arms,
        cuts=pl.concat([cuts for cuts, _ in tables]),
        comparisons=pl.concat([compared for _, compared in tables]),
        rounds=rounds.with_columns(pl.col("time").cast(ROUND_ROWS["time"])),
        lists=list_table(_shelves(periods), arms, config.k, **chance),
        adaptation=adaptation_table(
            changes, look, log.user[changes.moment[look]].astype(np.int64), share, arms, **chance
        ),
        scored=scored,
        dataset=dataset,
        log=log,
        facts=facts,
    )


def _shelves(periods: list[PeriodResult]) -> list[BundleLists]:
    return [
        BundleLists(
            number=left.round[0],
            begin=left.round[1],
            user=left.part["list.user"].astype(np.int64),
            figures={name: left.part[f"list.{name}"].astype(np.float64) for name in LIST_FIGURES},
            exposure=left.part["exposure"].astype(np.int64),
            candidates=left.candidates,
        )
        for left in periods
        if "list.user" in left.part
    ]


def _collect_scored(target: str, log: Log, periods: list[PeriodResult]) -> ScoredQuestions:
    """Collect all questions of a target. Takes its arrays out of the parts, so that they are held once."""
    there = [left for left in periods if f"row.{target}" in left.part]
    if not there:
        raise ModelError(f"target={target}: the log has nothing of it to ask about between start and until")
    sizes = [len(left.part[f"row.{target}"]) for left in there]
    arrays = {
        name: np.concatenate([left.part.pop(f"{name}.{target}") for left in there])
        for name in ("row", "past", "relevant", "rank", "gain", "recall")
        if f"{name}.{target}" in there[0].part
    }
    row = arrays["row"].astype(np.int64, copy=False)
    head = None
    if target == "next_item":
        head = np.empty(len(row), dtype=np.bool_)
        ends = np.cumsum([0, *sizes])
        for left, start, stop in zip(there, ends[:-1], ends[1:], strict=True):
            head[start:stop] = left.head[log.events.item_idx[row[start:stop]]]
    return ScoredQuestions(
        target=target,
        row=row,
        bundle=np.repeat(np.array([left.round[0] for left in there], dtype=np.int32), sizes),
        past=arrays["past"].astype(np.int32, copy=False),
        relevant=arrays["relevant"].astype(np.int32, copy=False),
        head=head,
        rank=arrays["rank"].astype(np.int32, copy=False),
        gain=arrays["gain"].astype(np.float64, copy=False) if "gain" in arrays else None,
        recall=arrays["recall"].astype(np.float64, copy=False) if "recall" in arrays else None,
    )


def _protocol(
    dataset: Dataset,
    log: Log,
    changes: Changes,
    config: ReplayConfig,
    arms: tuple[str, ...],
    trainer: str | None,
    scored: tuple[ScoredQuestions, ...],
    bundles: int,
) -> dict[str, object]:
    """Describe the settings of a replay, in JSON values."""
    events = log.events
    settings = asdict(config) | {
        "start": None if config.start_us is None else iso(config.start_us),
        "until": None if config.until_us is None else iso(config.until_us),
        "ties": "in_order" if log.in_order else "together",
        "targets": list(config.targets),
    }
    fields = (
        "k",
        "targets",
        "every_us",
        "start",
        "until",
        "sample",
        "ties",
        "group",
        "cohort_size",
        "bootstrap",
        "seed",
    )
    return {
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "arms": list(arms),
        "ranking": "full" if config.negatives is None else f"among {config.negatives} sampled items",
        **{name: settings[name] for name in fields},
        "bundles": bundles,
        "from": iso(int(events.time.min())),
        "to": iso(int(events.time.max())),
        "n_users": int((events.counts > 0).sum()),
        "n_items": events.n_items,
        "n_events": events.n_events,
        "scored_events": int(log.scored.sum()),
        "questions": {questions.target: len(questions.row) for questions in scored},
        "unlistable": {questions.target: int((questions.relevant == 0).sum()) for questions in scored},
        "changes_of_taste": changes.n_changes,
        "trainer": None if trainer is None else json.loads(trainer),
    }
