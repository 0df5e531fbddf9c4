from __future__ import annotations

from typing import Any

import pytest

from data.errors import DataError
from recsys.experiments.definition.amendments import check_amendment, check_beside, fixed_hash
from tests.recsys.experiments.an_experiment import START, an_experiment, an_interleaving, raw_experiment

DAY = 86_400


@pytest.mark.parametrize(
    "change",
    [
        {"description": "with a reason"},
        {"ends_at": START + 21 * DAY},
        {"layer": {"name": "home", "start": 0, "stop": 5_000}},
    ],
)
def test_a_later_end_a_larger_range_and_words_are_amendments(change: dict[str, Any]) -> None:
    before = an_experiment(layer={"name": "home", "start": 1_000, "stop": 2_000})
    after = an_experiment(**{"layer": {"name": "home", "start": 1_000, "stop": 2_000}, "version": 2, **change})
    check_amendment(before, after)
    assert fixed_hash(before) == fixed_hash(after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, r"version=3: must be 2"),
        ({"ends_at": START + 13 * DAY}, r"ends_at=.*: must not be before"),
        ({"layer": {"name": "home", "start": 1}}, r"layer\.start=1, stop=10000: must hold 0\.\.10000"),
        ({"layer": {"name": "cart"}}, r"layer\.name='cart': must stay 'home'"),
    ],
)
def test_an_amendment_that_would_lose_shoppers_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_amendment(an_experiment(), an_experiment(**{"version": 2} | change))


CHANGES: dict[str, Any] = {
    "id": "other",
    "arms": [{"name": "global"}, {"name": "personal"}],
    "control": "personal",
    "metrics": raw_experiment()["metrics"][:1],
    "outcomes": [
        *raw_experiment()["outcomes"][:3],
        {"name": "clicks", "event": "cart"},
        {"name": "lists", "event": "list"},
    ],
    "segments": [],
    "looks": {"method": "group_sequential", "count": 4},
    "starts_at": START + 1,
    "privacy": {"epsilon": 1.1, "min_reports": 50, "max_reports": 10_000},
    "eligibility": [{"fact": "events", "least": 3}],
    "exposure": {"trigger": "assignment"},
    "holdout_share": 0.1,
    "outcome_days": 8,
    "minimum_effect": 0.1,
    "alpha": 0.01,
    "power": 0.9,
}


@pytest.mark.parametrize("name", CHANGES)
def test_everything_else_is_fixed_once_started(name: str) -> None:
    after = an_experiment(version=2, **{name: CHANGES[name]})
    with pytest.raises(DataError, match=rf"^{name}: cannot change once the experiment has started"):
        check_amendment(an_experiment(), after)
    assert fixed_hash(after) != fixed_hash(an_experiment())


def test_every_field_is_either_fixed_or_amendable() -> None:
    fixed = {*CHANGES, "design"}  # another design has other metrics
    assert {*fixed, "version", "description", "ends_at", "layer"} == set(an_experiment().__dataclass_fields__)
    for before, after in ((an_experiment(), an_interleaving(version=2)), (an_interleaving(), an_experiment(version=2))):
        with pytest.raises(DataError, match="cannot change once the experiment has started"):
            check_amendment(before, after)


def test_experiments_of_a_layer_share_no_bucket_at_one_time() -> None:
    running = an_experiment(layer={"name": "home", "start": 0, "stop": 4_000})
    for layer, message in (
        ({"name": "home", "start": 3_999, "stop": 5_000}, r"overlaps personal-home, which has 0\.\.4000"),
        ({"name": "home", "start": 4_000, "stop": 5_000}, None),
        ({"name": "cart"}, None),
    ):
        new = an_experiment(id="new", layer=layer)
        if message is None:
            check_beside(new, [running])
        else:
            with pytest.raises(DataError, match=message):
                check_beside(new, [running])
    later = an_experiment(id="later", starts_at=START + 14 * DAY, ends_at=START + 20 * DAY)
    check_beside(later, [running])
    with pytest.raises(DataError, match=r"holdout_share=0\.1: must be 0\.0, as personal-home's"):
        check_beside(an_experiment(id="new", holdout_share=0.1, layer={"name": "home", "start": 9_000}), [running])
