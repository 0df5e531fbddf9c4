"""The change log: which version was made current, by whom, when and why; append-only, each entry sealing the last.

An entry's hash is over its own fields and the hash of the entry before it, so no entry can be changed, dropped or
slipped in without all later hashes changing (Haber and Stornetta 1991). Whoever notes the last hash elsewhere can
prove later that the log goes on from it; whoever owns the database can rewrite all of it, and is found out by such a
note only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, Text, insert, inspect, select, text

from data.errors import ServingError

START = "0" * 64
"""Hash before the first entry."""
MAX_WHY = 500
ACTIVATED, ROLLED_BACK, OVERRIDDEN = "activated", "rolled back", "overridden"
GATE_REQUIRED, GATE_NOT_REQUIRED = "gate required", "gate not required"
_LOCK = 0x6368616E67656C6F  # PostgreSQL's advisory lock of whoever appends: "changelo"

change_log = Table(
    "change_log",
    MetaData(),
    Column("scope", String(48), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from 1, of each scope
    Column("at", BigInteger, nullable=False),  # seconds since 1970-01-01 UTC
    Column("action", String(24), nullable=False),
    Column("version", String(64), nullable=False),
    Column("before", String(64)),
    Column("who", String(64), nullable=False),
    Column("why", Text, nullable=False),
    Column("evidence", String(64)),
    Column("hash", String(64), nullable=False),
)


class ChangeLogBroken(ServingError):
    """The change log is not the one that was written."""


@dataclass(frozen=True)
class Change:
    """What happened. action: ACTIVATED, ROLLED_BACK, OVERRIDDEN (the gate), GATE_REQUIRED or GATE_NOT_REQUIRED.

    version: that is current now, "" where nothing was activated. before: that was. who: a user of the machine or the
    id of an API key. why: in words. evidence: sha256 (hex) of the gate result that was believed.
    """

    at: int
    action: str
    version: str
    before: str | None
    who: str
    why: str
    evidence: str | None = None

    def __post_init__(self) -> None:
        if not self.who or len(self.who) > 64:
            raise ServingError(f"who={self.who!r}: must have 1..64 characters")
        if len(self.why) > MAX_WHY:
            raise ServingError(f"why: has {len(self.why)} characters, must be at most {MAX_WHY}")


@dataclass(frozen=True)
class Reason:
    """Who changes something, and why. override: serve a bundle although it has not passed the gate; needs a why."""

    who: str
    why: str = ""
    override: bool = False

    def __post_init__(self) -> None:
        if self.override and not self.why.strip():
            raise ServingError("override: must say why, for the change log")


UNSIGNED = Reason("unknown")
"""Of callers that name nobody."""


@dataclass(frozen=True)
class ChangeEntry:
    """A change in the log, with its number, from 1, and its hash (hex)."""

    sequence: int
    change: Change
    hash: str


def entry_hash(scope: str, sequence: int, change: Change, before: str) -> str:
    """Hash an entry, sha256 (hex). before: hash of the entry before it, START of the first."""
    content = {"scope": scope, "sequence": sequence, "previous": before, **asdict(change)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def append_change(connection: Connection, scope: str, change: Change) -> ChangeEntry:
    """Append a change within the caller's transaction."""
    if connection.dialect.name == "postgresql":  # SQLite's transaction has the write lock already
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    of_scope = select(change_log.c.sequence, change_log.c.hash).where(change_log.c.scope == scope)
    last = connection.execute(of_scope.order_by(change_log.c.sequence.desc()).limit(1)).first()
    sequence, before = (1, START) if last is None else (last.sequence + 1, last.hash)
    entry = ChangeEntry(sequence, change, entry_hash(scope, sequence, change, before))
    values = {"scope": scope, "sequence": sequence, "hash": entry.hash, **asdict(change)}
    connection.execute(insert(change_log).values(values))
    return entry


def read_changes(connection: Connection, scope: str) -> list[ChangeEntry]:
    """Read every entry of a scope, oldest first. Raises ChangeLogBroken where the chain does not hold."""
    query = select(change_log).where(change_log.c.scope == scope).order_by(change_log.c.sequence)
    entries: list[ChangeEntry] = []
    before = START
    for place, row in enumerate(connection.execute(query), 1):
        change = Change(row.at, row.action, row.version, row.before, row.who, row.why, row.evidence)
        if row.sequence != place or row.hash != entry_hash(scope, place, change, before):
            raise ChangeLogBroken(f"change log of {scope or 'releases'}: entry {place} is not the one that was written")
        entries.append(ChangeEntry(place, change, row.hash))
        before = row.hash
    return entries


def gate_required(connection: Connection, scope: str) -> bool:
    """Tell whether a scope's policy asks for a passed gate: its last word in the log; not before the first."""
    of_policy = (change_log.c.scope == scope) & change_log.c.action.in_([GATE_REQUIRED, GATE_NOT_REQUIRED])
    query = select(change_log.c.action).where(of_policy).order_by(change_log.c.sequence.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none() == GATE_REQUIRED


def with_change_log(connection: Connection) -> None:
    """Migrate a database of before there was a change log. Twice does nothing."""
    if not inspect(connection).has_table(change_log.name):
        change_log.create(connection)
