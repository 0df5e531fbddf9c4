"""The service's tables of experiments: definitions by version, windows, their sums. No user and no device is in them.

Reports of windows are in the same table as those of training rounds (federation/service/round_schema.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from federation.storage.migrations import Schema

metadata = MetaData()


class ExperimentState(StrEnum):
    """draft: may be rewritten. running: only amended. stopped: for good."""

    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"


EXPERIMENTS = Table(
    "experiments",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("experiment_id", String(40), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),  # the newest
    Column("started_at", BigInteger),
    Column("stopped_at", BigInteger),
)

VERSIONS = Table(
    "experiment_versions",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("experiment_id", String(40), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Text, nullable=False),  # canonical JSON
    Column("at", BigInteger, nullable=False),
)

WINDOWS = Table(
    "experiment_windows",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("experiment_id", String(40), primary_key=True),
    Column("window", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("task_id", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("draft", LargeBinary, nullable=False),
    Column("task", LargeBinary),  # as the custodian signed it; none before
    Column("max_reports", Integer, nullable=False),
    Column("counted", Integer, nullable=False, default=0),
    Column("broken", Integer, nullable=False, default=0),
    Column("words", LargeBinary),  # little-endian int32, noise included; none before
    Column("failure", Text),
    Column("finished_at", BigInteger),
    Column("cleaned", Integer, nullable=False, default=0),  # 1: shares and the custodian's key are gone
)

SCHEMA = Schema("experiments", metadata)


def rows_of(table: Table, app: str, experiment_id: str) -> Any:
    """Select the rows of one experiment of one app, of any of these tables."""
    return (table.c.app == app) & (table.c.experiment_id == experiment_id)
