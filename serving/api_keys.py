"""API keys of shops' backends, which mint device tokens with them; only a hash is stored, and how much was minted."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import FederationError, ServingError
from federation.database import reading
from federation.rounds_schema import api_keys, mints

PREFIX = "osk"
ISSUER = re.compile(r"[A-Za-z0-9._-]{1,48}", re.ASCII)
_SHAPE = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


class IssuerBound(FederationError):
    """An issuer has minted as many tokens in this period as it may."""


@dataclass(frozen=True)
class KeyEntry:
    """What is stored of a key, but its hash."""

    key_id: str
    issuer: str
    created_at: int
    revoked_at: int | None


class ApiKeys:
    """Keys of a store. A key is 256 random bits, so that its plain SHA-256 tells nothing of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, issuer: str, now: int) -> str:
        """A new key of an issuer; this is the only time it is seen. Raises ServingError for an impossible name."""
        if not ISSUER.fullmatch(issuer):
            raise ServingError(f"issuer={issuer!r}: must match {ISSUER.pattern}")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._engine.begin() as connection:
            values = {"key_id": key_id, "issuer": issuer, "secret_hash": _hash(secret), "created_at": now}
            connection.execute(insert(api_keys).values(values))
        return f"{PREFIX}_{key_id}_{secret}"

    def issuer_of(self, key: str) -> str | None:
        """Whose key this is; None for any that is not good."""
        found = _SHAPE.fullmatch(key)
        if found is None:
            return None
        with reading(self._engine) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.key_id == found[1])).one_or_none()
        stored = _hash("") if row is None else bytes(row.secret_hash)
        same = hmac.compare_digest(stored, _hash(found[2]))
        return str(row.issuer) if row is not None and same and row.revoked_at is None else None

    def all(self) -> list[KeyEntry]:
        """Every key, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)).all()
        return [KeyEntry(row.key_id, row.issuer, row.created_at, row.revoked_at) for row in rows]

    def revoke(self, key_id: str, now: int) -> None:
        """A key that mints no more. Raises ServingError for an unknown one."""
        where = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
        with self._engine.begin() as connection:
            if connection.execute(update(api_keys).where(where).values(revoked_at=now)).rowcount != 1:
                raise ServingError(f"key_id={key_id}: is no key that is good")


class Mints:
    """Counts what each issuer minted in each period (Sybil bound)."""

    def __init__(self, engine: Engine, *, period_s: int, tokens_per_period: int) -> None:
        self._engine, self._period_s, self._bound = engine, period_s, tokens_per_period

    def reserve(self, issuer: str, count: int, now: int) -> None:
        """Count tokens about to be minted. Raises IssuerBound if they are too many."""
        period = now // self._period_s
        where = (mints.c.issuer == issuer) & (mints.c.period == period)
        with reading(self._engine) as connection:
            known = connection.execute(select(mints.c.n).where(where)).one_or_none()
        if known is None:
            self._begin(issuer, period)
        with self._engine.begin() as connection:
            within = where & (mints.c.n + count <= self._bound)
            if connection.execute(update(mints).where(within).values(n=mints.c.n + count)).rowcount != 1:
                left = self._bound - connection.execute(select(mints.c.n).where(where)).scalar_one()
                raise IssuerBound(f"count={count}: must be at most {left} until the next period")

    def left_s(self, now: int) -> int:
        """Seconds until the next period."""
        return self._period_s - now % self._period_s

    def _begin(self, issuer: str, period: int) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(mints.delete().where(mints.c.period < period))
                connection.execute(insert(mints).values(issuer=issuer, period=period, n=0))
        except IntegrityError:
            pass  # somebody else was first


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
