"""Reports in SQL: each id once, each token once a round, no block or issuer above its bound. Shares are elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection, Engine, Table, func, insert, select, update

from data.errors import ReportRejected
from federation.private_sum.refusals import LateReport
from federation.service.intake.report_refusals import ConflictingReport, IssuerFull, RoundFull, StaleReport, TokenSpent
from federation.service.intake.share_files import ShareLocation
from federation.service.round_schema import RoundState, reports, rounds, tallies
from federation.storage.database import reading

Status = Literal["accepted", "duplicate"]


@dataclass(frozen=True)
class Arrival:
    """A report whose share is durable, on its way into the store.

    digest: SHA-256 of all its bytes. issuer, serial: of its token; the issuer with the key that minted it.
    """

    task_id: str
    report_id: bytes
    block: int
    digest: bytes
    sealed_seed: bytes = field(repr=False)
    issuer: str
    serial: bytes = field(repr=False)
    token: bytes = field(repr=False)
    place: ShareLocation


@dataclass(frozen=True)
class AcceptedReport:
    """A report that was taken: for which round, with what content."""

    task_id: str
    digest: bytes


@dataclass(frozen=True)
class StoredReport:
    """What the sum needs of a report. issuer: of its token, with the key that minted it."""

    report_id: bytes
    sealed_seed: bytes = field(repr=False)
    token: bytes = field(repr=False)
    place: ShareLocation
    issuer: str


def of_large_issuers(stored: Sequence[StoredReport], least: int) -> list[StoredReport]:
    """Leave out the reports of every minting key that brought fewer than `least` of them to the block.

    A key that a few devices got hold of then brings nothing, rather than words that spoil the sum of all others.
    """
    brought = Counter(report.issuer for report in stored)
    return [report for report in stored if brought[report.issuer] >= least]


class ReportStore:
    """Reports of all rounds. rounds: the table of the rounds that take them, with task_id, state and max_reports."""

    def __init__(self, engine: Engine, rounds: Table = rounds) -> None:
        self._engine, self._rounds = engine, rounds

    def known(self, report_ids: Iterable[bytes]) -> dict[bytes, AcceptedReport]:
        """Look up those of the ids that were taken, in any round."""
        with reading(self._engine) as connection:
            return _known(connection, list(report_ids))

    def admit(self, task_id: str, arrivals: Sequence[Arrival], issuer_reports: int) -> list[Status | ReportRejected]:
        """Take what may be taken, in one transaction; an outcome for each arrival, in order.

        Groups of one round are admitted one after the other: the round's row is locked, so bounds hold exactly.
        """
        with self._engine.begin() as connection:
            table = self._rounds.c
            round_ = connection.execute(
                select(table.state, table.max_reports).where(table.task_id == task_id).with_for_update()
            ).one_or_none()
            group = _Group(connection, task_id, arrivals)
            if round_ is None:
                late: ReportRejected | None = StaleReport(f"task_id={task_id}: is no round of this service")
            elif round_.state != RoundState.OPEN:
                late = LateReport(f"task_id={task_id}: takes no more reports")
            else:
                late = None
            outcomes = [
                group.outcome(arrival, late, round_.max_reports if round_ else 0, issuer_reports)
                for arrival in arrivals
            ]
            group.write()
        return outcomes

    def tally(self, task_id: str) -> dict[str, int]:
        """Count reports taken of each ``block:…`` and ``issuer:…`` of a round."""
        with reading(self._engine) as connection:
            return _tally(connection, task_id)

    def of_block(self, task_id: str, block: int) -> list[StoredReport]:
        """List a block's reports by id, the same order every time."""
        query = (
            select(reports)
            .where(
                reports.c.task_id == task_id,
                reports.c.block == block,
                reports.c.segment.is_not(None),
                reports.c.token.is_not(None),  # of before there were blind tokens: the custodian takes none without
            )
            .order_by(reports.c.report_id)
        )
        with reading(self._engine) as connection:
            return [
                StoredReport(row.report_id, row.sealed_seed, row.token, ShareLocation(row.segment, row.at), row.issuer)
                for row in connection.execute(query)
            ]

    def summable(self, task_id: str, least: int) -> Counter[int]:
        """Count a round's reports by block, without those of minting keys that brought fewer than `least` to it."""
        n = func.count()
        query = (
            select(reports.c.block, n.label("n"))
            .where(reports.c.task_id == task_id, reports.c.segment.is_not(None), reports.c.token.is_not(None))
            .group_by(reports.c.block, reports.c.issuer)
            .having(n >= least)
        )
        counted: Counter[int] = Counter()
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                counted[row.block] += row.n
        return counted

    def count(self, task_id: str) -> int:
        """Count the reports taken in a round."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).where(reports.c.task_id == task_id)).scalar_one()


def blank(connection: Connection, task_id: str) -> None:
    """Forget everything of a round's reports but their ids and digests, which keep answering retries."""
    gone = {"sealed_seed": None, "issuer": None, "serial": None, "token": None, "segment": None, "at": None}
    connection.execute(update(reports).where(reports.c.task_id == task_id).values(gone))


class _Group:
    """Arrivals of one transaction, judged one after the other as if each had come alone."""

    def __init__(self, connection: Connection, task_id: str, arrivals: Sequence[Arrival]) -> None:
        self.connection, self.task_id = connection, task_id
        self.known = _known(connection, [arrival.report_id for arrival in arrivals])
        serials = [arrival.serial for arrival in arrivals]
        query = select(reports.c.serial).where(reports.c.task_id == task_id, reports.c.serial.in_(serials))
        self.spent = {row.serial for row in connection.execute(query)}
        self.before = _tally(connection, task_id)
        self.after = dict(self.before)
        self.taken: list[Arrival] = []

    def outcome(
        self, arrival: Arrival, late: ReportRejected | None, max_reports: int, issuer_reports: int
    ) -> Status | ReportRejected:
        block, issuer = f"block:{arrival.block}", f"issuer:{arrival.issuer.partition('#')[0]}"
        if arrival.report_id in self.known:
            return judge(arrival.task_id, arrival.digest, self.known[arrival.report_id])
        if late is not None:
            return late
        if arrival.serial in self.spent:
            return TokenSpent("token: was used in this round")
        if self.after.get(issuer, 0) >= issuer_reports:
            return IssuerFull(
                f"issuer={arrival.issuer}: has {issuer_reports} reports in this round, the most it may have"
            )
        if self.after.get(block, 0) >= max_reports:
            return RoundFull(f"block={arrival.block}: has max_reports={max_reports}")
        for name in (block, issuer):
            self.after[name] = self.after.get(name, 0) + 1
        self.known[arrival.report_id] = AcceptedReport(arrival.task_id, arrival.digest)
        self.spent.add(arrival.serial)
        self.taken.append(arrival)
        return "accepted"

    def write(self) -> None:
        if not self.taken:
            return
        rows = [
            {
                "report_id": arrival.report_id,
                "task_id": arrival.task_id,
                "block": arrival.block,
                "digest": arrival.digest,
                "sealed_seed": arrival.sealed_seed,
                "issuer": arrival.issuer,
                "serial": arrival.serial,
                "token": arrival.token,
                "segment": arrival.place.segment,
                "at": arrival.place.at,
            }
            for arrival in self.taken
        ]
        self.connection.execute(insert(reports), rows)
        for name, n in self.after.items():
            if name not in self.before:
                self.connection.execute(insert(tallies).values(task_id=self.task_id, of=name, n=n))
            elif n != self.before[name]:
                where = (tallies.c.task_id == self.task_id) & (tallies.c.of == name)
                self.connection.execute(update(tallies).where(where).values(n=n))


def judge(task_id: str, digest: bytes, known: AcceptedReport) -> Status | ReportRejected:
    """Judge a report whose id was taken before: the same one again, or another one under its id."""
    if known == AcceptedReport(task_id, digest):
        return "duplicate"
    return ConflictingReport("report_id: was taken with other content, or in another round")


def _known(connection: Connection, report_ids: Collection[bytes]) -> dict[bytes, AcceptedReport]:
    query = select(reports.c.report_id, reports.c.task_id, reports.c.digest).where(reports.c.report_id.in_(report_ids))
    return {row.report_id: AcceptedReport(row.task_id, row.digest) for row in connection.execute(query)}


def _tally(connection: Connection, task_id: str) -> dict[str, int]:
    rows = connection.execute(select(tallies.c.of, tallies.c.n).where(tallies.c.task_id == task_id))
    return {row.of: row.n for row in rows}
