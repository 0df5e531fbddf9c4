"""The coordinator's tables: rounds and their states, reports by id, sums, releases.

Shares are not here but in files (federation/service/intake/share_files.py). No time of a report, no address and no
user is stored.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from federation.storage.activations import activations, one_table_of_activations
from federation.storage.change_log import change_log, with_change_log
from federation.storage.migrations import Schema, add_column

metadata = MetaData()


class RoundState(StrEnum):
    """A round's life; each arrow is one transaction.

    drafted → open → closed → summed → stepped → published; or failed, from any state before published.
    """

    DRAFTED = "drafted"
    OPEN = "open"
    CLOSED = "closed"
    SUMMED = "summed"
    STEPPED = "stepped"
    PUBLISHED = "published"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Nothing follows."""
        return self in (RoundState.PUBLISHED, RoundState.FAILED)


rounds = Table(
    "rounds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task_id", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("draft", LargeBinary, nullable=False),
    Column("task", LargeBinary),  # as the custodian signed it; none before
    Column("base_version", String(64), nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("max_reports", Integer, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("asked", Integer, nullable=False, default=0),  # 1: the custodian may have answered, and counted it
    Column("summed_blocks", Integer, nullable=False, default=0),
    Column("counted", Integer, nullable=False, default=0),
    Column("cleaned", Integer, nullable=False, default=0),  # 1: shares and the custodian's key are gone
    Column("record", Text, nullable=False, default="{}"),
    Column("failure", Text),
    Column("learns", String(16), nullable=False, server_default="items"),  # items, or a MixSum of federation.learning
)

reports = Table(
    "reports",
    metadata,
    Column("report_id", LargeBinary(16), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("block", Integer, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    # gone after the sum:
    Column("sealed_seed", LargeBinary),
    Column("issuer", String(64)),
    Column("serial", LargeBinary(32)),
    Column("token", LargeBinary),
    Column("segment", String(64)),
    Column("at", BigInteger),
    UniqueConstraint("task_id", "serial", name="one_report_a_token"),
    Index("reports_of_a_block", "task_id", "block"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("of", String(96), primary_key=True),  # block:3, issuer:shop
    Column("n", Integer, nullable=False),
)

issuer_keys = Table(
    "issuer_keys",
    metadata,
    Column("token_key_id", LargeBinary(32), primary_key=True),
    Column("app", String(48), nullable=False),
    Column("minting_key", String(16), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("private", LargeBinary),  # PKCS #8; gone once the last task that it is for is over
    Column("logged", Integer, nullable=False, default=0),  # 1: the custodian has put it into the public log
    UniqueConstraint("app", "minting_key", "not_before", name="one_key_a_period"),
)
"""What signs blind tokens. Whoever has a private key can make tokens of its period, and tell nothing of any."""

sums = Table(
    "sums",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("block", Integer, primary_key=True),
    Column("counted", Integer, nullable=False),
    Column("broken", Integer, nullable=False),
    Column("words", LargeBinary, nullable=False),  # little-endian int32, empty for a block that was not summed
)

no_answers = Table(
    "no_answers",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("task_id", String(64), nullable=False, unique=True),
    Column("statement", LargeBinary, nullable=False),  # as the custodian signed it
)
"""The custodian's statements of what it never answered, for devices."""

log_heads = Table(
    "log_heads",
    metadata,
    Column("custodian_key", String(64), primary_key=True),  # hex
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
)
"""The last head that was seen of each custodian's log."""

releases = Table(
    "releases",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("version", String(64), nullable=False, unique=True),
    Column("folder", Text, nullable=False),
    Column("task_id", String(64)),  # of the round that made it; none for the first
    Column("steps", Integer, nullable=False),  # item steps in it
)

activations.to_metadata(metadata)
change_log.to_metadata(metadata)


def _without_leases(connection: Connection) -> None:
    """Drop the table of leases: the lock on advancing rounds dies with its owner, and needs no rows."""
    connection.execute(text("DROP TABLE IF EXISTS leases"))


def _with_learns(connection: Connection) -> None:
    """Say of each round what it teaches: the rounds of before there were others taught items.

    The custodian's statements and the heads of its log are new tables, made after this.
    """
    add_column(connection, "rounds", Column("learns", String(16), nullable=False, server_default="items"))


def _with_tokens(connection: Connection) -> None:
    """Let reports keep their tokens for the custodian until the sum; the table issuer_keys is made after this."""
    add_column(connection, "reports", Column("token", LargeBinary))


SCHEMA = Schema(
    "rounds", metadata, (_without_leases, one_table_of_activations, _with_learns, _with_tokens, with_change_log)
)
