"""Logged feedback: what was shown, with which chance, and what came of it. Not Interactions: nobody's history is in it.

No row is ever left out: the estimates are means over what was shown, so a row that cannot be used refuses the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import DataError
from data.log_reading.columns import listed, match_names
from data.log_reading.formats import FEEDBACK_PRESETS, FEEDBACK_REQUIRED, FEEDBACK_ROLES, FeedbackPreset
from data.log_reading.opening.source import EXTRA_FIELD, LINE, Source
from data.log_reading.opening.sources import Table, open_source, unreadable
from data.log_reading.recognition import AUTO
from data.vocabulary import Vocabulary

JOIN = "/"
"""Between the parts of an id that several columns make: ``men/17``."""
ONE_SLOT = "all"
RESERVED = frozenset(("line", "item_idx", "slot_idx", "unit_idx", "reward", "propensity", "policy"))
"""A context column of such a name is kept as source_NAME."""
SAMPLE = "open-bandit"
OPEN_BANDIT_COLUMNS = {"timestamp", "item_id", "position", "click", "propensity_score"}
"""What the Open Bandit Dataset calls its own columns, all of them together."""


@dataclass(frozen=True, eq=False)
class LoggedFeedback:
    """Rounds of a log: one item shown in one slot to somebody, and the reward.

    rounds: one row a round, in the log's order: line UInt32 (of the file, from 1), item_idx Int32, slot_idx Int32,
    unit_idx Int64 (who is resampled: the user, or the round itself where the log names nobody), reward Float64, finite,
    propensity Float64 in (0, 1]: the chance with which the logging policy shows this item in this slot; policy String,
    null where the log has one policy, and the context columns of the log under their own names.
    items, slots: the ids behind item_idx and slot_idx. by_user: whether a unit is a user.
    """

    name: str
    rounds: pl.DataFrame
    items: Vocabulary
    slots: Vocabulary
    by_user: bool

    def __len__(self) -> int:
        return self.rounds.height

    @cached_property
    def item_idx(self) -> npt.NDArray[np.int32]:
        """(n_rounds,) what was shown."""
        return self.rounds["item_idx"].to_numpy()

    @cached_property
    def slot_idx(self) -> npt.NDArray[np.int32]:
        """(n_rounds,) where."""
        return self.rounds["slot_idx"].to_numpy()

    @cached_property
    def unit_idx(self) -> npt.NDArray[np.int64]:
        """(n_rounds,) to whom, as dense numbers 0..n_units − 1 of this log."""
        return np.unique(self.rounds["unit_idx"].to_numpy(), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def reward(self) -> npt.NDArray[np.float64]:
        """(n_rounds,) what came of it."""
        return self.rounds["reward"].to_numpy()

    @cached_property
    def propensity(self) -> npt.NDArray[np.float64]:
        """(n_rounds,) with which chance it was shown."""
        return self.rounds["propensity"].to_numpy()

    @property
    def n_units(self) -> int:
        """How many are resampled."""
        return int(self.unit_idx.max(initial=-1)) + 1

    @property
    def policies(self) -> list[str]:
        """Names of the policies that logged, sorted; empty where the log does not say."""
        return [str(name) for name in self.rounds["policy"].drop_nulls().unique().sort()]

    def where(self, rows: pl.Expr) -> LoggedFeedback:
        """Select the rounds that an expression over `rounds` holds for; items and slots keep their numbers.

        Raises DataError when no round is left.
        """
        left = self.rounds.filter(rows)
        if not left.height:
            raise DataError(f"{self.name}: no round is left of {len(self):,}")
        return replace(self, rounds=left)

    def of_policy(self, policy: str) -> LoggedFeedback:
        """Select the rounds that one policy logged. Raises DataError for an unknown name."""
        if policy not in self.policies:
            raise DataError(f"policy={policy!r}: {self.name} was logged by {', '.join(self.policies) or 'one policy'}")
        return self.where(pl.col("policy") == policy)

    def take(self, rows: slice | npt.NDArray[np.intp]) -> LoggedFeedback:
        """Take rows by position."""
        return replace(self, rounds=self.rounds[rows])


def read_logged_feedback(
    source: Table, *, preset: str = AUTO, mapping: Mapping[str, str] | None = None, name: str | None = None
) -> LoggedFeedback:
    """Read a log with propensities: a csv, tsv, parquet or jsonl file, or a frame.

    preset: `auto` takes open-bandit for a log that has all of its columns and no mapping, else generic.
    mapping: role → column, over the preset's: item, reward, propensity, slot, user, policy; ``campaign+position``
    joins columns into one id. Raises DataError for a missing column, and for the first row with a propensity outside
    (0, 1], a reward that is no finite number, or without an item: with its line and how many more there are.
    """
    if preset not in (AUTO, *FEEDBACK_PRESETS):
        names = ", ".join((AUTO, *FEEDBACK_PRESETS))
        raise DataError(f"preset={preset!r}: must be one of {names} for a log with propensities")
    opened = open_source(source, separators=(",", ";", "\t", "|"))
    if preset == AUTO:
        preset = SAMPLE if not mapping and set(opened.columns) >= OPEN_BANDIT_COLUMNS else "generic"
    chosen = FEEDBACK_PRESETS[preset]
    roles = _roles(chosen, opened, mapping or {})
    used = {column for column in roles.values() if column in opened.columns}  # a part of an id is a context too
    contexts = [c for c in opened.columns if c not in used and c.startswith(chosen.contexts or ("\0",))]
    try:
        raw = opened.exact.select(_columns(roles, contexts, opened)).collect()
    except pl.exceptions.PolarsError as error:
        raise unreadable(opened, error) from None
    _check(raw, opened.name)
    return _numbered(raw, name or opened.name, by_user=raw["\1user"].null_count() < raw.height)


def open_logged_feedback(source: str) -> LoggedFeedback:
    """Open a file of the generic or open-bandit shape, or the bundled ``sample:open-bandit``."""
    if not source.startswith("sample:"):
        return read_logged_feedback(source)
    if source != f"sample:{SAMPLE}":
        raise DataError(f"log={source}: the bundled log with propensities is sample:{SAMPLE}")
    from data.samples import open_bandit_rounds

    mapping = {"item": "campaign+item_id", "slot": "campaign+position"}
    return read_logged_feedback(open_bandit_rounds(), preset=SAMPLE, mapping=mapping, name=source)


def _roles(preset: FeedbackPreset, source: Source, mapping: Mapping[str, str]) -> dict[str, str]:
    for role, column in mapping.items():
        if role not in FEEDBACK_ROLES:
            raise DataError(f"mapping {role}={column}: the role must be one of {', '.join(FEEDBACK_ROLES)}")
        if missing := [part for part in _parts(column, source.columns) if part not in source.columns]:
            raise DataError(f"mapping {role}={column}: no column {missing[0]!r}; found {listed(source.columns)}")
    roles = match_names(preset.columns, source.columns) | dict(mapping)
    if lacking := [role for role in FEEDBACK_REQUIRED if role not in roles]:
        known = "; ".join(f"{role} (known as {', '.join(preset.columns[role])})" for role in lacking)
        raise DataError(f"preset={preset.name}: no one column for {known}; found {listed(source.columns)}")
    return roles


def _parts(column: str, columns: tuple[str, ...]) -> list[str]:
    return [column] if column in columns else column.split("+")


def _columns(roles: Mapping[str, str], contexts: list[str], source: Source) -> list[pl.Expr]:
    """Convert the roles to columns of their type, null where a value is no such thing; contexts as they are."""

    def joined(role: str) -> pl.Expr:
        parts = [pl.col(part).cast(pl.String) for part in _parts(roles[role], source.columns)]
        return pl.concat_str(parts, separator=JOIN)

    def number(role: str) -> pl.Expr:
        return pl.col(roles[role]).cast(pl.Float64, strict=False)

    extra = pl.col(EXTRA_FIELD).is_not_null() if EXTRA_FIELD in source.exact.collect_schema() else pl.lit(value=False)
    texts: Mapping[str, Callable[[str], pl.Expr]] = {"slot": joined, "user": joined, "policy": joined}
    optional = [
        (make(role) if role in roles else pl.lit(ONE_SLOT if role == "slot" else None, pl.String)).alias(f"\1{role}")
        for role, make in texts.items()
    ]
    return [
        pl.col(LINE),
        joined("item").alias("\1item"),
        number("reward").alias("\1reward"),
        number("propensity").alias("\1propensity"),
        *optional,
        extra.alias("\1extra"),
        *(pl.col(name).alias(f"source_{name}" if name in RESERVED else name) for name in contexts),
    ]


def _check(raw: pl.DataFrame, name: str) -> None:
    if not raw.height:
        raise DataError(f"source={name}: has no rows")
    chance, reward = pl.col("\1propensity"), pl.col("\1reward")
    nobody = pl.col("\1user").is_null() if raw["\1user"].null_count() < raw.height else pl.lit(value=False)
    checks = (
        ("has more fields than the header", pl.col("\1extra"), None),
        ("item is missing", pl.col("\1item").is_null(), None),
        ("slot is missing", pl.col("\1slot").is_null(), None),
        ("user is missing", nobody, None),
        ("must be a finite number", reward.is_null() | ~reward.is_finite(), "reward"),
        (
            "must be above 0 and at most 1; what was shown had a chance to be",
            chance.is_null() | chance.is_nan() | (chance <= 0) | (chance > 1),
            "propensity",
        ),
    )
    for reason, wrong, role in checks:
        rows = raw.filter(wrong)
        if rows.height:
            value = rows["\1" + role][0] if role else None
            what = f"{role}={value}: " if role else ""
            more = f" (and {rows.height - 1:,} more lines)" if rows.height > 1 else ""
            raise DataError(f"source={name}: line {rows[LINE][0]}: {what}{reason}{more}; no row may be left out")


def _numbered(raw: pl.DataFrame, name: str, *, by_user: bool) -> LoggedFeedback:
    items = Vocabulary(raw["\1item"].unique(maintain_order=True))
    slots = Vocabulary(raw["\1slot"].unique().sort())

    def idx(role: str, ids: Vocabulary) -> pl.Expr:
        return pl.col(f"\1{role}").replace_strict(ids.ids, pl.int_range(len(ids), eager=True), return_dtype=pl.Int32)

    unit = pl.col("\1user").rank("dense").cast(pl.Int64) - 1 if by_user else pl.int_range(pl.len(), dtype=pl.Int64)
    rounds = raw.select(
        pl.col(LINE).cast(pl.UInt32).alias("line"),
        idx("item", items).alias("item_idx"),
        idx("slot", slots).alias("slot_idx"),
        unit.alias("unit_idx"),
        pl.col("\1reward").alias("reward"),
        pl.col("\1propensity").alias("propensity"),
        pl.col("\1policy").alias("policy"),
        pl.exclude("^\1.*$"),
    )
    return LoggedFeedback(name, rounds, items, slots, by_user)
