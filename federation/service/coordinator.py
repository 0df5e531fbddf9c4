"""Training rounds: to what every round goes through (round_machine.py) they add summed → stepped → published.

Files are replaced whole, so that a transition which a crash left half done is done again with the same result. One
process advances rounds; any number take reports.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from functools import partial
from pathlib import Path

import numpy as np
from sqlalchemy.exc import IntegrityError

from data.errors import FederationError, ModelError, ReportRejected
from federation.learning.item_step import item_step
from federation.learning.plausibility import plausible
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.training_sum import round_sums
from federation.protocol.messages import MAX_ID_CHARS, Task, blocks_of, max_report_bytes
from federation.protocol.report_head import MAX_HEAD_BYTES, read_head
from federation.protocol.report_tokens import Tokens
from federation.service.block_sum import Custodian
from federation.service.bundle_lineage import BundleLineage
from federation.service.intake.intake import Intake, IntakeRound
from federation.service.intake.report_store import Status
from federation.service.intake.share_files import ShareFolder
from federation.service.releases import Release
from federation.service.round_machine import RoundMachine
from federation.service.round_record import round_record, words_of
from federation.service.round_schema import RoundState
from federation.service.round_settings import RoundSettings
from federation.service.round_store import CoordinatorStore, StoredRound
from federation.storage.change_log import UNSIGNED, Reason
from federation.storage.crash_points import crash_point
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import intent_config, training_config


class Coordinator:
    """Rounds over one line of bundles. `accept` may be called from any thread, `advance` from one."""

    def __init__(
        self,
        store: CoordinatorStore,
        custodian: Custodian,
        folder: Path,
        plan: PrivacyPlan,
        settings: RoundSettings,
        tokens: Tokens,
        *,
        custodian_key: bytes,
        app: str = "shop",
    ) -> None:
        """folder: for bundles, step states and shares. custodian_key: what its tasks must be signed with.

        app: whose bundles are trained, and of whose devices alone reports are taken.
        """
        self._app = app
        self.store, self.plan, self.settings = store, plan, settings
        shares = ShareFolder(folder / "shares")
        self.machine = RoundMachine(store, shares, custodian, custodian_key)
        self._line = BundleLineage(folder)
        self._newest: StoredRound | None = None
        self.intake = Intake(
            store.reports,
            shares,
            tokens,
            round_of=self._round_of,
            issuer_reports=settings.issuer_reports,
        )
        self.refresh()

    def begin(self, folder: Path, now: int) -> None:
        """Start the line with this bundle, unless it has begun. Raises FederationError for a bundle of another line."""
        bundle = Bundle.load(folder)
        active = self.store.releases.active()
        if active is None:
            with contextlib.suppress(IntegrityError):  # another process began it
                self.store.releases.first(bundle.version, str(folder.absolute()), now)
        elif bundle.name != self._line.bundle(active).name:
            raise FederationError(f"bundle {bundle.name}: the store's rounds are of {self._line.bundle(active).name}")

    def bundles(self) -> list[Bundle]:
        """List the active bundle, then the other kept ones, newest first."""
        active = self.store.releases.active()
        if active is None:
            return []
        others = [release for release in self.store.releases.all() if release != active]
        return [self._line.bundle(release) for release in (active, *others)]

    def task(self) -> Task | None:
        """Read the open round's task."""
        newest = self._newest
        return newest.task if newest is not None and newest.state is RoundState.OPEN else None

    def max_report_bytes(self) -> int:
        """Bound the bytes of a report to any round under these settings."""
        newest = self._newest
        return MAX_HEAD_BYTES if newest is None else max_report_bytes(newest.task) + MAX_ID_CHARS

    def come_back_s(self, now: int) -> int:
        """Draw the seconds until asking for a task makes sense, spread so that devices do not come all at once."""
        newest = self._newest
        if newest is None:
            wait = 0
        elif newest.finished_at is None:
            wait = max(newest.task.come_back_at - now, 0)
        else:
            wait = max(newest.finished_at + self.settings.pause_s - now, 0)
        return wait + 1 + random.SystemRandom().randrange(max(self.settings.pause_s, 1))

    def epsilon(self) -> float:
        """Compute ε of the installation that was asked most so far; inf with privacy off and a sum made."""
        return self.plan.epsilon_of_rounds(self.store.spent_rounds())

    def accept(self, report: bytes, now: int) -> Status:
        """Take a report: durable when this returns. Raises the ReportRejected that says why not.

        now: seconds since 1970-01-01 UTC.
        """
        try:
            head = read_head(memoryview(report)[:MAX_HEAD_BYTES])
            judgement = self.intake.screen(head, now)
            if isinstance(judgement, ReportRejected) and not self.intake.known(head):
                raise judgement
        except ReportRejected as refusal:
            self.intake.count(refusal)
            raise
        return self.intake.take(head, report, judgement).result()

    def advance(self, now: int) -> bool:
        """Make the next transition that is due; False when none is, or it failed and waits to be tried again.

        A step or a bundle that cannot be made is tried for as long as it takes: the next round would meet the same
        error, and cost devices ε once more. Raises only what the store raises.
        """
        self.machine.clean(now)
        moved = self.machine.advance_all(now, is_full=self._is_full, finish=self._finish)
        if not moved:
            moved = self.machine.attempts.run("next round", now, partial(self._start_if_due, now))
        self.refresh()
        return moved

    def refresh(self) -> None:
        """Read what other processes did."""
        self._newest = self.store.newest()

    def activate(self, version: str, now: int, reason: Reason = UNSIGNED) -> str:
        """Serve and train on another kept release, by version or `previous`; its version. Raises ServingError."""
        chosen = self.store.activate(version, now, reason)
        self.refresh()
        return chosen

    def stop(self) -> None:
        """Commit what is waiting."""
        self.intake.stop()

    def start_round(self, now: int) -> None:
        """Draft a round on the active bundle. Raises FederationError without one or for impossible settings."""
        release, newest = self.store.releases.active(), self.store.newest()
        if release is None:
            raise FederationError("bundles: there is none to start from")
        table = self._line.bundle(release).table
        rows = min(self.settings.block_items, table.n_items)
        number = 0 if newest is None else newest.number + 1
        deadline = now + self.settings.window_s
        lasted = 0 if newest is None or newest.finished_at is None else newest.finished_at - newest.opened_at
        draft = Task(
            task_id=f"training-{number}-{secrets.token_hex(4)}",
            round=number,
            bundle_version=release.version,
            bundle_hash=self._line.catalogue_hash(release),
            blocks=blocks_of(table.n_items, rows),
            plan=self.plan.sum_plan(
                rows, table.rows_of(table.trained).shape[1], table.trained, verified=self.settings.suite.verified
            ),
            suite=self.settings.suite,
            round_public_key=b"",
            deadline=deadline,
            come_back_at=min(now + lasted, deadline) + self.settings.pause_s,
        )
        self.store.draft(draft, now)
        crash_point("round drafted")

    def _round_of(self, task_id: str) -> IntakeRound | None:
        newest = self._newest
        if newest is None or newest.task_id != task_id:
            return None
        return IntakeRound(newest.task, newest.state is RoundState.OPEN, self._app)

    def _start_if_due(self, now: int) -> bool:
        newest, active = self.store.newest(), self.store.releases.active()
        if newest is not None and (newest.finished_at is None or now < newest.finished_at + self.settings.pause_s):
            return False
        if active is None or active.steps >= self.settings.rounds or self.machine.budget_spent:
            return False
        self.start_round(now)
        return True

    def _is_full(self, round_: StoredRound) -> bool:
        """Tell whether a round may close early: with goal_reports in all, and min_reports in every block."""
        tally = self.store.reports.tally(round_.task_id)
        blocks = [tally.get(f"block:{block}", 0) for block in range(len(round_.task.blocks))]
        least = round_.task.plan.min_reports
        if sum(blocks) < self.settings.goal_reports or min(blocks) < least:
            return False
        summable = self.store.reports.summable(round_.task_id, least)
        return all(summable[block] >= least for block in range(len(blocks)))

    def _finish(self, round_: StoredRound, now: int) -> bool:
        return self._step(round_, now) if round_.state is RoundState.SUMMED else self._publish(round_, now)

    def _step(self, round_: StoredRound, now: int) -> bool:
        release = self._base(round_)
        bundle, state = self._line.bundle(release), self._line.state(release)
        task, stored = round_.task, self.store.sums(round_.task_id)
        summed = {block: block_sum.words for block, block_sum in stored.items() if block_sum.words is not None}
        believed = {
            block: words for block, words in summed.items() if plausible(words, task.plan, stored[block].counted)
        }
        if not believed:
            return self.machine.fail(round_, f"none of {len(summed)} sums can be of honest reports", now)
        n_items, width = state.item_embeddings.shape
        n_block = max(block.stop - block.start for block in task.blocks)
        sums = round_sums(task.plan, believed, n_items=n_items, n_block=n_block, dim=width)
        step = self.settings.step.step_at(state.steps, self.settings.rounds)
        config = intent_config(bundle) or training_config(bundle)
        after = item_step(state, sums, self.settings.step, alpha=config.alpha, reg=config.reg, step=step)
        if not np.isfinite(after.item_embeddings).all():
            return self.machine.fail(round_, "the sums moved items to where no number is", now)
        self._line.keep_step(round_.task_id, after)
        crash_point("step written")
        record = round_record(
            task,
            sums,
            self.plan,
            blocks=len(believed),
            discarded=len(summed) - len(believed),
            counted=round_.counted,
            broken=sum(block_sum.broken for block_sum in stored.values()),
            step=step,
            spent=self.store.spent_rounds(),
        )
        self.store.stepped(round_.task_id, record)
        crash_point("round stepped")
        return True

    def _publish(self, round_: StoredRound, now: int) -> bool:
        base = self._line.bundle(self._base(round_))
        record = dict(round_.record)
        until = round_.task.deadline * 1_000_000  # µs: no report can hold a later event
        try:
            training = {"round": record, "until": until}
            release = self._line.publish(round_.task_id, base, words_of(record["privacy"]), training)
        except ModelError as error:
            return self.machine.fail(round_, f"no bundle: {error}", now)
        crash_point("bundle written")
        self.store.published(release, record | {"bundle": release.version}, now)
        crash_point("round published")
        self._forget_old()
        return True

    def _forget_old(self) -> None:
        releases, active = self.store.releases.all(), self.store.releases.active()
        for release in releases[self.settings.keep_bundles :]:
            if release != active:
                self.store.releases.forget(release.version)
        self.store.drop_sums(self.settings.keep_sums)
        crash_point("old forgotten")
        self._line.sweep(self.store.releases.all(), None)

    def _base(self, round_: StoredRound) -> Release:
        for release in self.store.releases.all():
            if release.version == round_.base_version:
                return release
        raise FederationError(f"task_id={round_.task_id}: its bundle {round_.base_version} is gone")
