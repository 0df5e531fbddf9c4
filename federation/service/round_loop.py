"""The thread that advances rounds, and tells whoever serves when other bundles are to be served."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from federation.service.attempts import Attempts
from federation.service.coordinator import Coordinator
from federation.service.experiment_schema import SCHEMA as EXPERIMENTS
from federation.service.experiment_windows import ExperimentRounds
from federation.service.hosts.clocks import Clocks
from federation.service.hosts.round_lock import round_lock
from federation.service.round_schema import SCHEMA as ROUNDS
from federation.storage.migrations import NewerStore, check_not_newer
from recsys.catalogue.bundle import Bundle

LONGEST_WAIT_S = 30.0

log = logging.getLogger("ownshelf.federation")


class RoundLoop:
    """Advances training and experiments until it is stopped. What fails is tried again, and stops nothing else."""

    def __init__(
        self,
        coordinator: Coordinator,
        serve: Callable[[Sequence[Bundle]], None],
        *,
        advances: bool = True,
        idle_s: float = 0.5,
        experiments: ExperimentRounds | None = None,
        give_up: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
        clocks: Clocks | None = None,
    ) -> None:
        """serve: told the bundles to serve, the active one first. advances: False only follows other processes; of
        those with True, the one that holds the lock advances. experiments: whose windows are advanced beside rounds.
        give_up: called, once, when a newer program has migrated the database; the default ends this process. clocks: by
        which nothing is advanced while they disagree.
        """
        self._give_up = give_up
        self._experiments, self._clocks = experiments, clocks
        self._coordinator, self._serve = coordinator, serve
        self._advances, self._idle_s = advances, idle_s
        self._attempts = Attempts(idle_s, LONGEST_WAIT_S)
        self._lock = round_lock(coordinator.store.engine)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transition in progress and end.

        A transition that still waits for the custodian ends with the process, and so does the lock then.
        """
        self._stopped.set()
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive() and not self._is_busy():
            self._lock.drop()

    def _run(self) -> None:
        tasks = {
            "clocks": self._look_at_clocks,
            "serving": self._follow,
            "training": self._advance_training,
            "experiments": self._advance_experiments,
        }
        wait = 0.0
        while not self._stopped.wait(wait):
            if self._is_outdated():
                return
            moved = [self._attempts.run(name, time.time(), task) for name, task in tasks.items()]
            wait = 0.0 if any(moved) else self._idle_s

    def _is_outdated(self) -> bool:
        """Give up when the database is a newer program's. A database that does not answer is not outdated."""
        try:
            check_not_newer(self._coordinator.store.engine, ROUNDS, EXPERIMENTS)
        except NewerStore as error:
            log.error("%s", error)
            self._give_up()
            return True
        except SQLAlchemyError:
            return False
        return False

    def _is_busy(self) -> bool:
        """Check if the custodian is being asked for something."""
        return self._coordinator.busy() or (self._experiments is not None and self._experiments.busy())

    def _look_at_clocks(self) -> bool:
        if self._clocks is not None:
            self._clocks.measure()
        return False

    def _is_ours(self) -> bool:
        if self._attempts.failures("clocks"):
            return False
        return self._advances and not self._stopped.is_set() and self._lock.hold()

    def _follow(self) -> bool:
        """Read and serve what this or another process did."""
        self._coordinator.refresh()
        self._serve(self._coordinator.bundles())
        if self._experiments is not None:
            self._experiments.refresh()
        return False

    def _advance_training(self) -> bool:
        return self._is_ours() and self._coordinator.advance(int(time.time()))

    def _advance_experiments(self) -> bool:
        return self._experiments is not None and self._is_ours() and self._experiments.advance(int(time.time()))
