"""An experiment, whole: arms, whom it is about, what is measured how often, what is promised. Public, of no shopper.

Reading files is recsys/experiments/definition/definition_file.py's, changing a started one
recsys/experiments/definition/amendments.py's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from itertools import product
from typing import Any, Literal, get_args

from data.errors import DataError
from recsys.experiments.definition.arm import ID, Arm, check_drafted, check_name, every_check, one_of, within
from recsys.experiments.definition.metric_definitions import Metric, Role, check_metrics, columns, preference_metric

LAYER_BUCKETS = 10_000
"""A layer is cut into so many buckets: shares of shoppers in steps of a hundredth of a percent."""

MAX_ARMS, MAX_CELLS, MAX_LOOKS = 8, 16, 100
MAX_DAYS = 366
MAX_STEPS = 4
"""Of a funnel, before its last one."""
LATEST_S = 4_102_444_800
"""2100-01-01: later is a mistake, and microseconds must fit a signed 64-bit integer."""
DAY_S = 86_400
REPORTING_DAYS = 6
"""Devices and custodian hold no round's key open for longer than seven and eight days."""

Trigger = Literal["assignment", "list_requested", "list_shown"]
Measure = Literal["any", "count", "value", "days", "days_left"]
Design = Literal["parallel", "interleaved"]
Fact = Literal["events", "views", "carts", "purchases", "likes", "days_known", "head_share"]
TRIGGERS, MEASURES, FACTS = (get_args(kind) for kind in (Trigger, Measure, Fact))
DESIGNS = get_args(Design)

BOTH = "both"
"""The one group of an interleaved design: shoppers whose lists both arms make."""


class OutcomeEvent(StrEnum):
    """What a device notes for experiments. value of purchase: money; of session: seconds; of list: its diversity."""

    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    SESSION = "session"
    LIST = "list"


class Method(StrEnum):
    """How often one may look: at planned looks, or at any time."""

    GROUP_SEQUENTIAL = "group_sequential"
    ALWAYS_VALID = "always_valid"


class Spending(StrEnum):
    """How alpha is spent over planned looks (Lan and DeMets 1983)."""

    OBRIEN_FLEMING = "obrien_fleming"
    POCOCK = "pocock"


@dataclass(frozen=True)
class Layer:
    """Buckets start..stop-1 of a layer's 10,000; experiments of one layer with disjoint ranges share no shopper."""

    name: str
    start: int = 0
    stop: int = LAYER_BUCKETS

    def __post_init__(self) -> None:
        check_name("layer.name", self.name, ID)
        if not 0 <= self.start < self.stop <= LAYER_BUCKETS:
            raise DataError(f"layer.start={self.start}, stop={self.stop}: must be 0 ≤ start < stop ≤ {LAYER_BUCKETS}")


@dataclass(frozen=True)
class Rule:
    """A fact of the device's own history within least..most (None: no bound). The device alone knows if it holds."""

    fact: Fact
    least: float = 0.0
    most: float | None = None

    def __post_init__(self) -> None:
        every_check(lambda: one_of("eligibility.fact", self.fact, FACTS), self._check_bounds)

    def _check_bounds(self) -> None:
        if not 0 <= self.least <= (math.inf if self.most is None else self.most):
            raise DataError(f"eligibility {self.fact}: least={self.least}, most={self.most}: must be 0 ≤ least ≤ most")

    def holds(self, fact: float) -> bool:
        """Judge a fact by the rule."""
        return self.least <= fact and (self.most is None or fact <= self.most)


@dataclass(frozen=True)
class Exposure:
    """When a shopper is in: on assignment, or when a list is asked for or shown, on one surface or (None) on any."""

    trigger: Trigger = "list_shown"
    surface: str | None = None

    def __post_init__(self) -> None:
        every_check(
            lambda: one_of("exposure.trigger", self.trigger, TRIGGERS),
            lambda: None if self.surface is None else check_name("exposure.surface", self.surface, ID),
        )


@dataclass(frozen=True)
class Segment:
    """A declared division of shoppers by one fact at exposure: levels[i] has cuts[i-1] ≤ fact < cuts[i]."""

    name: str
    fact: Fact
    cuts: tuple[float, ...]
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        every_check(
            lambda: check_name("segment.name", self.name),
            lambda: one_of(f"segment {self.name}: fact", self.fact, FACTS),
            *(partial(check_name, f"segment {self.name}: level", level) for level in self.levels),
            self._check_levels,
            self._check_cuts,
        )

    def _check_levels(self) -> None:
        if len(set(self.levels)) != len(self.levels) or len(self.levels) != len(self.cuts) + 1 or not self.cuts:
            raise DataError(f"segment {self.name}: levels={self.levels}: must be distinct and one more than cuts")

    def _check_cuts(self) -> None:
        if list(self.cuts) != sorted(set(self.cuts)) or not all(0 < cut < math.inf for cut in self.cuts):
            raise DataError(f"segment {self.name}: cuts={self.cuts}: must rise, above 0 and finite")

    def level(self, fact: float) -> int:
        """Index of the level of a fact."""
        return sum(fact >= cut for cut in self.cuts)


@dataclass(frozen=True)
class OutcomeColumn:
    """A column that metrics name, from what the device noted after the exposure, or before it.

    measure: any (0 or 1); count; the sum of values; days on which it happened; days_left: of the outcome window when it
    first happened, 0 if never, so that sooner is more. before_days: None counts from the exposure on, for the outcome
    window; a number makes it a covariate of so many days before. from_day, to_day: only what happened on these days
    counts, both included; day 0 is the 24 hours from the exposure on (retention). after: steps that must have happened
    before, in this order, each once the step before it had (funnel).
    """

    name: str
    event: OutcomeEvent
    measure: Measure = "count"
    before_days: int | None = None
    from_day: int = 0
    to_day: int | None = None
    after: tuple[OutcomeEvent, ...] = ()

    def __post_init__(self) -> None:
        days, last = self.before_days, self.to_day
        every_check(
            lambda: check_name("outcome.name", self.name),
            lambda: one_of(f"outcome {self.name}: event", self.event, tuple(OutcomeEvent)),
            lambda: one_of(f"outcome {self.name}: measure", self.measure, MEASURES),
            lambda: None if days is None else within(f"outcome {self.name}: before_days", days, 1, MAX_DAYS),
            lambda: within(f"outcome {self.name}: from_day", self.from_day, 0, MAX_DAYS),
            lambda: None if last is None else within(f"outcome {self.name}: to_day", last, self.from_day, MAX_DAYS),
            lambda: within(f"outcome {self.name}: after", len(self.after), 0, MAX_STEPS),
            *(partial(one_of, f"outcome {self.name}: after", step, tuple(OutcomeEvent)) for step in self.after),
            self._check_covariate,
        )

    def _check_covariate(self) -> None:
        later = self.from_day or self.to_day is not None or self.after or self.measure == "days_left"
        if self.before_days is not None and later:
            raise DataError(f"outcome {self.name}: from_day, to_day, after, days_left: must not be of a covariate")


@dataclass(frozen=True)
class Looks:
    """count: windows, each one private sum and one look. spending: of planned looks."""

    method: Method = Method.GROUP_SEQUENTIAL
    count: int = 5
    spending: Spending = Spending.OBRIEN_FLEMING

    def __post_init__(self) -> None:
        every_check(
            lambda: one_of("looks.method", self.method, tuple(Method)),
            lambda: one_of("looks.spending", self.spending, tuple(Spending)),
            lambda: within("looks.count", self.count, 1, MAX_LOOKS),
        )


@dataclass(frozen=True)
class Privacy:
    """What one shopper's device is promised for the whole experiment, all looks together.

    epsilon: None is privacy off, for simulation and loopback only. min_reports: below so many, no window is summed and
    no arm is shown. max_reports: of one window.
    """

    epsilon: float | None
    delta: float = 1e-6
    min_reports: int = 1_000
    max_reports: int = 100_000

    def __post_init__(self) -> None:
        epsilon = self.epsilon
        every_check(
            lambda: None if epsilon is None else within("privacy.epsilon", epsilon, 0, 32, open_low=True),
            lambda: within("privacy.delta", self.delta, 0, 1e-3, open_low=True),
            lambda: within("privacy.max_reports", self.max_reports, 1, 1_000_000),
            lambda: within("privacy.min_reports", self.min_reports, 1, max(self.max_reports, 1)),
        )


@dataclass(frozen=True)
class Experiment:
    """One version of an experiment.

    arms: 2..8; control: the name of the one that others are compared with. holdout_share: of the layer, kept out of
    every experiment in it. minimum_effect: of the primary metric, relative to control, that power is planned for.
    starts_at, ends_at: seconds since 1970-01-01 UTC, of exposures; outcomes are counted for outcome_days after each.
    description: for people; neither assignment nor analysis reads it.
    design: parallel, each shopper has one arm's lists; interleaved, two arms draft every list together
    (recsys/experiments/device/interleaving.py), control is the incumbent, and the one metric is the preference:
    metrics may
    be left empty, or hold a preference with a cap of its own.
    """

    id: str
    arms: tuple[Arm, ...]
    control: str
    metrics: tuple[Metric, ...]
    outcomes: tuple[OutcomeColumn, ...]
    starts_at: int
    ends_at: int
    privacy: Privacy
    layer: Layer
    version: int = 1
    holdout_share: float = 0.0
    eligibility: tuple[Rule, ...] = ()
    exposure: Exposure = Exposure()
    segments: tuple[Segment, ...] = ()
    looks: Looks = Looks()
    outcome_days: int = 7
    minimum_effect: float = 0.05
    alpha: float = 0.05
    power: float = 0.8
    description: str = ""
    design: Design = "parallel"

    def __post_init__(self) -> None:
        one_of("design", self.design, DESIGNS)
        if self.interleaved and not self.metrics:
            object.__setattr__(self, "metrics", (preference_metric(),))
        check_name("id", self.id, ID)
        names = [arm.name for arm in self.arms]
        every_check(
            lambda: within("version", self.version, 1, 1_000_000),
            lambda: within("arms", len(names), 2, MAX_ARMS),
            lambda: _distinct("arms", names),
            lambda: one_of("control", self.control, names),
            lambda: within("holdout_share", self.holdout_share, 0, 0.5),
            lambda: within("outcome_days", self.outcome_days, 1, MAX_DAYS),
            lambda: within("minimum_effect", self.minimum_effect, 0, 10, open_low=True),
            lambda: within("alpha", self.alpha, 0, 0.2, open_low=True),
            lambda: within("power", self.power, 0.5, 0.999),
            self._check_dates,
            self._check_description,
            self._check_metrics,
            lambda: _distinct("segments", [segment.name for segment in self.segments]),
            lambda: within("segments: cells", self.n_cells, 1, MAX_CELLS),
        )

    def _check_dates(self) -> None:
        if not 0 <= self.starts_at < self.ends_at <= self.starts_at + MAX_DAYS * DAY_S:
            raise DataError(
                f"ends_at={date_of(self.ends_at)}: must be after starts_at={date_of(self.starts_at)}, at most "
                f"{MAX_DAYS} days"
            )
        if self.ends_at > LATEST_S:
            raise DataError(f"ends_at={date_of(self.ends_at)}: must be {date_of(LATEST_S)} or before")

    def _check_description(self) -> None:
        if len(self.description) > 2_000:
            raise DataError(f"description of {len(self.description)} characters: must be at most 2000")

    def _check_metrics(self) -> None:
        check_metrics(self.metrics, interleaved=self.interleaved)
        if not self.interleaved:
            self._check_columns()
            return
        check_drafted(self.arms)
        if self.outcomes:
            raise DataError("outcomes: must be left out of an interleaved design, it measures the preference alone")

    def _check_columns(self) -> None:
        """Check that every column of the metrics has its outcome.

        Covariates lie before the exposure, and the others after.
        """
        _distinct("outcomes", [outcome.name for outcome in self.outcomes])
        known = {outcome.name: outcome for outcome in self.outcomes}
        for outcome in self.outcomes:
            last = outcome.from_day if outcome.to_day is None else outcome.to_day
            if outcome.before_days is None and last >= self.outcome_days:
                raise DataError(f"outcome {outcome.name}: day {last}: must be before outcome_days={self.outcome_days}")
        thresholds = {name: metric.numerator for metric in self.metrics for name in metric.thresholds}
        for column in columns(self.metrics):
            if column.name in thresholds:
                if thresholds[column.name] not in known:
                    raise DataError(f"outcomes: column {thresholds[column.name]} of the metrics is missing")
                continue
            if column.name not in known:
                raise DataError(f"outcomes: column {column.name} of the metrics is missing")
            if column.indicator and known[column.name].measure != "any":
                raise DataError(f"outcome {column.name}: measure={known[column.name].measure!r}: must be any (0 or 1)")
            if known[column.name].measure == "any" and column.cap != 1.0:
                raise DataError(f"column {column.name}: cap={column.cap}: must be 1 for an outcome of 0 or 1")
        for metric in self.metrics:
            if metric.covariate is not None and known[metric.covariate].before_days is None:
                raise DataError(f"outcome {metric.covariate}: before_days: must be given for a covariate")
            for name in (metric.numerator, metric.denominator):
                if name is not None and known[name].before_days is not None:
                    raise DataError(f"outcome {name}: before_days: must not be given, it is no covariate")

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return next(metric for metric in self.metrics if metric.role is Role.PRIMARY)

    @property
    def interleaved(self) -> bool:
        """Whether both arms make every list."""
        return self.design == "interleaved"

    @property
    def groups(self) -> tuple[str, ...]:
        """Whose sums are kept apart: each arm's shoppers, or all of them where both arms make every list."""
        return (BOTH,) if self.interleaved else tuple(arm.name for arm in self.arms)

    def group_of(self, arm: str) -> str:
        """Name the group whose sums hold what is said of an arm."""
        return BOTH if self.interleaved else arm

    @property
    def n_cells(self) -> int:
        """Combinations of the segments' levels; each shopper is in one."""
        return math.prod(len(segment.levels) for segment in self.segments)

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The levels of each cell, the last segment's varying fastest; one empty cell without segments."""
        return tuple(product(*(segment.levels for segment in self.segments)))

    def arm(self, name: str) -> Arm:
        """Find an arm by name."""
        return next(arm for arm in self.arms if arm.name == name)

    def window(self, number: int) -> tuple[int, int]:
        """Compute from when until when (seconds) window 0..looks.count-1 takes reports.

        The last one begins when the last outcome is in, so that what it adds up is whole; the others end at equal steps
        until then. Each is open for its last REPORTING_DAYS at most.
        """
        within("window", number, 0, self.looks.count - 1)
        begin, whole = self.starts_at, self.ends_at + self.outcome_days * DAY_S
        if number == self.looks.count - 1:
            return whole, whole + REPORTING_DAYS * DAY_S
        start, end = (begin + (whole - begin) * k // self.looks.count for k in (number, number + 1))
        return max(start, end - REPORTING_DAYS * DAY_S), end


def date_of(seconds: int) -> str:
    """Write seconds since 1970 as ISO 8601 in UTC; as a number what no date is."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _distinct(what: str, names: Sequence[Any]) -> None:
    if len(set(names)) != len(names):
        raise DataError(f"{what}: names {list(names)} must differ")
