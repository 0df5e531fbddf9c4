"""The JSON that the dashboard shows."""

from __future__ import annotations

from serving.http.bodies import Strict
from serving.http.resources.federation_bodies import RoundEntry


class Version(Strict):
    """A served bundle. made_at: seconds since 1970-01-01 UTC; holdout_ndcg: NDCG@20 on hold-out devices, a sum."""

    version: str
    current: bool
    made_at: int
    n_items: int
    dim: int
    holdout_ndcg: float | None
    privacy: str


class Budget(Strict):
    """ε of the installation that was asked most, and at its cap; null when sums have no noise."""

    spent: float | None
    lifetime: float | None
    delta: float


class TrafficMinute(Strict):
    """Requests of one minute (seconds since 1970-01-01 UTC)."""

    minute: int
    kind: str
    outcome: str
    n: int


class EffectAtLook(Strict):
    """One arm against control at a look; low, high: the interval, null where nothing may be said yet."""

    arm: str
    look: int
    effect: float | None
    low: float | None
    high: float | None


class ArmVerdict(Strict):
    """What the figures of an arm allow to say."""

    arm: str
    state: str
    text: str


class ExperimentShown(Strict):
    """An experiment's primary metric, from sums with noise. reports: of devices to all summed windows, zeros too.

    look: the last summed window, 0 before the first. relative: whether effects are relative to control. epsilon: of an
    installation for all looks; null when sums have no noise. mismatch: of the arms' shoppers; null while one of the
    arms is below min_reports.
    """

    id: str
    version: int
    state: str
    control: str
    metric: str
    relative: bool
    look: int
    looks: int
    reports: int
    epsilon: float | None
    delta: float
    mismatch: bool | None
    mismatch_p: float | None
    effects: list[EffectAtLook]
    verdicts: list[ArmVerdict]


class DashboardAnswer(Strict):
    """Everything that the dashboard draws. rounds: newest first."""

    app: str
    now: int
    hours: int
    index_recall: float | None
    bundles: list[Version]
    epsilon: Budget | None
    rounds: list[RoundEntry]
    experiments: list[ExperimentShown]
    traffic: list[TrafficMinute]
