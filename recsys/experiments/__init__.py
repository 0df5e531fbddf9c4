"""Experiments: what is compared, on whom, measured by private sums, and how sure one may be of a difference."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.experiments.analysis import Analysis as Analysis
    from recsys.experiments.analysis import Look as Look
    from recsys.experiments.analysis import analyse as analyse
    from recsys.experiments.assignment import assign as assign
    from recsys.experiments.definition import Experiment as Experiment
    from recsys.experiments.metrics import Metric as Metric
    from recsys.experiments.metrics import MetricKind as MetricKind
    from recsys.experiments.reading import experiment_of as experiment_of
    from recsys.experiments.reading import read_experiment as read_experiment
    from recsys.experiments.sums import ArmSums as ArmSums
    from recsys.experiments.sums import SumsNoise as SumsNoise
    from recsys.experiments.verdict import verdicts as verdicts

__getattr__ = lazy_names(
    __name__,
    {
        "Analysis": "recsys.experiments.analysis",
        "ArmSums": "recsys.experiments.sums",
        "Experiment": "recsys.experiments.definition",
        "Look": "recsys.experiments.analysis",
        "Metric": "recsys.experiments.metrics",
        "MetricKind": "recsys.experiments.metrics",
        "SumsNoise": "recsys.experiments.sums",
        "analyse": "recsys.experiments.analysis",
        "assign": "recsys.experiments.assignment",
        "experiment_of": "recsys.experiments.reading",
        "read_experiment": "recsys.experiments.reading",
        "verdicts": "recsys.experiments.verdict",
    },
)

__all__ = [
    "Analysis",
    "ArmSums",
    "Experiment",
    "Look",
    "Metric",
    "MetricKind",
    "SumsNoise",
    "analyse",
    "assign",
    "experiment_of",
    "read_experiment",
    "verdicts",
]
