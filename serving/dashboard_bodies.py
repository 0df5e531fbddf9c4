"""The JSON that the dashboard shows."""

from __future__ import annotations

from serving.bodies import Strict
from serving.federation_bodies import RoundEntry


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


class DashboardAnswer(Strict):
    """Everything that the dashboard draws. rounds: newest first."""

    app: str
    now: int
    hours: int
    index_recall: float | None
    bundles: list[Version]
    epsilon: Budget | None
    rounds: list[RoundEntry]
    traffic: list[TrafficMinute]
