"""Issuers' keys at the custodian, and the tokens of a batch: which reports had a right to be in it.

The service has checked the same tokens as they came. The custodian checks them again, so that nobody counts twice and
no issuer's key marks a few: a batch with one wrong token is answered with a refusal, which costs nothing.
"""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from federation.custodian.schema import ISSUER_KEYS, SPENT
from federation.private_sum.exchange import Batch
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, TokenInvalid
from federation.protocol.messages import Task
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.tokens.report_token import check_token

MAX_PERIOD_S = 32 * 86_400
MAX_AHEAD_S = 2 * MAX_PERIOD_S
MAX_MINTING_KEYS = 16
"""Of one app at any moment: with a key for every shopper, tokens would have names."""

_IDS_AT_ONCE = 500


def take_key(connection: sa.Connection, key: IssuerKey, now: int) -> bool:
    """Store a key that is to be logged; False if it is there already. Raises IssuerKeyRefused.

    A minting key has one issuer's key for each moment and never another, and an app has few minting keys.
    """
    if key.not_after - key.not_before >= MAX_PERIOD_S or key.not_after > now + MAX_AHEAD_S:
        raise IssuerKeyRefused(
            f"not_after={key.not_after}: must be at most {MAX_PERIOD_S} s after not_before, {MAX_AHEAD_S} s from now"
        )
    if key_of(connection, key.token_key_id) == key:
        return False
    overlapping = sa.and_(
        ISSUER_KEYS.c.app == key.app,
        ISSUER_KEYS.c.not_before <= key.not_after,
        ISSUER_KEYS.c.not_after >= key.not_before,
    )
    beside = connection.execute(sa.select(ISSUER_KEYS.c.minting_key, ISSUER_KEYS.c.token_key_id).where(overlapping))
    others = {row.minting_key for row in beside}
    if key.minting_key in others or key_of(connection, key.token_key_id) is not None:
        raise IssuerKeyRefused(f"minting_key={key.minting_key} of app={key.app}: has another key for this period")
    if len(others) >= MAX_MINTING_KEYS:
        raise IssuerKeyRefused(f"app={key.app}: has {len(others)} minting keys in this period, the most there may be")
    row = {
        "token_key_id": key.token_key_id,
        "app": key.app,
        "minting_key": key.minting_key,
        "not_before": key.not_before,
        "not_after": key.not_after,
        "issuer_key": key.to_bytes(),
    }
    connection.execute(ISSUER_KEYS.insert(), row)
    return True


def key_of(connection: sa.Connection, token_key_id: bytes) -> IssuerKey | None:
    """Find a logged key."""
    stored = connection.execute(
        sa.select(ISSUER_KEYS.c.issuer_key).where(ISSUER_KEYS.c.token_key_id == token_key_id)
    ).scalar_one_or_none()
    return None if stored is None else IssuerKey.from_bytes(stored)


def check_tokens(connection: sa.Connection, task: Task, batch: Batch) -> list[dict[str, bytes]]:
    """Check that every report of a batch has a token of its own; the rows to store once the batch is answered.

    Raises BatchRefused for a token that is not good for this task, for tokens of two apps, and for an issuer's key with
    fewer than min_reports reports; AlreadyCounted for a token that is in the batch twice, or was spent in this round.
    """
    held: dict[bytes, IssuerKey | None] = {}

    def find(token_key_id: bytes) -> IssuerKey | None:
        if token_key_id not in held:
            held[token_key_id] = key_of(connection, token_key_id)
        return held[token_key_id]

    try:
        rights = [check_token(seed.token, task, find) for seed in batch.seeds]
    except TokenInvalid as error:
        raise BatchRefused(f"block={batch.block}: {error}") from None
    apps, brought = {right.issuer for right in rights}, Counter(right.tag for right in rights)
    if len(apps) > 1:
        raise BatchRefused(f"block={batch.block}: tokens of {len(apps)} apps, must be of the round's own")
    if len(rights) >= task.plan.min_reports > min(brought.values()):
        raise BatchRefused(
            f"block={batch.block}: an issuer's key has {min(brought.values())} reports, must have"
            f" min_reports={task.plan.min_reports} or none"
        )
    serials = [right.serial for right in rights]
    if len(set(serials)) < len(serials) or _spent(connection, task.hash, serials):
        raise AlreadyCounted(f"block={batch.block}: holds a token that was spent in this round")
    return [{"task_hash": task.hash, "serial": serial} for serial in serials]


def _spent(connection: sa.Connection, task_hash: bytes, serials: list[bytes]) -> bool:
    """Tell whether any of the serials was spent in this round."""
    for start in range(0, len(serials), _IDS_AT_ONCE):
        chunk = serials[start : start + _IDS_AT_ONCE]
        query = sa.select(SPENT.c.serial).where(SPENT.c.task_hash == task_hash, SPENT.c.serial.in_(chunk)).limit(1)
        if connection.execute(query).first() is not None:
            return True
    return False
