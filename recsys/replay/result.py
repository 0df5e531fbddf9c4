"""Replay: what came out, as tables; docs/replay.md describes every column. Nothing here runs a replay."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from data.atomic import atomic_folder, check_replaceable
from data.dataset import Dataset
from data.interactions import EventKind
from recsys.replay.cuts import Cut, Facts, cut_questions
from recsys.replay.figures import ScoredQuestions, metric_names, values
from recsys.replay.questions import Log
from recsys.replay.ranks import UNLISTED
from recsys.replay.report.replay_report import report_of

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
TABLES = ("events", "cuts", "comparisons", "rounds", "lists", "adaptation")
FILES = (*(f"{name}.parquet" for name in TABLES), "replay.json", "report.html")
_ROWS = 1 << 18


@dataclass(frozen=True, eq=False)
class Replay:
    """A finished replay.

    protocol: what was asked and how, JSON values only. arms: names, in the order of the tables. cuts, comparisons,
    rounds, lists, adaptation: polars frames. `events`, one row a question and arm, is made when it is asked for.
    """

    protocol: dict[str, Any]
    arms: tuple[str, ...]
    cuts: pl.DataFrame
    comparisons: pl.DataFrame
    rounds: pl.DataFrame
    lists: pl.DataFrame
    adaptation: pl.DataFrame
    scored: tuple[ScoredQuestions, ...]
    dataset: Dataset
    log: Log
    facts: Facts

    @cached_property
    def events(self) -> pl.DataFrame:
        """Every question and arm, in order of time; rows about single users: for the analyst's own machine."""
        return pl.concat(list(self._event_frames()))

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """All frames by name."""
        return {name: getattr(self, name) for name in TABLES}

    def to_pandas(self) -> dict[str, pd.DataFrame]:
        """Convert all tables to pandas frames, by name."""
        return {name: table.to_pandas() for name, table in self.tables.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return strict JSON.

        Its keys: protocol, summary (a row an arm and target), cuts but days, comparisons, lists, adaptation.
        """
        overall = self.cuts.filter(pl.col("cut") == "all")
        summary = []
        for (arm, target), rows in overall.group_by("arm", "target", maintain_order=True):
            entry: dict[str, Any] = {
                "arm": arm,
                "target": target,
                "users": rows["users"][0],
                "events": rows["events"][0],
            }
            entry |= dict(zip(rows["metric"], rows["value"], strict=True))
            entry["ci95"] = dict(zip(rows["metric"], rows.select("low", "high").rows(), strict=True))
            summary.append(entry)
        whole: dict[str, Any] = _plain(
            {
                "format": FORMAT,
                "protocol": self.protocol,
                "summary": summary,
                "comparisons": self.comparisons.filter(pl.col("cut") == "all").to_dicts(),
                "lists": self.lists.filter(pl.col("bundle").is_null()).drop("bundle", "time").to_dicts(),
                "adaptation": self.adaptation.to_dicts(),
                "cuts": self.cuts.filter(~pl.col("cut").is_in(["all", "day"])).to_dicts(),
            }
        )
        return whole

    def write(self, folder: Path | str) -> None:
        """Write a folder of parquet tables, replay.json and report.html, whole or not at all.

        An older replay is replaced.

        Raises DataError when something else is there. events.parquet is written bit by bit.
        """
        target = Path(folder)
        check_replaceable(target, FILES)
        with atomic_folder(target, overwrite=True) as fresh:
            frames = self._event_frames()
            first = next(frames).to_arrow()
            with pq.ParquetWriter(fresh / "events.parquet", first.schema, compression="zstd") as out:
                out.write_table(first)
                for frame in frames:
                    out.write_table(frame.to_arrow())
            for name in TABLES[1:]:
                getattr(self, name).write_parquet(fresh / f"{name}.parquet")
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
            (fresh / "replay.json").write_text(text + "\n", encoding="utf-8")
            (fresh / "report.html").write_text(report_of(fresh), encoding="utf-8")

    def questions(self, scored: ScoredQuestions) -> list[Cut]:
        """Cut one target's questions."""
        return cut_questions(self.log, self.facts, scored.row, scored.past, scored.head)

    def _event_frames(self) -> Iterator[pl.DataFrame]:
        for scored in self.scored:
            cuts = {cut.name: cut for cut in self.questions(scored)}
            for start in range(0, max(len(scored.row), 1), _ROWS):
                part = slice(start, start + _ROWS)
                for arm in range(len(self.arms)):
                    yield self._frame(scored, cuts, part, arm)

    def _frame(self, scored: ScoredQuestions, cuts: dict[str, Cut], part: slice, arm: int) -> pl.DataFrame:
        k = int(self.protocol["k"])
        events, row, rank = self.log.events, scored.row[part], scored.rank[part, arm]
        one_item = scored.head is not None
        kinds = pl.Series([kind.name.lower() for kind in EventKind])
        items = pl.Series(np.where(one_item, events.item_idx[row], -1)).replace(-1, None)
        columns: dict[str, pl.Series] = {
            "event": pl.Series(row, dtype=pl.Int64),
            "time": pl.Series(events.time[row], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "bundle": pl.Series(scored.bundle[part], dtype=pl.Int32),
            "user_id": self.dataset.users.ids.gather(self.log.user[row]),
            "item_id": self.dataset.items.ids.gather(items.cast(pl.UInt32)),
            "kind": kinds.gather(events.kind[row]),
            "past_events": pl.Series(scored.past[part], dtype=pl.Int32),
        }
        for name in ("day", "hours", "past", "group", "category", "price", "history", "popularity"):
            cut = cuts.get(name)
            codes = np.full(len(row), -1) if cut is None else cut.codes[part]
            labels = pl.Series(
                ["" if cut is None else label for label in (cut.labels if cut else ("",))], dtype=pl.String
            )
            columns[name] = labels.gather(pl.Series(codes).replace(-1, None).cast(pl.UInt32))
        columns["relevant"] = pl.Series(scored.relevant[part], dtype=pl.Int32)
        columns["rank"] = pl.Series(np.where(rank == UNLISTED, 0, rank + 1), dtype=pl.Int32).replace(0, None)
        for metric in metric_names(k):
            columns[metric] = pl.Series(values(_rows(scored, part), metric, arm, k)).fill_nan(None)
        constant = {"target": scored.target, "arm": self.arms[arm]}
        named = pl.DataFrame(columns).with_columns(**{name: pl.lit(value) for name, value in constant.items()})
        return named.select("target", "arm", pl.exclude("target", "arm"))


def _rows(scored: ScoredQuestions, part: slice) -> ScoredQuestions:
    """Keep some of the questions."""
    return ScoredQuestions(
        scored.target,
        scored.row[part],
        scored.bundle[part],
        scored.past[part],
        scored.relevant[part],
        None if scored.head is None else scored.head[part],
        scored.rank[part],
        None if scored.gain is None else scored.gain[part],
        None if scored.recall is None else scored.recall[part],
    )


def _plain(value: Any) -> Any:
    """Convert to JSON values: nan is null, tuples are lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
