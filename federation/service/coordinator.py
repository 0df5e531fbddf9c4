"""Training rounds: to what every round goes through (round_machine.py) they add summed → stepped → published.

Files are replaced whole, so that a transition which a crash left half done is done again with the same result. One
process advances rounds; any number take reports.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import secrets
from functools import partial
from pathlib import Path

import numpy as np
from sqlalchemy.exc import IntegrityError

from data.errors import FederationError, ModelError, ReportRejected
from federation.learning.item_step import item_step
from federation.learning.mix_step import next_sum
from federation.learning.plausibility import plausible
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.round_plan import NO_ITEMS
from federation.learning.training_sum import round_sums
from federation.protocol.messages import MAX_ID_CHARS, Task, max_report_bytes
from federation.protocol.no_answer import MAX_NO_ANSWERS, no_answers_to_bytes
from federation.protocol.report_head import MAX_HEAD_BYTES, read_head
from federation.protocol.tokens.report_token import Tokens
from federation.service.block_sum import Custodian
from federation.service.bundle_lineage import BundleLineage
from federation.service.intake.intake import Intake, IntakeRound
from federation.service.intake.report_store import Status
from federation.service.intake.share_files import ShareFolder
from federation.service.intake.share_objects import ShareObjects
from federation.service.mix_rounds import is_mix_round, mix_after, mix_record, mix_round_plan, table_round
from federation.service.releases import Release
from federation.service.round_machine import RoundMachine
from federation.service.round_record import round_record, words_of
from federation.service.round_schema import RoundState
from federation.service.round_settings import RoundSettings
from federation.service.round_store import CoordinatorStore, StoredRound
from federation.storage.change_log import UNSIGNED, Reason
from federation.storage.crash_points import crash_point
from federation.storage.objects import Objects
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import intent_config, training_config

SHARES = "shares"
log = logging.getLogger("ownshelf.federation")


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
        patience_s: float = math.inf,
        objects: Objects | None = None,
    ) -> None:
        """folder: for bundles, step states and shares. custodian_key: what its tasks must be signed with.

        app: whose bundles are trained, and of whose devices alone reports are taken. patience_s: as of RoundMachine.
        objects: where they are instead, for several hosts; the folder then holds this host's copies of bundles.
        """
        self._app = app
        self.store, self.plan, self.settings = store, plan, settings
        shares = ShareFolder(folder / SHARES) if objects is None else ShareObjects(objects, SHARES)
        self.machine = RoundMachine(store, shares, custodian, custodian_key, patience_s)
        self._line = BundleLineage(folder, objects)
        self._newest: StoredRound | None = None
        self._logged: set[str] = set()
        self.intake = Intake(
            store.reports,
            shares,
            tokens,
            round_of=self._round_of,
            issuer_reports=settings.issuer_reports,
            look=self.refresh,
        )
        self.refresh()

    def begin(self, folder: Path, now: int) -> None:
        """Start the line with this bundle, unless it has begun. Raises FederationError for a bundle of another line."""
        bundle = Bundle.load(folder)
        active = self.store.releases.active()
        if active is None:
            with contextlib.suppress(IntegrityError):  # another process began it
                self.store.releases.first(bundle.version, self._line.first(folder, bundle.version), now)
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

    def no_answers(self) -> bytes:
        """Encode the custodian's newest statements of what it never answered, the same bytes for every device."""
        return no_answers_to_bytes(self.store.no_answers(MAX_NO_ANSWERS))

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
        self.machine.attempts.run("clusters", now, partial(self.machine.errands.run, "clusters", self._log_clusters))
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

    def busy(self) -> bool:
        """Check if the custodian is being asked for something."""
        return self.machine.errands.busy()

    def stop(self) -> None:
        """Commit what is waiting."""
        self.intake.stop()

    def start_round(self, now: int) -> None:
        """Draft a round on the active bundle: of its table, or once that is trained of its mix.

        Raises FederationError without a bundle, for impossible settings, or when nothing is left to learn.
        """
        release, newest = self.store.releases.active(), self.store.newest()
        if release is None:
            raise FederationError("bundles: there is none to start from")
        bundle, verified = self._line.bundle(release), self.settings.suite.verified
        if release.steps < self.settings.rounds:
            learns, blocks, plan = "training", *table_round(bundle.table, self.plan, self.settings)
        else:
            learns, blocks, plan = "mix", (NO_ITEMS,), mix_round_plan(bundle.mix, self.plan, verified=verified)
        number = self.store.next_number()
        deadline = now + self.settings.window_s
        lasted = 0 if newest is None or newest.finished_at is None else newest.finished_at - newest.opened_at
        draft = Task(
            task_id=f"{learns}-{number}-{secrets.token_hex(4)}",
            round=number,
            bundle_version=release.version,
            bundle_hash=self._line.catalogue_hash(release),
            blocks=blocks,
            plan=plan,
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
        if active is None or self.machine.budget_spent:
            return False
        trained = active.steps >= self.settings.rounds
        if trained and not (self.settings.mix and next_sum(self._line.bundle(active).mix)):
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
        if is_mix_round(task):
            mix = mix_after(bundle, task, stored[0])
            self._line.keep_step(round_.task_id, state)  # the table stays as it is
            self.store.stepped(
                round_.task_id, mix_record(task, mix, stored[0], self.plan, spent=self.store.spent_rounds())
            )
            return True
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
        missing = [block for block in range(len(task.blocks)) if block not in summed]
        taken = self.store.reports.count(round_.task_id)
        if missing:
            log.warning(
                "task_id=%s: goes on without blocks %s, which have no sum; %d of %d reports are in it",
                *(round_.task_id, ", ".join(map(str, missing)), round_.counted, taken),
            )
        record = round_record(
            task,
            sums,
            self.plan,
            blocks=len(believed),
            discarded=len(summed) - len(believed),
            missing=len(missing),
            taken=taken,
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
        task = round_.task
        training = {"round": record, "until": task.deadline * 1_000_000}  # µs: no report can hold a later event
        try:
            mix = mix_after(base, task, self.store.sums(round_.task_id)[0]) if is_mix_round(task) else None
            release = self._line.publish(round_.task_id, base, words_of(record["privacy"]), training, mix)
        except ModelError as error:
            return self.machine.fail(round_, f"no bundle: {error}", now)
        crash_point("bundle written")
        self.store.published(release, record | {"bundle": release.version}, now)
        crash_point("round published")
        self._forget_old()
        return True

    def _log_clusters(self) -> bool:
        """Have the clusters file of the active bundle logged, before a device asks whether it is."""
        active = self.store.releases.active()
        if active is None or active.version in self._logged:
            return False
        content_hash = self._line.bundle(active).clusters_hash
        if content_hash is not None:
            self.machine.custodian.log_clusters(active.version, bytes.fromhex(content_hash))
        self._logged.add(active.version)
        return False

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
