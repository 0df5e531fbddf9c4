"""Rounds and their sums in SQL. Every change of a round's state is one transaction that names the state before."""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, Table, func, insert, select, update

from data.errors import FederationError
from federation.learning.mix_sum import SHARE_OF_ROUND, mix_sum_of
from federation.protocol.messages import Task
from federation.protocol.transparency import SeenHead
from federation.service.intake.report_store import ReportStore, blank
from federation.service.releases import ACTIVATIONS, Release, ReleaseStore, release
from federation.service.round_schema import (
    SCHEMA,
    RoundState,
    log_heads,
    no_answers,
    releases,
    rounds,
    sums,
)
from federation.storage.activations import RELEASES
from federation.storage.change_log import ROLLED_BACK, UNSIGNED, Change, Reason, append_change
from federation.storage.database import open_engine, reading, truncate_log
from federation.storage.migrations import prepare

log = logging.getLogger("ownshelf.federation")

WIRE_INT = np.dtype("<i4")
BEFORE_SUM = (RoundState.DRAFTED, RoundState.OPEN, RoundState.CLOSED)


class _Round(Protocol):
    @property
    def task(self) -> Task:
        """The draft until the round is open."""
        ...

    @property
    def state(self) -> RoundState: ...


AnyRound = TypeVar("AnyRound", bound=_Round)


@dataclass(frozen=True)
class StoredSum:
    """A block's sum: reports in it, and reports left out, as broken seals are. words is None if it was not summed."""

    counted: int
    broken: int
    words: npt.NDArray[np.int32] | None = field(repr=False)


class RoundStore(ABC, Generic[AnyRound]):
    """The rounds of one table, and the reports to them: `.reports`."""

    def __init__(self, engine: Engine, table: Table, last: RoundState) -> None:
        """table: of rounds, with their state and task. last: the state after which nothing follows."""
        self.engine, self.table, self.last = engine, table, last
        self.reports = ReportStore(engine, table)

    @abstractmethod
    def decode(self, row: Row[Any]) -> AnyRound:
        """Read a round from a row of the table."""

    @abstractmethod
    def keep_sum(self, task_id: str, block: int, block_sum: StoredSum) -> None:
        """Store that a block of a closed round is summed, or given up; a block keeps its first sum."""

    @abstractmethod
    def sums(self, task_id: str) -> dict[int, StoredSum]:
        """Read the sums of a round's blocks so far."""

    def asked(self, task_id: str) -> None:
        """Note that the custodian is about to be asked for a sum of a closed round, if anybody counts that."""

    def log_head(self, custodian_key: bytes) -> SeenHead | None:
        """Read the last head that was seen of a custodian's log."""
        query = select(log_heads.c.size, log_heads.c.root).where(log_heads.c.custodian_key == custodian_key.hex())
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else SeenHead(row.size, bytes(row.root))

    def keep_log_head(self, custodian_key: bytes, head: SeenHead) -> None:
        """Remember a head, unless a later one is known."""
        ours = log_heads.c.custodian_key == custodian_key.hex()
        values = {"size": head.size, "root": head.root}
        with self.engine.begin() as connection:
            held = connection.execute(select(log_heads.c.size).where(ours)).scalar_one_or_none()
            if held is None:
                connection.execute(insert(log_heads).values(custodian_key=custodian_key.hex(), **values))
            elif held < head.size:
                connection.execute(update(log_heads).where(ours, log_heads.c.size < head.size).values(**values))

    def keep_no_answer(self, task_id: str, statement: bytes) -> None:
        """Keep the custodian's statement of what it did not answer, if devices may ask for that."""

    def of_task(self, task_id: str) -> AnyRound | None:
        """Read the round of a task."""
        return next(iter(self._select(self.table.c.task_id == task_id)), None)

    def unfinished(self) -> list[AnyRound]:
        """Read the rounds that something may still become of."""
        return self._select(self.table.c.state.not_in([self.last, RoundState.FAILED]))

    def uncleaned_ids(self) -> list[str]:
        """List the task_ids of rounds that may have shares here, or a key at the custodian."""
        return self._ids(self.table.c.cleaned == 0)

    def cleanable_ids(self) -> list[str]:
        """List those of them whose shares and key nobody needs any more."""
        return self._ids((self.table.c.cleaned == 0) & self.table.c.state.not_in(BEFORE_SUM))

    def opened(self, task: Task) -> None:
        """Change drafted → open, with the task as the custodian signed it."""
        with self.engine.begin() as connection:
            self._change(connection, task.task_id, RoundState.DRAFTED, RoundState.OPEN, task=task.to_bytes())

    def close(self, task_id: str) -> None:
        """Change open → closed: not one report more."""
        with self.engine.begin() as connection:
            self._change(connection, task_id, RoundState.OPEN, RoundState.CLOSED)

    def summed(self, task_id: str, now: int) -> None:
        """Change closed → summed; of its reports only ids and digests remain."""
        values = {"finished_at": now} if self.last is RoundState.SUMMED else {}
        with self.engine.begin() as connection:
            self._change(connection, task_id, RoundState.CLOSED, RoundState.SUMMED, **values)
            blank(connection, task_id)

    def failed(self, task_id: str, state: RoundState, reason: str, now: int) -> None:
        """Change state → failed; of its reports only ids and digests remain."""
        with self.engine.begin() as connection:
            self._change(connection, task_id, state, RoundState.FAILED, failure=reason, finished_at=now)
            blank(connection, task_id)

    def cleaned(self, task_id: str) -> None:
        """Note that shares and the custodian's key are gone; so is SQLite's log of what was deleted."""
        with self.engine.begin() as connection:
            connection.execute(update(self.table).where(self.table.c.task_id == task_id).values(cleaned=1))
        truncate_log(self.engine)

    def _select(self, where: Any) -> list[AnyRound]:
        with reading(self.engine) as connection:
            rows = connection.execute(select(self.table).where(where).order_by(*self.table.primary_key)).all()
        return self.decode_all(rows)

    def decode_all(self, rows: Iterable[Row[Any]]) -> list[AnyRound]:
        """Read the rounds of rows. One that cannot be read stands still and is logged, and stops no other."""
        rounds = []
        for row in rows:
            try:
                rounds.append(self.decode(row))
            except (FederationError, ValueError, TypeError) as error:
                log.error("task_id=%s: its row cannot be read (%s), it stands still", row.task_id, type(error).__name__)
        return rounds

    def _ids(self, where: Any) -> list[str]:
        query = select(self.table.c.task_id).where(where).order_by(*self.table.primary_key)
        with reading(self.engine) as connection:
            return list(connection.execute(query).scalars())

    def _change(
        self, connection: Connection, task_id: str, before: RoundState, after: RoundState, **values: Any
    ) -> None:
        where = (self.table.c.task_id == task_id) & (self.table.c.state == before)
        if connection.execute(update(self.table).where(where).values(state=after, **values)).rowcount != 1:
            raise FederationError(f"task_id={task_id}: must be {before} to become {after}")


def task_of(row: Row[Any]) -> Task:
    """Read a row's task: the draft until the round is open."""
    return Task.from_draft_bytes(row.draft) if row.task is None else Task.from_bytes(row.task)


@dataclass(frozen=True)
class StoredRound:
    """A round as the store has it.

    task: the draft until the round is open. base_version: of the bundle it started from. finished_at: when it reached
    its final state, seconds. summed_blocks, counted: blocks and reports of its sums. cleaned: its shares and the
    custodian's key are destroyed. record: what is public about it.
    """

    number: int
    task_id: str
    state: RoundState
    task: Task = field(repr=False)
    base_version: str
    opened_at: int
    finished_at: int | None
    summed_blocks: int
    counted: int
    cleaned: bool
    record: Mapping[str, Any]
    failure: str | None


class CoordinatorStore(RoundStore[StoredRound]):
    """Training rounds, with the reports and releases that belong to them: `.reports`, `.releases`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, rounds, RoundState.PUBLISHED)
        prepare(engine, SCHEMA)
        self.releases = ReleaseStore(engine)

    @staticmethod
    def open(url: str) -> CoordinatorStore:
        """Open the store of a URL, its tables made if they are missing."""
        return CoordinatorStore(open_engine(url))

    def decode(self, row: Row[Any]) -> StoredRound:
        """Read a training round from its row."""
        return StoredRound(
            number=row.number,
            task_id=row.task_id,
            state=RoundState(row.state),
            task=task_of(row),
            base_version=row.base_version,
            opened_at=row.opened_at,
            finished_at=row.finished_at,
            summed_blocks=row.summed_blocks,
            counted=row.counted,
            cleaned=bool(row.cleaned),
            record=json.loads(row.record),
            failure=row.failure,
        )

    def newest(self) -> StoredRound | None:
        """Read the round of the highest number, of those that can be read."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds).order_by(rounds.c.number.desc()).limit(1)).all()
            if rows and not self.decode_all(rows):
                rows = connection.execute(select(rounds).order_by(rounds.c.number.desc())).all()
        return next(iter(self.decode_all(rows)), None)

    def next_number(self) -> int:
        """Find the next round's number: one more than any that was drafted, also of those that cannot be read."""
        with reading(self.engine) as connection:
            newest = connection.execute(select(func.max(rounds.c.number))).scalar_one()
        return 0 if newest is None else int(newest) + 1

    def rounds(self, limit: int) -> list[StoredRound]:
        """Read the newest rounds, newest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds).order_by(rounds.c.number.desc()).limit(limit)).all()
        return self.decode_all(rows)

    def states(self) -> dict[str, int]:
        """Count rounds by state."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds.c.state, func.count()).group_by(rounds.c.state)).all()
        return {state: int(n) for state, n in rows}

    def spent_rounds(self) -> int:
        """Count the rounds that the custodian was asked to sum: each may have been one participation of a device.

        As many rounds of the mix as are one participation count as one, of those that the same device adds to. Never
        fewer than a device may have spent, whatever became of the sum.
        """
        query = select(rounds.c.learns, func.count()).where(rounds.c.asked == 1).group_by(rounds.c.learns)
        with reading(self.engine) as connection:
            asked = {learns: int(n) for learns, n in connection.execute(query).all()}
        steps = asked.get("first_step", 0) + asked.get("step", 0)
        return asked.get("items", 0) + math.ceil(max(steps, asked.get("guard", 0)) * SHARE_OF_ROUND)

    def asked(self, task_id: str) -> None:
        """Note that the custodian is about to be asked for a sum of a closed round: that may cost devices ε."""
        with self.engine.begin() as connection:
            self._change(connection, task_id, RoundState.CLOSED, RoundState.CLOSED, asked=1)

    def draft(self, draft: Task, now: int) -> None:
        """Store a new round, drafted. Raises FederationError if somebody else took its number."""
        values = {
            "number": draft.round,
            "task_id": draft.task_id,
            "state": RoundState.DRAFTED,
            "draft": draft.draft_bytes(),
            "base_version": draft.bundle_version,
            "deadline": draft.deadline,
            "max_reports": draft.plan.max_reports,
            "opened_at": now,
            "learns": mix_sum_of([part.name for part in draft.plan.parts]) or "items",
        }
        with self.engine.begin() as connection:
            if connection.execute(select(rounds.c.number).where(rounds.c.number == draft.round)).one_or_none():
                raise FederationError(f"round={draft.round}: exists already")
            connection.execute(insert(rounds).values(values))

    def keep_sum(self, task_id: str, block: int, block_sum: StoredSum) -> None:
        """Store that a block of a closed round is summed, or given up; a block keeps its first sum."""
        words = b"" if block_sum.words is None else block_sum.words.astype(WIRE_INT, copy=False).tobytes()
        values = {"counted": block_sum.counted, "broken": block_sum.broken, "words": words}
        with self.engine.begin() as connection:
            self._change(
                connection,
                task_id,
                RoundState.CLOSED,
                RoundState.CLOSED,
                summed_blocks=rounds.c.summed_blocks + int(block_sum.words is not None),
                counted=rounds.c.counted + block_sum.counted,
            )
            connection.execute(insert(sums).values(task_id=task_id, block=block, **values))

    def sums(self, task_id: str) -> dict[int, StoredSum]:
        """Read the sums of a round's blocks so far."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(sums).where(sums.c.task_id == task_id)).all()
        return {
            row.block: StoredSum(row.counted, row.broken, np.frombuffer(row.words, WIRE_INT) if row.words else None)
            for row in rows
        }

    def stepped(self, task_id: str, record: Mapping[str, Any]) -> None:
        """Change summed → stepped."""
        with self.engine.begin() as connection:
            self._change(connection, task_id, RoundState.SUMMED, RoundState.STEPPED, record=json.dumps(record))

    def published(self, new_release: Release, record: Mapping[str, Any], now: int) -> None:
        """Change stepped → published, for the round that made a release; the release is active."""
        values = {"record": json.dumps(record), "finished_at": now}
        with self.engine.begin() as connection:
            self._change(connection, str(new_release.task_id), RoundState.STEPPED, RoundState.PUBLISHED, **values)
            release(connection, new_release, now)

    def activate(self, version: str, now: int, reason: Reason = UNSIGNED) -> str:
        """Serve a kept release again, by version or `previous`; its version. The change log says who did it and why.

        A round in progress that started from another bundle fails. Raises ServingError for a version that is not kept,
        NoEarlierVersion for `previous` of the first.
        """
        with self.engine.begin() as connection:
            available = set(connection.execute(select(releases.c.version)).scalars())
            chosen = ACTIVATIONS.resolve(connection, version, available)
            before = ACTIVATIONS.current(connection, available)
            ACTIVATIONS.record(connection, chosen, now)
            change = Change(now, ROLLED_BACK, chosen, before, reason.who, reason.why)
            append_change(connection, RELEASES, change)
            others = rounds.c.state.not_in([RoundState.PUBLISHED, RoundState.FAILED]) & (
                rounds.c.base_version != chosen
            )
            for task_id in connection.execute(select(rounds.c.task_id).where(others)).scalars().all():
                values = {"state": RoundState.FAILED, "failure": "another bundle was activated", "finished_at": now}
                still = (rounds.c.task_id == task_id) & others  # unless it was published meanwhile
                if connection.execute(update(rounds).where(still).values(values)).rowcount:
                    blank(connection, task_id)
        return chosen

    def keep_no_answer(self, task_id: str, statement: bytes) -> None:
        """Keep the custodian's statement of what it did not answer; of several, the first."""
        with self.engine.begin() as connection:
            held = select(no_answers.c.task_id).where(no_answers.c.task_id == task_id)
            if connection.execute(held).one_or_none() is None:
                connection.execute(insert(no_answers).values(task_id=task_id, statement=statement))

    def no_answers(self, limit: int) -> list[bytes]:
        """Read the newest of the statements, newest first."""
        newest = select(no_answers.c.statement).order_by(no_answers.c.sequence.desc()).limit(limit)
        with reading(self.engine) as connection:
            return [bytes(statement) for statement in connection.execute(newest).scalars()]

    def drop_sums(self, keep: int) -> None:
        """Delete all sums but those of the newest `keep` rounds."""
        with self.engine.begin() as connection:
            newest = select(rounds.c.task_id).order_by(rounds.c.number.desc()).limit(keep)
            newest_ids = connection.execute(newest).scalars().all()
            connection.execute(sums.delete().where(sums.c.task_id.not_in(newest_ids)))
