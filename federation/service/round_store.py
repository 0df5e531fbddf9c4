"""Rounds and their sums in SQL. Every change of a round's state is one transaction that names the state before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from data.errors import FederationError
from federation.protocol.messages import Task
from federation.service.intake.report_store import ReportStore, blank
from federation.service.releases import Release, ReleaseStore, release
from federation.service.round_schema import SCHEMA, RoundState, activations, rounds, sums
from federation.storage.database import open_engine, reading, truncate_log
from federation.storage.migrations import prepare

WIRE_INT = np.dtype("<i4")


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


@dataclass(frozen=True)
class StoredSum:
    """A block's sum: how many reports are in it, how many seals were broken. words is None if it was not summed."""

    counted: int
    broken: int
    words: npt.NDArray[np.int32] | None = field(repr=False)


class CoordinatorStore:
    """Rounds, with the reports and releases that belong to them: `.reports`, `.releases`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        prepare(engine, SCHEMA)
        self.reports = ReportStore(engine)
        self.releases = ReleaseStore(engine)

    @staticmethod
    def open(url: str) -> CoordinatorStore:
        """The store of a URL, its tables made if they are missing."""
        return CoordinatorStore(open_engine(url))

    def newest(self) -> StoredRound | None:
        """The round of the highest number."""
        with reading(self.engine) as connection:
            row = connection.execute(select(rounds).order_by(rounds.c.number.desc()).limit(1)).one_or_none()
        return None if row is None else _round(row)

    def rounds(self, limit: int) -> list[StoredRound]:
        """The newest rounds, newest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds).order_by(rounds.c.number.desc()).limit(limit)).all()
        return [_round(row) for row in rows]

    def uncleaned(self) -> list[StoredRound]:
        """Rounds that still have shares or a key at the custodian, oldest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds).where(rounds.c.cleaned == 0).order_by(rounds.c.number)).all()
        return [_round(row) for row in rows]

    def states(self) -> dict[str, int]:
        """Rounds by state."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(rounds.c.state, func.count()).group_by(rounds.c.state)).all()
        return {state: int(n) for state, n in rows}

    def spent_rounds(self) -> int:
        """Rounds that the custodian was asked to sum: each of them may have been one participation of a device.

        Never fewer than the custodian's own count, whatever became of the sum.
        """
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).where(rounds.c.asked == 1)).scalar_one()

    def asked(self, task_id: str) -> None:
        """The custodian is about to be asked for a sum of a closed round."""
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.CLOSED, RoundState.CLOSED, asked=1)

    def draft(self, draft: Task, now: int) -> None:
        """A new round, drafted. Raises FederationError if somebody else took its number."""
        values = {
            "number": draft.round,
            "task_id": draft.task_id,
            "state": RoundState.DRAFTED,
            "draft": draft.draft_bytes(),
            "base_version": draft.bundle_version,
            "deadline": draft.deadline,
            "max_reports": draft.plan.max_reports,
            "opened_at": now,
        }
        with self.engine.begin() as connection:
            if connection.execute(select(rounds.c.number).where(rounds.c.number == draft.round)).one_or_none():
                raise FederationError(f"round={draft.round}: exists already")
            connection.execute(insert(rounds).values(values))

    def opened(self, task: Task) -> None:
        """drafted → open, with the task as the custodian signed it."""
        with self.engine.begin() as connection:
            _change(connection, task.task_id, RoundState.DRAFTED, RoundState.OPEN, task=task.to_bytes())

    def close(self, task_id: str) -> None:
        """open → closed: not one report more."""
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.OPEN, RoundState.CLOSED)

    def keep_sum(self, task_id: str, block: int, found: StoredSum) -> None:
        """One block of a closed round is summed, or given up; a block keeps its first sum."""
        words = b"" if found.words is None else found.words.astype(WIRE_INT, copy=False).tobytes()
        values = {"counted": found.counted, "broken": found.broken, "words": words}
        with self.engine.begin() as connection:
            _change(
                connection,
                task_id,
                RoundState.CLOSED,
                RoundState.CLOSED,
                summed_blocks=rounds.c.summed_blocks + int(found.words is not None),
                counted=rounds.c.counted + found.counted,
            )
            connection.execute(insert(sums).values(task_id=task_id, block=block, **values))

    def sums(self, task_id: str) -> dict[int, StoredSum]:
        """The sums of a round's blocks so far."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(sums).where(sums.c.task_id == task_id)).all()
        return {
            row.block: StoredSum(row.counted, row.broken, np.frombuffer(row.words, WIRE_INT) if row.words else None)
            for row in rows
        }

    def summed(self, task_id: str) -> None:
        """closed → summed; of its reports only ids and digests remain."""
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.CLOSED, RoundState.SUMMED)
            blank(connection, task_id)

    def stepped(self, task_id: str, record: Mapping[str, Any]) -> None:
        """summed → stepped."""
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.SUMMED, RoundState.STEPPED, record=json.dumps(record))

    def published(self, made: Release, record: Mapping[str, Any], now: int) -> None:
        """stepped → published, for the round that made a release; the release is active."""
        values = {"record": json.dumps(record), "finished_at": now}
        with self.engine.begin() as connection:
            _change(connection, str(made.task_id), RoundState.STEPPED, RoundState.PUBLISHED, **values)
            release(connection, made, now)

    def failed(self, task_id: str, state: RoundState, reason: str, now: int) -> None:
        """state → failed; of its reports only ids and digests remain."""
        with self.engine.begin() as connection:
            _change(connection, task_id, state, RoundState.FAILED, failure=reason, finished_at=now)
            blank(connection, task_id)

    def activate(self, version: str, now: int) -> None:
        """Serve a kept release again; a round in progress that started from another bundle fails."""
        with self.engine.begin() as connection:
            connection.execute(insert(activations).values(version=version, at=now))
            others = rounds.c.state.not_in([RoundState.PUBLISHED, RoundState.FAILED]) & (
                rounds.c.base_version != version
            )
            for task_id in connection.execute(select(rounds.c.task_id).where(others)).scalars().all():
                values = {"state": RoundState.FAILED, "failure": "another bundle was activated", "finished_at": now}
                still = (rounds.c.task_id == task_id) & others  # unless it was published meanwhile
                if connection.execute(update(rounds).where(still).values(values)).rowcount:
                    blank(connection, task_id)

    def cleaned(self, task_id: str) -> None:
        """A round's shares and the custodian's key are gone; so is SQLite's log of what was deleted."""
        with self.engine.begin() as connection:
            connection.execute(update(rounds).where(rounds.c.task_id == task_id).values(cleaned=1))
        truncate_log(self.engine)

    def drop_sums(self, keep: int) -> None:
        """Delete all sums but those of the newest `keep` rounds."""
        with self.engine.begin() as connection:
            newest = select(rounds.c.task_id).order_by(rounds.c.number.desc()).limit(keep)
            kept = connection.execute(newest).scalars().all()
            connection.execute(sums.delete().where(sums.c.task_id.not_in(kept)))


def _change(connection: Connection, task_id: str, before: RoundState, after: RoundState, **values: Any) -> None:
    where = (rounds.c.task_id == task_id) & (rounds.c.state == before)
    if connection.execute(update(rounds).where(where).values(state=after, **values)).rowcount != 1:
        raise FederationError(f"task_id={task_id}: must be {before} to become {after}")


def _round(row: Row[Any]) -> StoredRound:
    return StoredRound(
        number=row.number,
        task_id=row.task_id,
        state=RoundState(row.state),
        task=Task.from_draft_bytes(row.draft) if row.task is None else Task.from_bytes(row.task),
        base_version=row.base_version,
        opened_at=row.opened_at,
        finished_at=row.finished_at,
        summed_blocks=row.summed_blocks,
        counted=row.counted,
        cleaned=bool(row.cleaned),
        record=json.loads(row.record),
        failure=row.failure,
    )


def activate(store: CoordinatorStore, version: str, now: int) -> str:
    """Activate a kept release, by version or `previous`; its version. Raises FederationError if none is kept."""
    active, kept = store.releases.active(), store.releases.all()
    if version == "previous":
        older = [one.version for one in kept if active is not None and one.steps < active.steps]
        version = older[0] if older else version
    if version not in {one.version for one in kept}:
        raise FederationError(f"version={version}: must be one of {', '.join(one.version for one in kept)}")
    store.activate(version, now)
    return version
