"""The service's own tables: keys, items as a shop changed them, bundles, counts. Nothing here is about a shopper."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, MetaData, String, Table, Text

from federation.storage.activations import activations, one_table_of_activations
from federation.storage.change_log import change_log, with_change_log
from federation.storage.migrations import Schema

metadata = MetaData()

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("app", String(64), nullable=False),
    Column("scopes", String(128), nullable=False),  # names, by comma
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)
"""Rows are added, and revoked once; never deleted. So their counts say whether anything has changed."""

mints = Table(
    "mints",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("period", BigInteger, primary_key=True),
    Column("n", Integer, nullable=False),
)

item_changes = Table(
    "item_changes",
    metadata,
    Column("app", String(48), primary_key=True),
    Column("item_id", String(128), primary_key=True),
    Column("number", BigInteger, nullable=False),  # order of first appearance, the same for every worker
    Column("sequence", BigInteger, nullable=False),  # of the last change; ascending in the order of commits
    Column("fields", Text),  # JSON of what was put; none once deleted
    Index("item_changes_since", "app", "sequence"),
)

placements = Table(
    "placements",
    metadata,
    Column("app", String(48), primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # among the changes of items, so that a device asks once for both
    Column("content", Text),  # canonical JSON; none where each bundle's own hold again
)

served_bundles = Table(
    "served_bundles",
    metadata,
    Column("app", String(48), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("folder", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
)

activations.to_metadata(metadata)
change_log.to_metadata(metadata)

counters = Table(
    "counters",
    metadata,
    Column("app", String(48), primary_key=True),
    Column("name", String(16), primary_key=True),  # items, items-epoch, bundles
    Column("value", BigInteger, nullable=False),
)

traffic = Table(
    "traffic",
    metadata,
    Column("app", String(48), primary_key=True),
    Column("minute", BigInteger, primary_key=True),  # seconds since 1970-01-01 UTC, a multiple of 60
    Column("kind", String(16), primary_key=True),  # a mode, or what else was asked
    Column("outcome", String(8), primary_key=True),  # ok, refused, error
    Column("n", BigInteger, nullable=False),
    Index("traffic_by_minute", "minute"),
)


def _with_placements(connection: Connection) -> None:
    """Lead from version 2 to 3: one table more, which whoever opens the store makes with what is missing."""


SCHEMA = Schema("state", metadata, (one_table_of_activations, _with_placements, with_change_log))
