"""Experiments: what is compared, on whom, measured by private sums, and how sure one may be of a difference."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.experiments.analysis.analysis import Analysis as Analysis
    from recsys.experiments.analysis.analysis import Look as Look
    from recsys.experiments.analysis.analysis import analyse as analyse
    from recsys.experiments.analysis.sums import ArmSums as ArmSums
    from recsys.experiments.analysis.sums import SumsNoise as SumsNoise
    from recsys.experiments.analysis.verdict import verdicts as verdicts
    from recsys.experiments.definition.definition import Experiment as Experiment
    from recsys.experiments.definition.definition_file import experiment_of as experiment_of
    from recsys.experiments.definition.definition_file import read_experiment as read_experiment
    from recsys.experiments.definition.metric_definitions import Metric as Metric
    from recsys.experiments.definition.metric_definitions import MetricKind as MetricKind
    from recsys.experiments.device.assignment import assign as assign

__getattr__ = lazy_names(
    __name__,
    {
        "Analysis": "recsys.experiments.analysis.analysis",
        "ArmSums": "recsys.experiments.analysis.sums",
        "Experiment": "recsys.experiments.definition.definition",
        "Look": "recsys.experiments.analysis.analysis",
        "Metric": "recsys.experiments.definition.metric_definitions",
        "MetricKind": "recsys.experiments.definition.metric_definitions",
        "SumsNoise": "recsys.experiments.analysis.sums",
        "analyse": "recsys.experiments.analysis.analysis",
        "assign": "recsys.experiments.device.assignment",
        "experiment_of": "recsys.experiments.definition.definition_file",
        "read_experiment": "recsys.experiments.definition.definition_file",
        "verdicts": "recsys.experiments.analysis.verdict",
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
