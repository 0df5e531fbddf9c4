"""Prometheus metrics, of one process or of several, as one app may see them. No label holds what a caller sent.

An app reads its own series, and those of requests that were nobody's; no other's. With several workers,
PROMETHEUS_MULTIPROC_DIR names a folder that all of them write; whichever is asked adds them up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.access import ROUTES
from serving.http.request_record import RequestRecord

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MODES = frozenset(("", "profile", "cluster", "noised", "trend"))
BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SHARED = "PROMETHEUS_MULTIPROC_DIR"
_PATTERNS = frozenset(route.pattern for route in ROUTES)

Gauges = Callable[[], Iterable[Metric]]
"""Metrics that are read when they are asked for, the same from every worker."""


class Metrics:
    """Counts of requests, and the gauges that were added."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "ownshelf_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("app", "route", "mode"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._requests = Counter(
            "ownshelf_requests", "Answered requests.", ("app", "route", "status", "code"), registry=self._registry
        )
        self._errors = Counter(
            "ownshelf_errors", "Answers that were our mistake, 500 and above.", ("app", "code"), registry=self._registry
        )
        self._reports = Counter("ownshelf_reports", "Reports by outcome.", ("app", "outcome"), registry=self._registry)
        self._gauges: list[tuple[Gauges, str]] = []
        self._known: dict[tuple[str, str, int, str, str], tuple[Histogram, Counter]] = {}

    def observe(self, seen: RequestRecord) -> None:
        """Count a request."""
        key = seen.route, seen.mode, seen.status, seen.code, seen.app
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._series(*key)
        known[0].observe(seen.seconds)
        known[1].inc()
        if seen.status >= 500:
            self._errors.labels(seen.app, seen.code).inc()

    def report(self, outcome: str, app: str) -> None:
        """Count a report by what became of it: accepted, duplicate, or the code of its refusal.

        app: whose token it carried, "" where that was not found out.
        """
        self._reports.labels(app, outcome).inc()

    def add(self, gauges: Gauges, owner: str = "") -> None:
        """Print these too. owner: the app that they are of, where they have no label that says so."""
        self._gauges.append((gauges, owner))

    def exposition(self, app: str) -> bytes:
        """Write everything that an app may see, in Prometheus' text format."""
        registry = CollectorRegistry()
        counted = (
            MultiProcessCollector(None).collect  # type: ignore[no-untyped-call]
            if SHARED in os.environ
            else self._registry.collect
        )
        for collect, owner in ((counted, ""), *self._gauges):
            if owner in ("", app):
                registry.register(_Families(collect, app))
        return generate_latest(registry)

    def _series(self, route: str, mode: str, status: int, code: str, app: str) -> tuple[Histogram, Counter]:
        """Label series by words of our own tables, whatever an observer was told."""
        route, mode = route if route in _PATTERNS else "none", mode if mode in MODES else ""
        return self._seconds.labels(app, route, mode), self._requests.labels(app, route, str(status), code)


def gauge(name: str, what: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """Make a gauge of labelled values."""
    rows = list(rows)
    family = GaugeMetricFamily(f"ownshelf_{name}", what, labels=list(rows[0][0]) if rows else [])
    for labels, value in rows:
        family.add_metric(list(labels.values()), value)
    return family


def age_s(written_at: float | None) -> float:
    """Measure the seconds since a moment; NaN for an unknown one."""
    return float("nan") if written_at is None else max(0.0, time.time() - written_at)


class _Families(Collector):
    """Families without the samples of other apps."""

    def __init__(self, collect: Gauges, app: str) -> None:
        self._collect, self._app = collect, app

    def collect(self) -> Iterable[Metric]:
        for family in self._collect():
            family.samples = [sample for sample in family.samples if sample.labels.get("app", "") in ("", self._app)]
            yield family
