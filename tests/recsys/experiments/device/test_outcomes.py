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


@given(
    st.lists(st.tuples(st.integers(-30, 30), st.sampled_from(OutcomeEvent), st.floats(0, 1e6)), max_size=12),
    st.lists(st.integers(0, 20), min_size=2, max_size=5).map(sorted),
)
def test_columns_never_fall(happened: list[tuple[int, OutcomeEvent, float]], days: list[int]) -> None:
    seen = []
    for day in days:
        notes = [OutcomeRecord(AT + at * DAY, event, value) for at, event, value in happened if at <= day]
        seen.append(columns_at(EXPERIMENT, notes, AT, AT + day * DAY))
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
