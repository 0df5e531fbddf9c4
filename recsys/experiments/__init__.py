"""Experiments: what is compared, on whom, measured by private sums, and how sure one may be of a difference."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.experiments.metrics import Metric as Metric
    from recsys.experiments.metrics import MetricKind as MetricKind
    from recsys.experiments.sums import ArmSums as ArmSums
    from recsys.experiments.sums import SumsNoise as SumsNoise

__getattr__ = lazy_names(
    __name__,
    {
        "ArmSums": "recsys.experiments.sums",
        "Metric": "recsys.experiments.metrics",
        "MetricKind": "recsys.experiments.metrics",
        "SumsNoise": "recsys.experiments.sums",
    },
)

__all__ = [
    "ArmSums",
    "Metric",
    "MetricKind",
    "SumsNoise",
]
