"""The service's own tables: API keys, and how much each app minted. Nothing here is about a shopper."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Engine, Integer, LargeBinary, MetaData, String, Table

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


def make_tables(engine: Engine) -> None:
    """The tables that are missing."""
    metadata.create_all(engine)
