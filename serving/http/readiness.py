"""Whether this process can answer: the current bundle's index is as good as it should be, and the state answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client.metrics_core import Metric

from data.errors import OwnshelfError
from federation.storage.database import reason_of
from serving.http.metrics import age_s, gauge
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundle

RECALL_FLOOR = 0.9
"""Below it a list misses more than one in ten of the best items: a broken or badly set index, not a fast one."""
STATE_TIMEOUT_S = 1.0
STOPPING = threading.Event()
"""Set once this process was told to stop: it answers what still comes, and says that nothing more should."""


class Readiness:
    """Checks of one process. A bundle's recall is measured once, when its index is opened."""

    def __init__(self, apps: Apps, state: Callable[[], object] | None = None, *, floor: float = RECALL_FLOOR) -> None:
        """state: asks the state something small, or raises."""
        self._apps, self._state, self._floor = apps, state, floor
        self._asking: asyncio.Future[object] | None = None

    async def check(self) -> str:
        """Return the version of the bundle that is ready. Raises Refusal `not_ready` with the reason."""
        if STOPPING.is_set():
            raise Refusal("not_ready", "process: is about to stop", {"reason": "stopping"})
        for app in self._apps.names():
            current = self._apps.of(app).current
            try:
                current.live.search(np.zeros(current.bundle.table.dim, dtype=np.float32), 1, trend_weight=1.0)
            except Exception:  # noqa: BLE001  # whatever it is, it does not answer
                raise Refusal(
                    "not_ready", "the current bundle does not answer searches", {"reason": "bundle"}
                ) from None
            if current.recall < self._floor:
                raise Refusal(
                    "not_ready",
                    f"index: recall {current.recall:.3f}, must be at least {self._floor:g}",
                    {"reason": "index"},
                )
        if self._state is not None:
            await self._check_state()
        return self._first().version

    def gauges(self) -> Iterable[Metric]:
        """Model age, recall and versions, for /metrics; of every app."""
        apps = [(name, self._apps.of(name)) for name in self._apps.names()]
        yield gauge(
            "bundle_info",
            "1 for the current bundle, 0 for older ones that are still answered.",
            [
                ({"app": name, "version": bundle.version}, float(bundle is shelf.current))
                for name, shelf in apps
                for bundle in shelf.all()
            ],
        )
        yield gauge(
            "model_age_seconds",
            "Since the current bundle was written.",
            [({"app": name}, age_s(shelf.current.bundle.made_at)) for name, shelf in apps],
        )
        yield gauge(
            "index_recall",
            "Of the current bundle's index against exact search, when it was opened.",
            [({"app": name}, shelf.current.recall) for name, shelf in apps],
        )

    def _first(self) -> ServedBundle:
        return self._apps.of(self._apps.names()[0]).current

    async def _check_state(self) -> None:
        """Ask the state one question at a time, so that a state that hangs takes one thread and not all of them."""
        assert self._state is not None
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(None, self._state)
        done, _ = await asyncio.wait([self._asking], timeout=STATE_TIMEOUT_S)
        if not done:
            raise Refusal("not_ready", f"state: does not answer within {STATE_TIMEOUT_S:g} s", {"reason": "state"})
        error = self._asking.exception()
        if isinstance(error, OwnshelfError):  # its words are ours
            raise Refusal("not_ready", str(error), {"reason": getattr(error, "reason", "state")})
        if error is not None:
            raise Refusal("not_ready", f"state: does not answer ({reason_of(error)})", {"reason": "state"})
