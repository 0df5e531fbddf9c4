"""The custodian: its rounds, its ledger and its answers, each change of them one transaction before anybody is told.

Every operation is idempotent: the same draft gives the same task, the same batch the same bytes. A crash at any moment
(federation/storage/crash_points.py names them) leaves nothing half done: what a reply never reached is given when
asked again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data.errors import ServingError
from federation.custodian.answer_markers import AnswerMarkers
from federation.custodian.budget import check_budget
from federation.custodian.closing import close_round, no_answer, overdue_rounds
from federation.custodian.committing import commit_answer
from federation.custodian.issuer_keys import check_tokens
from federation.custodian.ledger_counts import LedgerTotals, count_totals
from federation.custodian.log_store import (
    begin_log,
    check_no_open_round,
    clusters_proof,
    entries_from,
    issuer_key_proof,
    log_clusters,
    log_issuer_key,
    log_proof,
    log_task,
    signed_head,
)
from federation.custodian.policy import CustodianPolicy, ExperimentTerms, answer_batch, open_round
from federation.custodian.round_keys import RoundKeys
from federation.custodian.rows import (
    answers_given,
    counted_among,
    given_to,
    held_task,
    lock_writer,
    round_row,
)
from federation.custodian.schema import ANSWERS, CUSTODIAN, EXPERIMENT_ROUNDS, ROUNDS, SCHEMA
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.round_plan import check_round_plan
from federation.private_sum.custodian_half import Round
from federation.private_sum.exchange import MAX_BATCH_BYTES, Answer, Batch
from federation.private_sum.refusals import AlreadyCounted, ForeignTask, TaskRefused
from federation.private_sum.sealing import RoundKey
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Purpose, Task
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.protocol.transparency import clusters_of_bytes, entries_to_bytes
from federation.storage.crash_points import crash_point
from federation.storage.database import open_engine, reading, sqlite_url
from federation.storage.key_files import load_or_make_key
from federation.storage.migrations import prepare

MAX_OPEN_S = 8 * 86_400
"""No deadline further away than this: a round's key should not live longer."""

GRACE_S = 2 * 86_400
"""A round that nobody closed is closed so long after its deadline; its answers are forgotten after as long again."""


@dataclass(frozen=True)
class Custodian:
    """One custodian: plan, signing key, database and round keys. Safe in threads; one process at a time.

    experiments: on which terms it signs windows of experiments; None signs none. max_batch_bytes: it signs no task
    whose batches could be larger.
    """

    plan: PrivacyPlan
    key: SigningKey
    engine: sa.Engine
    round_keys: RoundKeys
    markers: AnswerMarkers
    experiments: ExperimentTerms | None = None
    max_batch_bytes: int = MAX_BATCH_BYTES
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @staticmethod
    def open(
        folder: Path,
        plan: PrivacyPlan,
        now: int,
        database: str | None = None,
        experiments: ExperimentTerms | None = None,
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        accept_restore: bool = False,
    ) -> Custodian:
        """Open the custodian of a folder, made if there is none.

        database: URL, default an SQLite file in the folder.

        accept_restore: go on with a database that lacks answers which were given; their cost stays counted.

        What a crash left open is brought to its end. Raises ServingError for a folder in use, or made for another plan:
        a ledger belongs to one promise.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as opened:
            round_keys = RoundKeys.open(folder / "round-keys")
            opened.callback(round_keys.release)
            try:
                engine = open_engine(sqlite_url(folder / "custodian.sqlite") if database is None else database)
                opened.callback(engine.dispose)
                key = load_or_make_key(folder / "signing.key")
                markers = AnswerMarkers.open(folder / "answered")
                custodian = Custodian(plan, key, engine, round_keys, markers, experiments, max_batch_bytes)
                custodian._settle(now)
                if accept_restore:
                    with reading(engine) as connection:
                        markers.give_up(answers_given(connection))
            except (SQLAlchemyError, ImportError) as error:
                # Not the error's own words: they hold the URL, and so its password.
                raise ServingError(f"database: cannot be opened ({type(error).__name__})") from None
            opened.pop_all()
        return custodian

    def shut(self) -> None:
        """Let go of files and database."""
        self.engine.dispose()
        self.round_keys.release()

    def open_round(self, draft: bytes, now: int) -> bytes:
        """Sign the task of a draft, both in bytes; it is in the log then.

        Raises TaskRefused, TaskConflict, BudgetExhausted, and RoundOpen while another training round takes reports.
        """
        asked, digest = Task.from_draft_bytes(draft), hashlib.sha256(draft).digest()
        with self._lock:
            self._expire(now)
            with reading(self.engine) as connection:
                held = held_task(connection, asked.task_id, digest)
            if held is not None:
                return held
            if not now <= asked.deadline <= now + MAX_OPEN_S:
                raise TaskRefused(f"deadline={asked.deadline}: must be {now}..{now + MAX_OPEN_S}")
            task, opened = open_round(asked, self._policy(asked), self.key)
            if asked.purpose is Purpose.TRAINING:
                check_round_plan(asked, self.plan)
            assert opened.key is not None
            self.round_keys.write(task.hash, opened.key.private)
            crash_point("custodian: round key written")
            try:
                with self.engine.begin() as connection:
                    lock_writer(connection)
                    held = held_task(connection, task.task_id, digest)
                    if held is None:
                        self._check_not_restored(connection)
                        check_budget(connection, task.purpose, self.markers.given_up(), self.plan, self.experiments)
                        check_no_open_round(connection, task, now)
                        connection.execute(ROUNDS.insert(), round_row(task, digest))
                        if task.purpose is Purpose.EXPERIMENT:
                            connection.execute(EXPERIMENT_ROUNDS.insert(), {"task_hash": task.hash})
                        log_task(connection, task)
                        crash_point("custodian: round stored")
            except BaseException:
                self.round_keys.destroy(task.hash)
                raise
            if held is not None:
                self.round_keys.destroy(task.hash)
                return held
            crash_point("custodian: round committed")
            return task.to_bytes()

    def answer(self, asked: bytes, now: int) -> bytes:
        """Answer a batch, both in bytes: the same bytes to the same batch for ever.

        Ids, tokens, ledger and answer are one transaction. Raises MalformedBatch, what check_tokens raises, and what
        private_sum.custodian.answer raises: ForeignTask for a round left open too long after its deadline, too.
        """
        batch = Batch.from_bytes(asked)
        with self._lock:
            self._expire(now)
            with reading(self.engine) as connection:
                task, before = self._round(connection, batch)
                counted = counted_among(connection, [seed.report_id for seed in batch.seeds])
                spent = [] if before.answers else check_tokens(connection, task, batch)
            _, given = answer_batch(task, batch, before, self.key.public, counted)
            if given in before.answers:
                self._told(task, given)
                return given.to_bytes()
            if self.markers.is_marked(batch.task_hash, batch.block):
                raise AlreadyCounted(f"block={batch.block}: was answered, which the database has forgotten")
            crash_point("custodian: answer computed")
            self.plan.epsilon_after(1)  # loads the accountant before the transaction, not inside it
            try:
                with self.engine.begin() as connection:
                    lock_writer(connection)
                    commit_answer(connection, task, given, spent, self.plan, self.experiments, now)
            except IntegrityError:
                return self._other_answer(batch).to_bytes()
            crash_point("custodian: answer committed")
            self._told(task, given)
            return given.to_bytes()

    def close(self, task_id: str, now: int) -> None:
        """Destroy a round's key; its answers can still be asked for a while. Raises ForeignTask for an unknown task."""
        with self._lock:
            self._expire(now)
            with self.engine.begin() as connection:
                lock_writer(connection)
                task_hash = connection.execute(
                    sa.select(ROUNDS.c.task_hash).where(ROUNDS.c.task_id == task_id)
                ).scalar_one_or_none()
                if task_hash is None:
                    raise ForeignTask(f"task_id={task_id}: was not signed here")
                close_round(connection, task_hash, self.markers, self.key, now)
                crash_point("custodian: close stored")
            crash_point("custodian: close committed")
            self.round_keys.destroy(task_hash)
            crash_point("custodian: round key destroyed")

    def no_answer(self, task_id: str) -> bytes:
        """State (bytes) which blocks of a closed round got no answer. Raises ForeignTask, RoundOpen."""
        with self._lock, reading(self.engine) as connection:
            return no_answer(connection, task_id, self.markers, self.key, self.round_keys).to_bytes()

    def expire(self, now: int) -> None:
        """Destroy the keys of rounds that nobody closed, and forget old answers; to be called now and then."""
        with self._lock:
            self._expire(now)

    def totals(self) -> LedgerTotals:
        """Count what the ledger holds."""
        with reading(self.engine) as connection:
            return count_totals(connection, self.plan)

    def log_head(self, now: int) -> bytes:
        """Sign the head (bytes) of the public log."""
        with reading(self.engine) as connection:
            return signed_head(connection, self.key, now).to_bytes()

    def log_proof(self, task_id: str, since: int, now: int) -> bytes:
        """Prove (bytes) a task in the log, which goes on from size since. Raises ForeignTask, LogRefused."""
        with reading(self.engine) as connection:
            return log_proof(connection, self.key, task_id, since, now).to_bytes()

    def log_clusters(self, asked: bytes) -> None:
        """Log the hash of a version's clusters file (clusters_to_bytes). Raises TaskRefused for a version's second."""
        version, content_hash = clusters_of_bytes(asked)
        with self._lock, self.engine.begin() as connection:
            lock_writer(connection)
            log_clusters(connection, version, content_hash)

    def clusters_proof(self, version: str, since: int, now: int) -> bytes:
        """Prove (bytes) a version's clusters file in the log. Raises ForeignTask, LogRefused."""
        with reading(self.engine) as connection:
            return clusters_proof(connection, self.key, version, since, now).to_bytes()

    def add_issuer_key(self, asked: bytes, now: int) -> bytes:
        """Log an issuer's key (bytes); empty bytes. Raises IssuerKeyRefused."""
        key = IssuerKey.from_bytes(asked)
        with self._lock, self.engine.begin() as connection:
            lock_writer(connection)
            log_issuer_key(connection, key, now)
        return b""

    def issuer_key_proof(self, token_key_id: bytes, since: int, now: int) -> bytes:
        """Prove (bytes) an issuer's key in the log, as log_proof does. Raises IssuerKeyRefused, LogRefused."""
        with reading(self.engine) as connection:
            return issuer_key_proof(connection, self.key, token_key_id, since, now).to_bytes()

    def log_entries(self, start: int) -> bytes:
        """Entries (bytes) of the log from a position on."""
        with reading(self.engine) as connection:
            return entries_to_bytes(entries_from(connection, start))

    def ready(self) -> bool:
        """Check that the database answers."""
        with reading(self.engine) as connection:
            return connection.execute(sa.select(CUSTODIAN.c.id)).first() is not None

    def _policy(self, draft: Task) -> CustodianPolicy:
        """Choose the weakest task of the draft's purpose that is signed here. Raises TaskRefused."""
        if draft.purpose is Purpose.TRAINING:
            return CustodianPolicy(self.plan.min_reports, self.plan.noise_multiplier, self.max_batch_bytes)
        if self.experiments is None:
            raise TaskRefused("experiments: this custodian signs none; it is started without terms for them")
        self.experiments.check(draft)
        return CustodianPolicy(self.experiments.min_reports, 0.0, self.max_batch_bytes)

    def _round(self, connection: sa.Connection, batch: Batch) -> tuple[Task, Round]:
        """Read the signed task and the round of a batch, with the answer to its block if there is one."""
        row = connection.execute(
            sa.select(ROUNDS.c.task, ROUNDS.c.closed_at).where(ROUNDS.c.task_hash == batch.task_hash)
        ).one_or_none()
        if row is None:
            raise ForeignTask(f"task_hash={batch.task_hash.hex()}: was not signed here")
        task = Task.from_bytes(row.task)
        private = None if row.closed_at is not None else self.round_keys.read(batch.task_hash)
        key = None if private is None else RoundKey(task.suite, task.round_public_key, private)
        given = given_to(connection, batch)
        return task, Round(batch.task_hash, task.plan, len(task.blocks), key, () if given is None else (given,))

    def _told(self, task: Task, given: Answer) -> None:
        """Make sure, before anybody is told, that no other answer can follow: the key dies with the last block's."""
        with reading(self.engine) as connection:
            answered = answers_given(connection)
            of_round = connection.execute(
                sa.select(ROUNDS.c.answered).where(ROUNDS.c.task_hash == task.hash)
            ).scalar_one()
        self.markers.mark(task.hash, given.block, answered)
        crash_point("custodian: answer marked")
        if of_round == len(task.blocks):
            self.round_keys.destroy(task.hash)

    def _check_not_restored(self, connection: sa.Connection) -> None:
        """Raise TaskRefused for a database that was restored from a backup until the operator says so."""
        missing = self.markers.missing(answers_given(connection))
        if missing:
            raise TaskRefused(
                f"database: lacks {missing} answers that were given, it was restored from a backup; start once with "
                "--accept-restore to go on, their cost stays counted"
            )

    def _other_answer(self, batch: Batch) -> Answer:
        """Return what another process committed meanwhile: its answer to this batch, or why there is none."""
        with reading(self.engine) as connection:
            given = given_to(connection, batch)
        if given is None or given.batch_digest != batch.digest:
            raise AlreadyCounted(f"block={batch.block}: reports of it were counted meanwhile")
        return given

    def _settle(self, now: int) -> None:
        """Make the tables, hold the stored plan and key against ours, end what a crash interrupted."""
        mine: Mapping[str, Any] = {"id": 1, "plan": self.plan.to_json(), "public_key": self.key.public}
        prepare(self.engine, SCHEMA)
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(CUSTODIAN)).mappings().one_or_none()
            if row is None:
                connection.execute(CUSTODIAN.insert(), mine)
            elif dict(row) | {"plan": PrivacyPlan.from_json(row["plan"]).to_json()} != mine:  # 1 and 1.0 are one plan
                raise ServingError("store: was made for another plan or key; a new plan needs a store of its own")
            begin_log(connection, self.plan.to_json())
        self._expire(now)
        with reading(self.engine) as connection:
            still_open = connection.execute(sa.select(ROUNDS.c.task_hash).where(ROUNDS.c.closed_at.is_(None))).scalars()
            self.round_keys.destroy_all_but(still_open.all())

    def _expire(self, now: int) -> None:
        """Close rounds that were left open long after their deadline; forget answers long after their round."""
        stale = sa.and_(
            ANSWERS.c.answer.is_not(None),
            ANSWERS.c.task_hash.in_(sa.select(ROUNDS.c.task_hash).where(ROUNDS.c.closed_at < now - GRACE_S)),
        )
        with reading(self.engine) as connection:
            late = overdue_rounds(connection, now - GRACE_S)
            old = connection.execute(sa.select(sa.exists().where(stale))).scalar_one()
        if late or old:
            with self.engine.begin() as connection:
                lock_writer(connection)
                for task_hash in late:
                    close_round(connection, task_hash, self.markers, self.key, now)
                connection.execute(ANSWERS.update().where(stale).values(answer=None))
        for task_hash in late:
            self.round_keys.destroy(task_hash)
