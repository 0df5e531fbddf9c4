"""Whether this process can answer: the current bundle's index is as good as it should be, and the state answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client.metrics_core import Metric

from recsys.scoring import score, top_k
from serving.metrics import age_s, gauge
from serving.refusal import Refusal
from serving.served import ServedBundle, Shelf

RECALL_FLOOR = 0.9
"""Below it a list misses more than one in ten of the best items: a broken or badly set index, not a fast one."""
SAMPLE, SAMPLE_K = 16, 20
STATE_TIMEOUT_S = 1.0


def measure_recall(one: ServedBundle) -> float:
    """Share of the exact best SAMPLE_K items that the index finds, over SAMPLE items' own embeddings as profiles."""
    table = one.bundle.table
    n_items, k = table.n_items, min(SAMPLE_K, table.n_items - len(one.unavailable))
    if k < 1:
        return 1.0
    places = np.linspace(0, n_items - 1, min(SAMPLE, n_items)).astype(np.int64)
    profiles = np.array(table.item_embeddings[places])
    exact = score(table, profiles, one.bundle.config.trend_weight)
    hits = 0
    for profile, scores in zip(profiles, exact, strict=True):
        wanted, values = top_k(scores, k, one.unavailable)
        found, _ = one.search(profile[None], k, np.empty(0, dtype=np.int32))
        worst = values[-1] - 1e-3 * max(1.0, abs(float(values[-1])))
        hits += sum(item in set(wanted.tolist()) or scores[item] >= worst for item in found.tolist())
    return hits / (k * len(places))


class Readiness:
    """Checks of one process. A bundle's recall is measured once, when it is first asked for."""

    def __init__(
        self,
        shelf: Shelf,
        state: Callable[[], object] | None = None,
        *,
        floor: float = RECALL_FLOOR,
        written_at: Callable[[str], float | None] = lambda _: None,
    ) -> None:
        """state: asks the state something small, or raises. written_at: of a version, seconds since 1970."""
        self._shelf, self._state, self._floor, self._written_at = shelf, state, floor, written_at
        self._recall: dict[str, float] = {}
        self._asking: asyncio.Future[object] | None = None

    def recall(self, one: ServedBundle) -> float:
        """The index's recall; some milliseconds the first time."""
        if one.version not in self._recall:
            kept = {served.version for served in self._shelf.all()}
            self._recall = {version: value for version, value in self._recall.items() if version in kept}
            self._recall[one.version] = measure_recall(one)
        return self._recall[one.version]

    async def check(self) -> str:
        """The version of the bundle that is ready. Raises Refusal `not_ready` with the reason."""
        current = self._shelf.current
        probe = np.zeros((1, current.bundle.table.dim), dtype=np.float32)
        try:
            current.search(probe, 1, np.empty(0, dtype=np.int32))
            recall = self.recall(current)
        except Exception:  # noqa: BLE001  # whatever it is, it does not answer
            raise Refusal("not_ready", "the current bundle does not answer searches", {"reason": "bundle"}) from None
        if recall < self._floor:
            raise Refusal(
                "not_ready", f"index: recall {recall:.3f}, must be at least {self._floor:g}", {"reason": "index"}
            )
        if self._state is not None and not await self._state_answers():
            raise Refusal("not_ready", f"state: does not answer within {STATE_TIMEOUT_S:g} s", {"reason": "state"})
        return current.version

    def gauges(self) -> Iterable[Metric]:
        """Model age, recall and versions, for /metrics."""
        served, current = self._shelf.all(), self._shelf.current
        yield gauge(
            "bundle_info",
            "1 for the current bundle, 0 for older ones that are still answered.",
            [({"version": one.version}, float(one is current)) for one in served],
        )
        yield gauge(
            "model_age_seconds",
            "Since the current bundle was written.",
            [({}, age_s(self._written_at(current.version)))],
        )
        try:
            recall = self.recall(current)
        except Exception:  # noqa: BLE001  # figures are read most when something is broken
            recall = float("nan")
        yield gauge("index_recall", "Of the current bundle's index against exact search.", [({}, recall)])

    async def _state_answers(self) -> bool:
        """One question at a time, so that a state that hangs takes one thread and not all of them."""
        assert self._state is not None
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(None, self._state)
        done, _ = await asyncio.wait([self._asking], timeout=STATE_TIMEOUT_S)
        return bool(done) and self._asking.exception() is None
