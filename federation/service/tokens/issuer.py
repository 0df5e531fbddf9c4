"""The service as issuer: one key for each app, minting key and period, made when it is first asked for, then logged.

A key is handed out only once the custodian has it in its public log. The store holds the private keys, so that every
process signs with the same one; each is forgotten when the last task that it is for is over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.private_sum.refusals import TokenInvalid
from federation.protocol.messages import Task
from federation.protocol.tokens.blind_rsa import EXPONENT, BlindSigner
from federation.protocol.tokens.issuer_key import MODULUS_BITS, IssuerKey, IssuerKeyRefused
from federation.protocol.tokens.report_token import Right, check_token
from federation.service.block_sum import Custodian
from federation.service.round_schema import issuer_keys
from federation.storage.database import reading

LOOK_AGAIN_S = 0.2
"""Unknown keys are looked for in the store no more often than that, whatever tokens strangers make up."""

AHEAD_S = 8 * 86_400
"""How far away the deadline of a task may be: as far as a custodian signs one."""

_OF = issuer_keys.c


def generate_key() -> rsa.RSAPrivateKey:
    """Generate the private key of an issuer."""
    return rsa.generate_private_key(EXPONENT, MODULUS_BITS)


class Issuer:
    """Makes issuers' keys, signs with them, and checks the tokens that come of it. Safe in threads and processes."""

    def __init__(
        self,
        engine: Engine,
        custodian: Custodian,
        *,
        period_s: int = 86_400,
        generate: Callable[[], rsa.RSAPrivateKey] = generate_key,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """engine: of the rounds' store. period_s: a key is for the tasks whose deadline is in one such period."""
        self._engine, self._custodian = engine, custodian
        self._period_s, self._generate = period_s, generate
        self._keys: dict[bytes, IssuerKey] = {}
        self._signers: dict[bytes, BlindSigner] = {}
        self._making = threading.Lock()
        self._clock, self._looked_at = clock, -math.inf

    def key_for(self, app: str, minting_key: str, deadline: int, now: int) -> IssuerKey:
        """Get the key of an app's minting key for tasks of this deadline, made and logged if there is none yet.

        Times: seconds since 1970-01-01 UTC. Raises IssuerKeyRefused for a deadline in the past or too far away, and
        what the custodian's client raises.
        """
        if not now <= deadline <= now + AHEAD_S:
            raise IssuerKeyRefused(f"deadline={deadline}: must be {now}..{now + AHEAD_S}")
        with self._making:
            row = self._find(app, minting_key, deadline)
            if row is None:
                self._make(app, minting_key, deadline, now)
                row = self._find(app, minting_key, deadline)
            assert row is not None
            key = IssuerKey.from_bytes(row.public)
            if not row.logged:
                self._custodian.add_issuer_key(key)
                with self._engine.begin() as connection:
                    connection.execute(update(issuer_keys).where(_OF.token_key_id == key.token_key_id).values(logged=1))
            self._keys[key.token_key_id] = key
        return key

    def sign(self, app: str, minting_key: str, token_key_id: bytes, blinded: Sequence[bytes], now: int) -> list[bytes]:
        """Sign blinded messages with the key that an app's minting key was given.

        Raises IssuerKeyRefused for a key that is another's or over, BlindingRefused for what no blinding gives.
        """
        key = self._find_key(token_key_id)
        if key is None or (key.app, key.minting_key) != (app, minting_key) or now > key.not_after:
            self._signers.pop(token_key_id, None)
            raise IssuerKeyRefused(f"token_key_id={token_key_id.hex()}: is no key that this one signs with now")
        signer = self._signer(token_key_id)
        return [signer.sign(message) for message in blinded]

    def check(self, token: bytes, task: Task, app: str) -> Right:
        """Check what a token is good for in a task's round, of which an app is the owner. Raises TokenInvalid."""
        right = check_token(token, task, self._known_key)
        if right.issuer != app:
            raise TokenInvalid("token: is of another app than the round")
        return right

    def log_proof(self, token_key_id: bytes, since: int) -> bytes:
        """Prove (bytes) that a key is in the custodian's log. Raises IssuerKeyRefused for a key of nobody here."""
        if self._find_key(token_key_id) is None:
            raise IssuerKeyRefused(f"token_key_id={token_key_id.hex()}: is no key of this service")
        return self._custodian.issuer_key_proof(token_key_id, since)

    def _known_key(self, token_key_id: bytes) -> IssuerKey | None:
        """Find a key by memory, or in the store if that was not asked just now; for tokens of anybody."""
        held, now = self._keys.get(token_key_id), self._clock()
        if held is not None or now < self._looked_at + LOOK_AGAIN_S:
            return held
        self._looked_at = now
        return self._find_key(token_key_id)

    def _find_key(self, token_key_id: bytes) -> IssuerKey | None:
        held = self._keys.get(token_key_id)
        if held is None:
            query = select(_OF.public).where(_OF.token_key_id == token_key_id, _OF.logged == 1)
            with reading(self._engine) as connection:
                public = connection.execute(query).scalar_one_or_none()
            if public is None:
                return None
            held = self._keys[token_key_id] = IssuerKey.from_bytes(public)
        return held

    def _signer(self, token_key_id: bytes) -> BlindSigner:
        held = self._signers.get(token_key_id)
        if held is None:
            query = select(_OF.private).where(_OF.token_key_id == token_key_id)
            with reading(self._engine) as connection:
                private = connection.execute(query).scalar_one()
            loaded = load_der_private_key(private, None)
            assert isinstance(loaded, rsa.RSAPrivateKey)
            held = self._signers[token_key_id] = BlindSigner.of(loaded)
        return held

    def _find(self, app: str, minting_key: str, deadline: int) -> Row[Any, Any] | None:
        query = select(_OF.public, _OF.logged).where(_for(app, minting_key, deadline))
        with reading(self._engine) as connection:
            return connection.execute(query).one_or_none()

    def _make(self, app: str, minting_key: str, deadline: int, now: int) -> None:
        """Store a new key, unless another process was first; forget private keys that are over."""
        private = self._generate()
        modulus = private.private_numbers().public_numbers.n
        with self._engine.begin() as connection:
            over = and_(_OF.not_after < now, _OF.private.is_not(None))
            for gone in connection.execute(select(_OF.token_key_id).where(over)).scalars().all():
                self._signers.pop(gone, None)
            connection.execute(update(issuer_keys).where(over).values(private=None))
            start, end = self._period(connection, app, minting_key, deadline)
        key = IssuerKey(app, minting_key, start, end, modulus)
        row = {
            "token_key_id": key.token_key_id,
            "app": app,
            "minting_key": minting_key,
            "not_before": start,
            "not_after": end,
            "public": key.to_bytes(),
            "private": private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(issuer_keys).values(row))
        except IntegrityError:
            pass  # another process was first

    def _period(self, connection: Connection, app: str, minting_key: str, deadline: int) -> tuple[int, int]:
        """Find the period of a deadline, without what other keys are for: the length of periods may have changed."""
        start = deadline - deadline % self._period_s
        end = start + self._period_s - 1
        own = (_OF.app == app, _OF.minting_key == minting_key)
        periods = connection.execute(
            select(_OF.not_before, _OF.not_after).where(*own, _OF.not_after >= start, _OF.not_before <= end)
        ).all()
        start = max([start, *(taken.not_after + 1 for taken in periods if taken.not_after < deadline)])
        return start, min([end, *(taken.not_before - 1 for taken in periods if taken.not_before > deadline)])


def _for(app: str, minting_key: str, deadline: int) -> ColumnElement[bool]:
    return and_(_OF.app == app, _OF.minting_key == minting_key, _OF.not_before <= deadline, _OF.not_after >= deadline)
