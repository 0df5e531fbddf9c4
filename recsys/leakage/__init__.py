"""Leakage guards: does an evaluation set-up know the future of its own test? `inspect(Setup(...))` says where."""

from __future__ import annotations

from recsys.leakage.behaviour import ScoringProtocol, reads_future
from recsys.leakage.inspection import Inspection, inspect, refuse_leaks
from recsys.leakage.learned import Features, FittedStatistics, PropertyJoin
from recsys.leakage.setup import Setup

__all__ = [
    "Features",
    "FittedStatistics",
    "Inspection",
    "PropertyJoin",
    "ScoringProtocol",
    "Setup",
    "inspect",
    "reads_future",
    "refuse_leaks",
]
