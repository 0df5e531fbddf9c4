"""The thread that advances rounds, and tells whoever serves when other bundles are to be served."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from federation.service.coordinator import Coordinator
from federation.service.experiment_windows import ExperimentRounds
from federation.service.lease import Lease
from recsys.catalogue.bundle import Bundle

log = logging.getLogger("ownshelf.federation")

LONGEST_WAIT_S = 30.0


class RoundLoop:
    """Advances a coordinator until it is stopped. What fails is tried again, ever less often."""

    def __init__(
        self,
        coordinator: Coordinator,
        serve: Callable[[Sequence[Bundle]], None],
        *,
        advances: bool = True,
        idle_s: float = 0.5,
        experiments: ExperimentRounds | None = None,
    ) -> None:
        """serve: told the bundles to serve, the active one first. advances: False only follows other processes; of
        those with True, the one that holds the lease advances. experiments: whose windows are advanced beside rounds.
        """
        self._experiments = experiments
        self._coordinator, self._serve = coordinator, serve
        self._advances, self._idle_s = advances, idle_s
        self._lease = Lease(coordinator.store.engine)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transition in progress and end; what it waits for outside is cut off by the process's end."""
        self._stopped.set()
        self._thread.join(timeout=5.0)
        self._lease.drop()

    def _ours(self) -> bool:
        return self._advances and not self._stopped.is_set() and self._lease.hold()

    def _run(self) -> None:
        wait = 0.0
        while not self._stopped.wait(wait):
            try:
                self._coordinator.refresh()
                self._serve(self._coordinator.bundles())
                if self._experiments is not None:
                    self._experiments.refresh()
                while self._ours() and self._coordinator.advance(int(time.time())):
                    self._serve(self._coordinator.bundles())
                while self._ours() and self._experiments is not None and self._experiments.advance(int(time.time())):
                    pass
                wait = self._idle_s
            except Exception as error:  # noqa: BLE001  # rounds go on when whatever it was is over
                place = traceback.extract_tb(error.__traceback__)[-1]
                log.error("%s at %s:%s", type(error).__name__, place.filename, place.lineno)
                wait = min(2 * max(wait, self._idle_s), LONGEST_WAIT_S)
