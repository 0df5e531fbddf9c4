"""The custodian's public log in its database: appended to in the transaction that signs, never changed.

One hash for a version, for ever: a service that could have a second bundle signed under the same version would train
each victim on a catalogue of its own.
"""

from __future__ import annotations

import sqlalchemy as sa

from data.errors import FederationError
from federation.custodian.issuer_keys import key_of, take_key
from federation.custodian.schema import BUNDLES, EXPERIMENT_ROUNDS, LOG, ROUNDS
from federation.private_sum.refusals import ForeignTask, TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogHead, LogRefused, leaf_hash, prove_consistency, prove_inclusion, root_of
from federation.protocol.messages import Purpose, Task
from federation.protocol.no_answer import NoAnswer
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.transparency import (
    MAX_ENTRIES,
    LogProof,
    answer_entry,
    bundle_entry,
    clusters_entry,
    issuer_key_entry,
    no_answer_entry,
    plan_entry,
    task_entry,
)

CLUSTERS = "CLUSTERS"
"""In place of a purpose, for the hashes of clusters files."""


class RoundOpen(FederationError):
    """Another training round still takes reports; asking again once it is closed is safe."""


def begin_log(connection: sa.Connection, plan_json: str) -> None:
    """Make the plan the first entry, and log what was signed before there was a log."""
    if connection.execute(sa.select(sa.exists().where(LOG.c.position == 0))).scalar_one():
        return
    _append(connection, plan_entry(plan_json))
    stored = connection.execute(sa.select(ROUNDS.c.task).order_by(ROUNDS.c.deadline, ROUNDS.c.task_id)).scalars().all()
    for task in map(Task.from_bytes, stored):
        if task.purpose is Purpose.TRAINING and _bundle_hash(connection, task) is None:
            _add_bundle(connection, task)
        _append(connection, task_entry(task))


def log_task(connection: sa.Connection, task: Task) -> None:
    """Append a task that is being signed, and its bundle if the version is new. Raises TaskRefused for another hash.

    Experiments of two apps may have one name; a device holds the definition, and compares its hash itself.
    """
    held = task.bundle_hash if task.purpose is not Purpose.TRAINING else _bundle_hash(connection, task)
    if held is None:
        _add_bundle(connection, task)
    elif held != task.bundle_hash:
        raise TaskRefused(
            f"bundle_hash={task.bundle_hash.hex()[:16]}… of bundle_version={task.bundle_version}: must be"
            f" {held.hex()[:16]}…, as signed before; a version has one hash for ever"
        )
    _append(connection, task_entry(task))


def log_clusters(connection: sa.Connection, version: str, content_hash: bytes) -> None:
    """Append the hash of a version's clusters file, unless it is there. Raises TaskRefused for another hash."""
    where = (BUNDLES.c.purpose == CLUSTERS, BUNDLES.c.version == version)
    held = connection.execute(sa.select(BUNDLES.c.bundle_hash).where(*where)).scalar_one_or_none()
    if held is None:
        connection.execute(BUNDLES.insert(), {"purpose": CLUSTERS, "version": version, "bundle_hash": content_hash})
        _append(connection, clusters_entry(version, content_hash))
    elif bytes(held) != content_hash:
        raise TaskRefused(
            f"clusters of bundle_version={version}: must be {bytes(held).hex()[:16]}…, as logged before; a version has"
            " one file for ever"
        )


def log_answer(connection: sa.Connection, task_hash: bytes, block: int, batch_digest: bytes) -> None:
    """Append that a block is answered: a log put back to before it is then shorter than others have seen."""
    _append(connection, answer_entry(task_hash, block, batch_digest))


def log_no_answer(connection: sa.Connection, statement: NoAnswer) -> None:
    """Append that a round is closed, and which of its blocks got no answer."""
    _append(connection, no_answer_entry(statement))


def check_no_open_round(connection: sa.Connection, task: Task, now: int) -> None:
    """Raise RoundOpen while another training round takes reports: one question at a time."""
    if task.purpose is not Purpose.TRAINING:
        return
    taking = sa.and_(
        ROUNDS.c.closed_at.is_(None),
        ROUNDS.c.deadline >= now,
        ROUNDS.c.task_id != task.task_id,
        ROUNDS.c.task_hash.not_in(sa.select(EXPERIMENT_ROUNDS.c.task_hash)),
    )
    other = connection.execute(sa.select(ROUNDS.c.task_id).where(taking)).scalars().first()
    if other is not None:
        raise RoundOpen(f"task_id={task.task_id}: round {other} must be closed first; one is open at a time")


def signed_head(connection: sa.Connection, key: SigningKey, now: int) -> LogHead:
    """Read the log as it is."""
    leaves = _leaves(connection)
    return LogHead(len(leaves), root_of(leaves), now).signed_by(key)


def log_proof(connection: sa.Connection, key: SigningKey, task_id: str, since: int, now: int) -> LogProof:
    """Prove that the task is in the log, and that the log goes on from size since. Raises ForeignTask, LogRefused."""
    task = connection.execute(sa.select(ROUNDS.c.task).where(ROUNDS.c.task_id == task_id)).scalar_one_or_none()
    if task is None:
        raise ForeignTask(f"task_id={task_id}: was not signed here")
    return _prove(connection, key, task_entry(Task.from_bytes(task)), since, now)


def clusters_proof(connection: sa.Connection, key: SigningKey, version: str, since: int, now: int) -> LogProof:
    """Prove the clusters file of a version as log_proof does a task. Raises ForeignTask, LogRefused."""
    where = (BUNDLES.c.purpose == CLUSTERS, BUNDLES.c.version == version)
    held = connection.execute(sa.select(BUNDLES.c.bundle_hash).where(*where)).scalar_one_or_none()
    if held is None:
        raise ForeignTask(f"clusters of bundle_version={version}: were not logged here")
    return _prove(connection, key, clusters_entry(version, bytes(held)), since, now)


def log_issuer_key(connection: sa.Connection, asked: IssuerKey, now: int) -> None:
    """Append an issuer's key, once. Raises IssuerKeyRefused for one of too many."""
    if take_key(connection, asked, now):
        _append(connection, issuer_key_entry(asked))


def issuer_key_proof(connection: sa.Connection, key: SigningKey, token_key_id: bytes, since: int, now: int) -> LogProof:
    """Prove that an issuer's key is in the log, as log_proof does. Raises IssuerKeyRefused, LogRefused."""
    held = key_of(connection, token_key_id)
    if held is None:
        raise IssuerKeyRefused(f"token_key_id={token_key_id.hex()}: is not in the log")
    return _prove(connection, key, issuer_key_entry(held), since, now)


def _prove(connection: sa.Connection, key: SigningKey, entry: bytes, since: int, now: int) -> LogProof:
    leaves = _leaves(connection)
    index = leaves.index(leaf_hash(entry))
    if not 0 <= since <= len(leaves):
        raise LogRefused(f"since={since}: must be 0..{len(leaves)}")
    head = LogHead(len(leaves), root_of(leaves), now).signed_by(key)
    return LogProof(head, index, prove_inclusion(leaves, index), since, prove_consistency(leaves, since))


def entries_from(connection: sa.Connection, start: int) -> list[bytes]:
    """Read the log's entries from a position on, some at a time."""
    rows = sa.select(LOG.c.entry).where(LOG.c.position >= start).order_by(LOG.c.position).limit(MAX_ENTRIES)
    return [bytes(entry) for entry in connection.execute(rows).scalars()]


def _leaves(connection: sa.Connection) -> list[bytes]:
    return [bytes(leaf) for leaf in connection.execute(sa.select(LOG.c.leaf).order_by(LOG.c.position)).scalars()]


def _append(connection: sa.Connection, entry: bytes) -> None:
    position = connection.execute(sa.select(sa.func.count()).select_from(LOG)).scalar_one()
    connection.execute(LOG.insert(), {"position": position, "entry": entry, "leaf": leaf_hash(entry)})


def _bundle_hash(connection: sa.Connection, task: Task) -> bytes | None:
    key = (BUNDLES.c.purpose == task.purpose.name, BUNDLES.c.version == task.bundle_version)
    held = connection.execute(sa.select(BUNDLES.c.bundle_hash).where(*key)).scalar_one_or_none()
    return None if held is None else bytes(held)


def _add_bundle(connection: sa.Connection, task: Task) -> None:
    row = {"purpose": task.purpose.name, "version": task.bundle_version, "bundle_hash": task.bundle_hash}
    connection.execute(BUNDLES.insert(), row)
    _append(connection, bundle_entry(task))
