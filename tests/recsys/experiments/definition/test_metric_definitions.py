import json

import pytest

from data.errors import DataError
from recsys.experiments.definition.metric_definitions import (
    Direction,
    Metric,
    MetricKind,
    Role,
    check_metrics,
    columns,
    products,
)

BUYS = Metric("conversion", MetricKind.PROPORTION, "bought", role=Role.PRIMARY)
SPENT = Metric("revenue", MetricKind.MEAN, "spent", covariate="spent_before", cap=500.0, covariate_cap=300.0)
PER_ORDER = Metric("per_order", MetricKind.RATIO, "spent", denominator="orders", cap=500.0, denominator_cap=10.0)


def test_a_conversion_needs_no_product():
    assert products([BUYS]) == ()
    assert [column.name for column in columns([BUYS])] == ["bought"]


def test_metrics_share_columns_and_products_and_ask_for_no_other():
    assert [column.name for column in columns([BUYS, SPENT, PER_ORDER])] == [
        "bought",
        "orders",
        "spent",
        "spent_before",
    ]
    assert products([BUYS, SPENT, PER_ORDER]) == (
        ("orders", "orders"), ("orders", "spent"), ("spent", "spent"), ("spent", "spent_before"),
        ("spent_before", "spent_before"),
    )  # fmt: skip


def test_the_square_of_an_indicator_covariate_is_left_out():
    metric = Metric("c", MetricKind.PROPORTION, "bought", covariate="bought_before", covariate_indicator=True)
    assert products([metric]) == (("bought", "bought_before"),)


def test_a_column_is_an_indicator_for_all_metrics_once_one_says_so():
    mean = Metric("mean", MetricKind.MEAN, "bought")
    assert products([mean]) == (("bought", "bought"),)
    assert products([mean, BUYS]) == ()


def test_a_centred_column_has_a_smaller_bound():
    (column,) = Metric("diversity", MetricKind.MEAN, "diversity", centre=0.6).parts
    assert column.bound == 0.6
    assert BUYS.parts[0].bound == 1.0


def test_a_metric_is_its_dict_through_json():
    for metric in (BUYS, SPENT, PER_ORDER):
        assert Metric.from_dict(json.loads(json.dumps(metric.to_dict()))) == metric
    short = Metric.from_dict({"name": "m", "numerator": "x", "direction": "down"})
    assert short == Metric("m", MetricKind.MEAN, "x", direction=Direction.DOWN)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"name": "m", "numerator": "x", "kind": "median"}, "kind='median': must be one of mean, proportion, ratio"),
        ({"name": "m", "numerator": "X"}, "numerator='X': must match"),
        ({"name": "m", "numerator": "x", "denominator": "y"}, "denominator='y': must be a column of a ratio, only"),
        ({"name": "m", "numerator": "x", "kind": "ratio"}, "denominator=None: must be"),
        ({"name": "m", "numerator": "x", "covariate": "x"}, "must be different columns"),
        ({"name": "m", "numerator": "x", "kind": "proportion", "cap": 2.0}, "cap=2.0: must be 1"),
        ({"name": "m", "numerator": "x", "cap": float("inf")}, "cap=inf: must be 1e-06..1e+12"),
        ({"name": "m", "numerator": "x", "cap": "2"}, "cap='2': must be a float"),
        ({"name": "m", "numerator": "x", "centre": 2.0}, "centre=2.0: must be 0..cap=1.0"),
        ({"name": "m", "numerator": "x", "margin": 0.1}, "margin=0.1: must be 0..1, of a guardrail only"),
        ({"name": "m", "numerator": "x", "covariate_indicator": True}, "needs a covariate"),
        ({"name": "m", "numerator": "x", "median": 1}, "must have name, numerator"),
        ({"name": "m"}, "must have name, numerator"),
    ],
)
def test_a_wrong_metric_is_told_what_is_wrong(raw, says):
    with pytest.raises(DataError) as refused:
        Metric.from_dict(raw)
    assert says in str(refused.value)


def test_a_set_of_metrics_has_one_primary_different_names_and_agreeing_columns():
    check_metrics([BUYS, SPENT, PER_ORDER])
    with pytest.raises(DataError, match="exactly one"):
        check_metrics([SPENT])
    with pytest.raises(DataError, match="must differ"):
        check_metrics([BUYS, BUYS])
    with pytest.raises(DataError, match="one cap and one centre"):
        check_metrics([BUYS, SPENT, Metric("other", MetricKind.MEAN, "spent", cap=9.0)])
