"""API keys: each belongs to one app and has scopes; only a hash is stored. And how many tokens an app has minted."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import FederationError, ServingError
from federation.storage.database import Commits, reading
from federation.storage.migrations import prepare
from serving.access import SCOPES, Caller
from serving.state.schema import SCHEMA, api_keys, mints

SECRET, PUBLISHABLE = "osk", "opk"
"""How a key begins: one that must stay secret, and one of scope `device` that any page or app may carry."""
APP = re.compile(r"[A-Za-z0-9._-]{1,48}", re.ASCII)
_SHAPE = re.compile(rf"(?:{SECRET}|{PUBLISHABLE})_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


class IssuerBound(FederationError):
    """An app has minted as many tokens in this period as it may."""


@dataclass(frozen=True)
class KeyEntry:
    """The stored entry of a key, but its hash. Times: seconds since 1970-01-01 UTC."""

    key_id: str
    app: str
    scopes: tuple[str, ...]
    created_at: int
    revoked_at: int | None


@dataclass(frozen=True)
class ActiveKey:
    """A key that is not revoked, as requests are checked against it."""

    secret_hash: bytes
    caller: Caller


class ApiKeys:
    """Keys of a store. A key is 256 random bits, so that its plain SHA-256 tells nothing of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        prepare(engine, SCHEMA)

    def create(self, app: str, scopes: Collection[str], now: int) -> str:
        """Create a new key of an app, seen this once. Raises ServingError for an impossible name or scope."""
        if not APP.fullmatch(app):
            raise ServingError(f"app={app!r}: must match {APP.pattern}")
        ordered = check_scopes(scopes)
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        values = {
            "key_id": key_id,
            "app": app,
            "scopes": ",".join(ordered),
            "secret_hash": hash_of(secret),
            "created_at": now,
        }
        with self._engine.begin() as connection:
            connection.execute(insert(api_keys).values(values))
        return f"{PUBLISHABLE if ordered == ('device',) else SECRET}_{key_id}_{secret}"

    def all(self, app: str | None = None) -> list[KeyEntry]:
        """List every key, or those of one app, oldest first."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
        if app is not None:
            query = query.where(api_keys.c.app == app)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [
            KeyEntry(row.key_id, row.app, tuple(row.scopes.split(",")), row.created_at, row.revoked_at) for row in rows
        ]

    def revoke(self, key_id: str, now: int, app: str | None = None) -> None:
        """End a key, of one app if that is said. Raises ServingError for an unknown one."""
        where = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
        if app is not None:
            where &= api_keys.c.app == app
        with self._engine.begin() as connection:
            if connection.execute(update(api_keys).where(where).values(revoked_at=now)).rowcount != 1:
                raise ServingError(f"key_id={key_id}: is no key that is good")

    def close(self) -> None:
        """Let go of the store's connections."""
        self._engine.dispose()

    def commits(self) -> Commits:
        """Watch commits: tells cheaply that nothing was written to the store."""
        return Commits(self._engine)

    def version(self) -> tuple[int, int]:
        """Count keys: how many there ever were, and how many are revoked.

        It changes with every key that is created or revoked.
        """
        counts = select(func.count(), func.count(api_keys.c.revoked_at)).select_from(api_keys)
        with reading(self._engine) as connection:
            created, revoked = connection.execute(counts).one()
        return int(created), int(revoked)

    def good(self) -> dict[str, ActiveKey]:
        """Collect every key that is not revoked, by its id."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(api_keys).where(api_keys.c.revoked_at.is_(None))).all()
        return {
            row.key_id: ActiveKey(bytes(row.secret_hash), Caller(row.app, row.key_id, frozenset(row.scopes.split(","))))
            for row in rows
        }


def split_key(key: str) -> tuple[str, str] | None:
    """Split a key into its id and secret; None for what is not shaped like one."""
    match = _SHAPE.fullmatch(key)
    return None if match is None else (match[1], match[2])


def hash_of(secret: str) -> bytes:
    """Hash a secret into what is stored of it: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def check_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    """Sort scopes in the order of SCOPES, each once.

    Raises ServingError for none, unknown ones, and a shared `device`.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ServingError(f"scopes: {scope!r} must be one of {', '.join(SCOPES)}")
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    if not ordered:
        raise ServingError(f"scopes: none given, must be some of {', '.join(SCOPES)}")
    if "device" in ordered and len(ordered) > 1:
        raise ServingError("scopes: device must be alone, since such a key is published with the shop's pages")
    return ordered


class MintCounter:
    """Counts what each app minted in each period (Sybil bound)."""

    def __init__(self, engine: Engine, *, period_s: int, tokens_per_period: int) -> None:
        self._engine, self._period_s, self._bound = engine, period_s, tokens_per_period
        prepare(engine, SCHEMA)

    def reserve(self, app: str, count: int, now: int) -> None:
        """Count tokens about to be minted. Raises IssuerBound if they are too many."""
        period = now // self._period_s
        where = (mints.c.app == app) & (mints.c.period == period)
        with reading(self._engine) as connection:
            known = connection.execute(select(mints.c.n).where(where)).one_or_none()
        if known is None:
            self._begin(app, period)
        with self._engine.begin() as connection:
            within = where & (mints.c.n + count <= self._bound)
            if connection.execute(update(mints).where(within).values(n=mints.c.n + count)).rowcount != 1:
                left = self._bound - connection.execute(select(mints.c.n).where(where)).scalar_one()
                raise IssuerBound(f"count={count}: must be at most {left} until the next period")

    def left_s(self, now: int) -> int:
        """Compute the seconds until the next period."""
        return self._period_s - now % self._period_s

    def _begin(self, app: str, period: int) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(mints.delete().where(mints.c.period < period))
                connection.execute(insert(mints).values(app=app, period=period, n=0))
        except IntegrityError:
            pass  # somebody else was first
