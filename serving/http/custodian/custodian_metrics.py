"""What Prometheus reads of a custodian: rounds, reports, refusals, and the privacy that is spent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from federation.custodian.custodian import Custodian

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_NAME = "ownshelf_custodian_"


def exposition(custodian: Custodian, refused: Mapping[str, int]) -> bytes:
    """Write all figures in Prometheus' text format; refused: refusals by code. Raises what the database raises."""
    registry = CollectorRegistry()
    registry.register(_Figures(custodian, refused))
    return generate_latest(registry)


@dataclass(frozen=True, eq=False)
class _Figures(Collector):
    """The figures as they are when they are asked for."""

    custodian: Custodian
    refused: Mapping[str, int]

    def describe(self) -> Iterable[Metric]:
        """Say nothing ahead, so that the database is asked once."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the ledger, and the counts of this process."""
        plan, spent = self.custodian.plan, self.custodian.totals()
        rounds = GaugeMetricFamily(f"{_NAME}rounds", "Rounds by state.", labels=["state"])
        rounds.add_metric(["open"], spent.rounds_open)
        rounds.add_metric(["closed"], spent.rounds_closed)
        yield rounds
        for name, what, value in (
            ("rounds_answered", "Rounds whose sum was given out.", spent.rounds_answered),
            ("batches", "Batches that were added up.", spent.batches),
            ("reports_counted", "Reports in sums.", spent.reports),
            ("seals_broken", "Sealed seeds that did not open.", spent.broken),
        ):
            yield CounterMetricFamily(f"{_NAME}{name}", what, value=value)
        for name, what, figure in (
            ("rounds_budget", "Rounds that the plan allows.", plan.max_rounds),
            ("epsilon_spent", "ε of the installation that was asked most.", spent.epsilon),
            ("epsilon_lifetime", "ε of an installation at its cap.", plan.epsilon),
            ("delta", "δ beside both.", plan.delta),
            ("noise_multiplier", "Noise of one party, in units of the clip.", plan.noise_multiplier),
        ):
            yield GaugeMetricFamily(f"{_NAME}{name}", what, value=figure)
        refusals = CounterMetricFamily(f"{_NAME}refused", "Refusals by code.", labels=["code"])
        for code, n in sorted(self.refused.items()):
            refusals.add_metric([code], n)
        yield refusals
