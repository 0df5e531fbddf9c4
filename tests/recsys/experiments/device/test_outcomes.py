from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from recsys.experiments.definition.definition import OutcomeEvent
from recsys.experiments.device.outcomes import OutcomeRecord, cell_of, columns_at, is_eligible, takes_exposures
from tests.recsys.experiments.an_experiment import START, an_experiment

DAY = 86_400_000_000
AT = START * 1_000_000
EXPERIMENT = an_experiment(outcome_days=7)
BUY, CLICK, LIST = OutcomeEvent.PURCHASE, OutcomeEvent.CLICK, OutcomeEvent.LIST


def test_outcomes_count_from_the_exposure_for_their_window_and_covariates_before_it() -> None:
    notes = [
        OutcomeRecord(AT - 29 * DAY, BUY, 99.0),  # before the 28 days
        OutcomeRecord(AT - 28 * DAY, BUY, 10.0),
        OutcomeRecord(AT - 1, BUY, 5.0),
        OutcomeRecord(AT, LIST),
        OutcomeRecord(AT + 1, CLICK),
        OutcomeRecord(AT + 2 * DAY, BUY, 20.0),
        OutcomeRecord(AT + 7 * DAY, BUY, 30.0),
        OutcomeRecord(AT + 7 * DAY + 1, BUY, 40.0),  # after the 7 days
    ]
    assert columns_at(EXPERIMENT, notes, AT, AT + 30 * DAY) == {
        "converted": 1.0, "spent": 50.0, "spent_before": 15.0, "clicks": 1.0, "lists": 1.0,
    }  # fmt: skip
    assert columns_at(EXPERIMENT, notes, AT, AT) == {
        "converted": 0.0, "spent": 0.0, "spent_before": 15.0, "clicks": 0.0, "lists": 1.0,
    }  # fmt: skip


RICH = an_experiment(
    outcome_days=14,
    outcomes=[
        {"name": "converted", "event": "purchase", "measure": "any"},
        {"name": "week_1", "event": "session", "measure": "any", "from_day": 7, "to_day": 13},
        {"name": "active_days", "event": "session", "measure": "days"},
        {"name": "sooner", "event": "purchase", "measure": "days_left"},
        {"name": "carted", "event": "cart", "measure": "any", "after": ["click"]},
        {"name": "bought_so", "event": "purchase", "measure": "any", "after": ["click", "cart"]},
        {"name": "spent", "event": "purchase", "measure": "value"},
    ],
    metrics=[
        {"name": "conversion", "kind": "proportion", "numerator": "converted", "role": "primary"},
        {"name": "retention", "kind": "proportion", "numerator": "week_1"},
        {"name": "days", "numerator": "active_days", "cap": 14},
        {"name": "time", "numerator": "sooner", "cap": 14},
        {"name": "checkout", "kind": "ratio", "numerator": "bought_so", "denominator": "carted"},
        {"name": "median", "kind": "quantile", "numerator": "spent", "quantile": 0.5, "edges": [10.0, 50.0]},
    ],
)
SESSION, CART = OutcomeEvent.SESSION, OutcomeEvent.CART


def test_retention_active_days_time_to_purchase_and_funnels_by_hand() -> None:
    notes = [
        OutcomeRecord(AT + DAY // 2, SESSION, 60.0),
        OutcomeRecord(AT + DAY // 2 + 1, SESSION, 60.0),  # the same day
        OutcomeRecord(AT + DAY, CART),  # before any click: no step of the funnel
        OutcomeRecord(AT + 2 * DAY, CLICK),
        OutcomeRecord(AT + 3 * DAY, CART),
        OutcomeRecord(AT + 3 * DAY + DAY // 2, BUY, 20.0),
        OutcomeRecord(AT + 7 * DAY - 1, SESSION, 60.0),  # day 6
    ]
    found = columns_at(RICH, notes, AT, AT + 30 * DAY)
    assert found == {
        "converted": 1.0, "week_1": 0.0, "active_days": 2.0, "sooner": 10.5, "carted": 1.0, "bought_so": 1.0,
        "spent": 20.0, "spent_ge_00": 1.0, "spent_ge_01": 0.0,
    }  # fmt: skip
    back = [*notes, OutcomeRecord(AT + 13 * DAY, SESSION, 5.0)]
    assert columns_at(RICH, back, AT, AT + 30 * DAY)["week_1"] == 1.0
    assert columns_at(RICH, back, AT, AT + 12 * DAY)["week_1"] == 0.0
    straight = [
        OutcomeRecord(AT + DAY, BUY, 60.0),
        OutcomeRecord(AT + 2 * DAY, CLICK),
        OutcomeRecord(AT + 3 * DAY, CART),
    ]
    found = columns_at(RICH, straight, AT, AT + 30 * DAY)
    assert (found["bought_so"], found["carted"], found["sooner"], found["spent_ge_01"]) == (0.0, 1.0, 13.0, 1.0)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({"from_day": 7, "to_day": 6}, "to_day=6: must be 7..366"),
        ({"from_day": 14}, "day 14: must be before outcome_days=14"),
        ({"measure": "days_left", "before_days": 3}, "must not be of a covariate"),
        ({"after": ["click"], "before_days": 3}, "must not be of a covariate"),
        ({"after": ["sale"]}, "after"),
    ],
)
def test_windows_and_steps_that_make_no_sense_are_refused(outcome: dict, message: str) -> None:
    wrong = {"name": "extra", "event": "purchase", "measure": "any"} | outcome
    with pytest.raises(DataError, match=message):
        an_experiment(outcome_days=14, outcomes=[*raw_outcomes(), wrong])


def raw_outcomes() -> list[dict]:
    return [
        {"name": "converted", "event": "purchase", "measure": "any"},
        {"name": "spent", "event": "purchase", "measure": "value"},
        {"name": "spent_before", "event": "purchase", "measure": "value", "before_days": 28},
        {"name": "clicks", "event": "click"},
        {"name": "lists", "event": "list"},
    ]


@given(
    st.lists(st.tuples(st.integers(-30, 30), st.sampled_from(OutcomeEvent), st.floats(0, 1e6)), max_size=12),
    st.lists(st.integers(0, 20), min_size=2, max_size=5).map(sorted),
)
def test_columns_never_fall(happened: list[tuple[int, OutcomeEvent, float]], days: list[int]) -> None:
    seen = []
    for day in days:
        notes = [OutcomeRecord(AT + at * DAY, event, value) for at, event, value in happened if at <= day]
        seen.append(columns_at(EXPERIMENT, notes, AT, AT + day * DAY) | columns_at(RICH, notes, AT, AT + day * DAY))
    for earlier, later in itertools.pairwise(seen):
        assert all(later[name] >= earlier[name] for name in earlier)
    assert len({one["spent_before"] for one in seen}) == 1


def test_a_value_below_nothing_is_refused_and_never_shown() -> None:
    with pytest.raises(DataError, match=r"value of purchase=-1: must be finite and 0 or more"):
        OutcomeRecord(AT, BUY, -1)
    assert "123.25" not in repr(OutcomeRecord(AT, BUY, 123.25))


def test_a_cell_is_the_combination_of_levels() -> None:
    experiment = an_experiment(
        segments=[
            {"name": "shopper", "fact": "purchases", "cuts": [1], "levels": ["new", "returning"]},
            {"name": "taste", "fact": "head_share", "cuts": [0.2, 0.5], "levels": ["tail", "mixed", "head"]},
        ]
    )
    cells = [cell_of(experiment, {"purchases": n, "head_share": h}) for n in (0, 4) for h in (0.1, 0.3, 0.9)]
    assert cells == [0, 1, 2, 3, 4, 5]
    assert experiment.cells[5] == ("returning", "head")
    assert cell_of(an_experiment(segments=[]), {}) == 0
    with pytest.raises(DataError, match="fact purchases=nan: must be 0 or more"):
        cell_of(experiment, {})


def test_rules_are_met_within_their_bounds() -> None:
    experiment = an_experiment(eligibility=[{"fact": "events", "least": 3}, {"fact": "purchases", "most": 10}])
    found = [is_eligible(experiment, {"events": e, "purchases": p}) for e, p in ((2, 0), (3, 0), (3, 10), (3, 11))]
    assert found == [False, True, True, False]
    assert is_eligible(an_experiment(), {})


def test_shoppers_come_in_from_the_start_until_the_end() -> None:
    moments = [AT - 1, AT, EXPERIMENT.ends_at * 1_000_000 - 1, EXPERIMENT.ends_at * 1_000_000]
    assert [takes_exposures(EXPERIMENT, at) for at in moments] == [False, True, True, False]
