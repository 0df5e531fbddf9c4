"""The custodian's tables, on SQLite or PostgreSQL. No private key, no seed and nothing of a device but report ids."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from federation.storage.migrations import Schema

metadata = MetaData()

CUSTODIAN = Table(
    "custodian",
    metadata,
    Column("id", Integer, primary_key=True),  # the one row, locked by whoever writes
    Column("plan", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
)

ROUNDS = Table(
    "custodian_rounds",
    metadata,
    Column("task_hash", LargeBinary(32), primary_key=True),
    Column("task_id", String(64), nullable=False, unique=True),
    Column("draft_digest", LargeBinary(32), nullable=False),
    Column("task", LargeBinary, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("answered", Integer, nullable=False, default=0),  # blocks: a round with none has cost no privacy
)

EXPERIMENT_ROUNDS = Table(
    "custodian_experiment_rounds",
    metadata,
    Column("task_hash", LargeBinary(32), ForeignKey("custodian_rounds.task_hash"), primary_key=True),
)
"""Which rounds are windows of experiments, with a budget of their own; the others are training's."""

COUNTED = Table(
    "custodian_counted",
    metadata,
    Column("report_id", LargeBinary(16), primary_key=True),  # once, in whatever round
    Column("task_hash", LargeBinary(32), ForeignKey("custodian_rounds.task_hash"), nullable=False),
    sqlite_with_rowid=False,
)

ANSWERS = Table(
    "custodian_answers",
    metadata,
    Column("task_hash", LargeBinary(32), ForeignKey("custodian_rounds.task_hash"), primary_key=True),
    Column("block", BigInteger, primary_key=True),
    Column("batch_digest", LargeBinary(32), nullable=False),
    Column("answer", LargeBinary),  # gone a while after the round is closed
)

LEDGER = Table(
    "custodian_ledger",
    metadata,
    Column("task_hash", LargeBinary(32), ForeignKey("custodian_rounds.task_hash"), primary_key=True),
    Column("block", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("reports", BigInteger, nullable=False),
    Column("broken", BigInteger, nullable=False),
    Column("sigma", BigInteger, nullable=False),
    Column("noise_multiplier", Float, nullable=False),
    Column("rounds", BigInteger, nullable=False),  # answered so far, this one included
    Column("epsilon", Float),  # of the installation asked most, after this round; none with privacy off
    Column("delta", Float, nullable=False),
)

LOG = Table(
    "custodian_log",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # from 0, without gaps
    Column("entry", LargeBinary, nullable=False),
    Column("leaf", LargeBinary(32), nullable=False),
)
"""Everything that was signed, in order, for anybody to see."""

BUNDLES = Table(
    "custodian_bundles",
    metadata,
    Column("purpose", String(16), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("bundle_hash", LargeBinary(32), nullable=False),
)
"""The one hash of each version."""

ISSUER_KEYS = Table(
    "custodian_issuer_keys",
    metadata,
    Column("token_key_id", LargeBinary(32), primary_key=True),
    Column("app", String(48), nullable=False),
    Column("minting_key", String(16), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issuer_key", LargeBinary, nullable=False),
)
"""Public keys of those who sign blind tokens; each is in the log too."""

SPENT = Table(
    "custodian_spent",
    metadata,
    Column("task_hash", LargeBinary(32), ForeignKey("custodian_rounds.task_hash"), primary_key=True),
    Column("serial", LargeBinary(32), primary_key=True),
    sqlite_with_rowid=False,
)
"""Tokens of the batches that were answered, each once in a round."""


def _make_log(connection: Connection) -> None:
    """From version 1 to 2: the log and the bundles' hashes are new tables, made whole after this.

    A program of before them must not sign beside them.
    """


def _log_answers(connection: Connection) -> None:
    """From version 2 to 3: the log also says what is answered, and what never will be.

    No table changes. A program of before would answer without logging it.
    """


def _make_tokens(connection: Connection) -> None:
    """From version 3 to 4: issuers' keys and spent tokens are new tables, made whole after this.

    A program of before them must not answer beside them.
    """


SCHEMA = Schema("custodian", metadata, (_make_log, _log_answers, _make_tokens))
