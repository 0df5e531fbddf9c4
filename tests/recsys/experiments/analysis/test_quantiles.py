"""A quantile of a histogram is that of the shoppers, its variance is true, and noise does not bend it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import DataError, SumsTooSmall
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import normal_z
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.quantiles import quantile_and_gradient
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import OutcomeColumn, OutcomeEvent
from recsys.experiments.definition.definition_file import content_hash, experiment_of, to_dict
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role, products
from tests.recsys.experiments.experiments import OUTCOMES, experiment

EDGES = tuple(float(np.round(edge, 2)) for edge in np.exp(3.0 + np.linspace(-1.9, 1.9, 16)))


def metric(share: float = 0.5, edges: tuple[float, ...] = EDGES, role: Role = Role.PRIMARY) -> Metric:
    return Metric("typical", MetricKind.QUANTILE, "spent", role=role, quantile=share, edges=edges)


def sums_of(values: np.ndarray, made: Metric) -> ArmSums:
    return ArmSums.from_rows({name: values >= edge for name, edge in made.thresholds.items()}, [made])


def test_a_quantile_is_read_between_the_edges_by_hand() -> None:
    made = metric(0.5, (10.0, 20.0, 40.0))
    values = np.repeat([5.0, 15.0, 30.0, 50.0], [2, 4, 3, 1])  # at or above 10: 8 of 10; 20: 4; 40: 1
    value, gradient = quantile_and_gradient(made, sums_of(values, made))
    assert value == pytest.approx(10 + 10 * (0.8 - 0.5) / (0.8 - 0.4))
    density = (1.0 - 0.1) / 40.0  # over the bucket 10..20 and both neighbours
    assert gradient == {
        "spent_ge_00": pytest.approx((1 - 0.75) / density),
        "spent_ge_01": pytest.approx(0.75 / density),
    }


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_quantile_of_many_is_that_of_the_shoppers_within_a_bucket(share: float) -> None:
    values = np.random.default_rng(1).lognormal(3.0, 1.0, 50_000)
    made = metric(share)
    exact = float(np.quantile(values, share))
    width = np.diff([0.0, *EDGES])[np.searchsorted(EDGES, exact)]
    assert quantile_and_gradient(made, sums_of(values, made))[0] == pytest.approx(exact, abs=width / 4)


def test_beyond_the_last_edge_there_is_no_figure_and_below_the_first_there_is() -> None:
    made = metric(0.5, (10.0, 20.0))
    with pytest.raises(SumsTooSmall, match=r"60\.0% of the shoppers are at 20 or above: the quantile lies beyond"):
        quantile_and_gradient(made, sums_of(np.repeat([5.0, 25.0], [4, 6]), made))
    assert quantile_and_gradient(made, sums_of(np.repeat([5.0, 15.0], [8, 2]), made))[0] == pytest.approx(6.25)


@pytest.mark.parametrize(("share", "noise"), [(0.5, 0.0), (0.9, 0.0), (0.5, 15.0)])
def test_between_equal_arms_the_statistic_is_standard_normal(share: float, noise: float) -> None:
    """Of 400 experiments the standard deviation of z is 1 ± .12 (3.4 standard errors), and its mean 0 ± .17."""
    rng, made = np.random.default_rng(5), metric(share)

    def arm() -> ArmSums:
        exact = sums_of(rng.lognormal(3.0, 1.0, 2_000), made)
        if not noise:
            return exact
        totals = {name: total + rng.normal(0.0, noise) for name, total in exact.totals.items()}
        described = SumsNoise(noise**2, dict.fromkeys(totals, noise**2))
        return ArmSums(exact.n + rng.normal(0.0, noise), totals, {}, described, indicators=exact.indicators)

    z = np.array([normal_z(difference(made, arm(), arm())) for _ in range(400)])
    assert abs(z.std() - 1.0) < 0.12
    assert abs(z.mean()) < 0.17


def test_a_higher_median_is_found() -> None:
    rng, made = np.random.default_rng(7), metric()
    low, high = (sums_of(rng.lognormal(mean, 1.0, 4_000), made) for mean in (3.0, 3.2))
    found = difference(made, low, high)
    assert found.relative == pytest.approx(math.exp(0.2) - 1.0, abs=0.1)
    assert found.z > 4


def test_devices_say_which_edges_they_reached_and_no_product() -> None:
    made = experiment(metrics=(metric(), Metric("revenue", MetricKind.MEAN, "spent", cap=500.0)), outcomes=OUTCOMES)
    layout = layout_of(made)
    assert [slot.of for slot in layout.slots].count(("spent_ge_03",)) == 1
    assert products([metric()]) == ()
    reached = {name: float(edge <= 30.0) for name, edge in metric().thresholds.items()}
    risen = layout.risen({"spent": 30.0, **reached}, np.zeros((2, len(layout.slots))))
    sums = layout.sums(layout.contribution("personal", 0, risen))["personal"][0]
    assert sum(sums.totals[name] for name in metric().thresholds) == pytest.approx(sum(edge <= 30.0 for edge in EDGES))


def test_a_quantile_is_written_and_read_and_other_definitions_keep_their_text() -> None:
    made = experiment(metrics=(metric(),), outcomes=(OutcomeColumn("spent", OutcomeEvent.PURCHASE, "value"),))
    assert experiment_of(to_dict(made)) == made
    assert content_hash(experiment_of(to_dict(made))) == content_hash(made)
    plain = to_dict(experiment())
    assert not {"quantile", "edges"} & plain["metrics"][0].keys()
    assert plain["outcomes"][0].keys() == {"name", "event", "measure", "before_days"}
    assert Metric.from_dict(metric().to_dict()) == metric()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantile": 1.0}, "quantile=1.0: must be above 0 and below 1"),
        ({"quantile": None}, "quantile=None: must be above 0"),
        ({"edges": (1.0,)}, "must be 2..32 values above 0 that rise"),
        ({"edges": (2.0, 1.0)}, "must be 2..32 values above 0 that rise"),
        ({"edges": (0.0, 1.0)}, "must be 2..32 values above 0 that rise"),
        ({"covariate": "before"}, "covariate, cap, centre: must not be given for a quantile"),
        ({"kind": MetricKind.MEAN}, "quantile, edges: must be given for a quantile only"),
        ({"numerator": "a" * 28}, "must be shorter, for the names of its thresholds"),
    ],
)
def test_what_is_no_quantile_is_refused(changes: dict, message: str) -> None:
    given = {"name": "typical", "kind": MetricKind.QUANTILE, "numerator": "spent", "quantile": 0.5, "edges": EDGES}
    with pytest.raises(DataError, match=message):
        Metric(**(given | changes))
    with pytest.raises(DataError, match="outcomes: column spent of the metrics is missing"):
        experiment(metrics=(metric(),), outcomes=(OutcomeColumn("other", OutcomeEvent.PURCHASE),))
