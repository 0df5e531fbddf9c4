from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.errors import DataError
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.definition_file import (
    canonical_json,
    content_hash,
    experiment_of,
    read_experiment,
    to_dict,
)
from tests.recsys.experiments.an_experiment import START, an_experiment, raw_experiment


def changed(path: str, value: Any) -> dict[str, Any]:
    """The raw experiment with one value replaced, or taken away (...)."""
    raw = json.loads(json.dumps(raw_experiment()))
    at: Any = raw
    *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in way:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return raw  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("id", "Ä", r"id='Ä': must match"),
        ("id", 7, r"experiment\.id=7: must be text"),
        ("description", "a\ud800", r"experiment\.description='a.ud800': must be text without NUL"),
        ("description", "a\0", r"experiment\.description='a.x00': must be text without NUL and lone surrogates"),
        ("arms", [], r"arms=0: must be 2\.\.8"),
        ("arms/1/weight", 0, r"arm personal: weight=0: must be 1\.\.10000"),
        ("arms/1/weight", 0.5, r"experiment\.arms\[1\]\.weight=0\.5: must be an integer"),
        ("arms/1/weight", True, r"weight=True: must be an integer"),
        ("arms/1/name", "global", r"arms: names \['global', 'global'\] must differ"),
        ("arms/1/settings/model", "magic", r"settings\.model='magic': must be one of personalized"),
        ("arms/1/settings/diversity", 1.5, r"settings\.diversity=1\.5: must be 0\.\.1"),
        ("arms/1/settings/trend", 1, r"experiment\.arms\[1\]\.settings\.trend: is unknown"),
        ("control", "local", r"control='local': must be one of global, personal"),
        ("layer", ..., r"experiment\.layer: is missing"),
        ("layer/stop", 10_001, r"layer\.start=0, stop=10001: must be 0 ≤ start < stop ≤ 10000"),
        ("holdout_share", 0.6, r"holdout_share=0\.6: must be 0\.\.0\.5"),
        ("eligibility", [{"fact": "age"}], r"experiment\.eligibility\[0\]\.fact='age': must be one of events"),
        ("eligibility", [{"fact": "events", "least": 3, "most": 2}], r"must be 0 ≤ least ≤ most"),
        ("exposure", {"trigger": "opened"}, r"exposure\.trigger='opened': must be one of assignment"),
        ("metrics/0/role", "secondary", r"metrics: primary=\[\]: must be exactly one"),
        ("metrics/1/cap", -1, r"metric revenue: cap=-1.0: must be 1e-06\.\.1e\+12"),
        ("outcomes/0", ..., r"outcomes: column converted of the metrics is missing"),
        ("outcomes/0/measure", "count", r"outcome converted: measure='count': must be any"),
        ("outcomes/2/before_days", None, r"outcome spent_before: before_days: must be given for a covariate"),
        ("outcomes/3/before_days", 7, r"outcome clicks: before_days: must not be given"),
        ("outcomes/3/event", "look", r"experiment\.outcomes\[3\]\.event='look': must be one of click"),
        ("segments/0/cuts", [2, 1], r"segment shopper: levels"),
        ("segments/0/cuts", [0], r"segment shopper: cuts=\(0\.0,\): must rise, above 0 and finite"),
        ("looks/count", 0, r"looks\.count=0: must be 1\.\.100"),
        ("looks/method", "peek", r"experiment\.looks\.method='peek': must be one of group_sequential"),
        ("starts_at", "soon", r"experiment\.starts_at='soon': must be a date or time"),
        ("ends_at", START, r"must be after starts_at"),
        ("privacy/epsilon", 0, r"privacy\.epsilon=0\.0: must be above 0\.\.32"),
        ("privacy/epsilon", float("nan"), r"experiment\.privacy\.epsilon=nan: must be a finite number"),
        ("privacy/delta", 10**400, r"experiment\.privacy\.delta=1\d*\.\.\.\d*: must be a finite number"),
        ("eligibility", [{"fact": "events", "most": math.inf}], r"\[0\]\.most=inf: must be a finite number"),
        ("metrics/1/cap", 10**400, r"experiment\.metrics\[1\]\.cap=1\d*\.\.\.\d*: must be a finite number"),
        ("metrics/1/covariate_cap", 1e-308, r"metric revenue: covariate_cap=1e-308: must be 1e-06\.\.1e\+12"),
        ("version", 2**53, r"experiment\.version=9007199254740992: must be an integer"),
        ("privacy/min_reports", 20_000, r"privacy\.min_reports=20000: must be 1\.\.10000"),
        ("privacy/salt", 1, r"experiment\.privacy\.salt: is unknown"),
        ("alpha", 0.5, r"alpha=0\.5: must be above 0\.\.0\.2"),
        ("minimum_effect", 0, r"minimum_effect=0\.0: must be above 0\.\.10"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_bound(path: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        experiment_of(changed(path, value))


def test_segments_may_not_make_too_many_cells() -> None:
    segments = [
        {"name": f"s{i}", "fact": "events", "cuts": [1, 5], "levels": ["few", "some", "many"]} for i in range(3)
    ]
    with pytest.raises(DataError, match=r"segments: cells=27: must be 1\.\.16"):
        an_experiment(segments=segments)
    assert an_experiment(segments=segments[:2]).cells[1] == ("few", "some")
    assert an_experiment(segments=[]).cells == ((),)


def test_yaml_json_and_plain_values_are_one_experiment_with_one_hash(tmp_path: Path) -> None:
    raw = raw_experiment() | {"starts_at": "2025-12-01", "ends_at": "2025-12-15T01:00:00+01:00"}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(raw).replace("'2025-12-01'", "2025-12-01"))
    (tmp_path / "e.json").write_text(json.dumps(raw_experiment()))
    found = [read_experiment(tmp_path / name) for name in ("e.yaml", "e.json")]
    assert found[0] == found[1] == an_experiment()
    again = experiment_of(json.loads(canonical_json(found[0])))
    assert again == found[0]
    assert content_hash(again) == content_hash(found[0])
    assert to_dict(again)["starts_at"] == "2025-12-01T00:00:00+00:00"


def test_the_hash_depends_on_every_field() -> None:
    hashes = {content_hash(an_experiment())}
    for change in ({"alpha": 0.01}, {"description": "x"}, {"version": 2}, {"layer": {"name": "home", "stop": 9_999}}):
        hashes.add(content_hash(an_experiment(**change)))
    assert len(hashes) == 5


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.yaml", "a: ["), ("a.yaml", "- 1"), ("b.yaml", None)])
def test_a_file_that_is_no_experiment_is_one_line(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_experiment(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_key_that_is_given_twice_is_no_choice_of_the_reader(tmp_path: Path, name: str) -> None:
    text = json.dumps(raw_experiment()).replace('"epsilon": 1.0', '"epsilon": 1.0, "epsilon": 8.0')
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="'epsilon': is given twice in one object"):
        read_experiment(tmp_path / name)


def test_a_number_that_yaml_reads_as_text_is_told_apart(tmp_path: Path) -> None:
    text = json.dumps(raw_experiment()).replace("1e-06", "1e-6")
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(DataError, match=r"privacy\.delta='1e-6': must be a number, with a point for YAML .*: 1\.0e-6"):
        read_experiment(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text(text.replace("1e-6", "1.0e-6"))
    assert read_experiment(tmp_path / "a.yaml") == an_experiment()


def test_numbers_written_otherwise_are_the_same_experiment() -> None:
    whole, broken = changed("metrics/1/cap", 200), changed("metrics/1/cap", 200.0)
    whole["metrics"][1]["centre"], broken["metrics"][1]["centre"] = 0, -0.0
    whole["holdout_share"], broken["holdout_share"] = 0, -0.0
    assert content_hash(experiment_of(whole)) == content_hash(experiment_of(broken))
    assert fixed_hash(experiment_of(whole)) == fixed_hash(experiment_of(broken))


def test_dates_that_no_clock_reaches_are_refused() -> None:
    with pytest.raises(DataError, match=r"ends_at=1000000000000000: must be 2100-01-01T00:00:00\+00:00 or before"):
        an_experiment(starts_at=10**15 - 1, ends_at=10**15)


@pytest.mark.parametrize("key", ["arms", "metrics", "id", "ends_at"])
def test_a_few_lines_that_unfold_to_billions_of_values_are_refused_at_once(key: str) -> None:
    bomb: list[Any] = ["x"]
    for _ in range(32):
        bomb = [bomb, bomb]  # what aliases in YAML make
    with pytest.raises(DataError) as caught:
        an_experiment(**{key: [bomb] if key in ("arms", "metrics") else bomb})
    assert len(str(caught.value)) < 1_000


def test_the_last_window_begins_when_the_last_outcome_is_in() -> None:
    experiment = an_experiment(outcome_days=7)  # 14 days of exposures and 7 more of outcomes, in 3 steps of 7 days
    day = 86_400
    assert [experiment.window(k) for k in range(3)] == [
        (START + 1 * day, START + 7 * day),
        (START + 8 * day, START + 14 * day),
        (START + 21 * day, START + 27 * day),
    ]
    assert an_experiment(looks={"count": 1}, outcome_days=1).window(0) == (START + 15 * day, START + 21 * day)
    assert an_experiment(looks={"count": 21}).window(0) == (START, START + day)
    with pytest.raises(DataError, match=r"window=3: must be 0\.\.2"):
        experiment.window(3)


def test_a_level_holds_what_lies_between_its_cuts() -> None:
    (segment,) = an_experiment(
        segments=[{"name": "taste", "fact": "head_share", "cuts": [0.2, 0.5], "levels": ["tail", "mixed", "head"]}]
    ).segments
    assert [segment.levels[segment.level(x)] for x in (0.0, 0.19, 0.2, 0.5, 1.0)] == [
        "tail", "tail", "mixed", "head", "head",
    ]  # fmt: skip


def test_the_guides_example_is_an_experiment() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "experiments.md").read_text()
    experiment = experiment_of(yaml.safe_load(guide.split("```yaml\n")[1].split("```")[0]))
    assert experiment.cells == (("new",), ("returning",))
    assert experiment.primary.name == "conversion"


def test_every_mistake_is_named_with_its_place_and_dates_are_dates():
    with pytest.raises(DataError) as told:
        an_experiment(alpha="small", colour="red", looks={"count": 2.5}, segments=[{"name": "a"}, 7])
    for place in (
        "experiment.alpha='small': must be a finite number",
        "experiment.colour: is unknown",
        "experiment.looks.count=2.5: must be an integer",
        "experiment.segments[0].fact: is missing",
        "experiment.segments[0].cuts: is missing",
        "experiment.segments[1]=7: must be an object",
    ):
        assert place in str(told.value)
    with pytest.raises(DataError) as told:
        an_experiment(alpha=0.5, holdout_share=0.9, ends_at="2025-11-01T00:00:00Z")
    assert "alpha=0.5: must be" in str(told.value)
    assert "holdout_share=0.9: must be" in str(told.value)
    assert (
        "ends_at=2025-11-01T00:00:00+00:00: must be after starts_at=2025-12-01T00:00:00+00:00, at most 366 days"
        in str(told.value)
    )
    assert "\n" not in str(told.value)
    with pytest.raises(DataError) as told:
        an_experiment(ends_at="tomorrow", alpha=0.5, colour="red")
    assert "experiment.ends_at='tomorrow': must be a date or time as" in str(told.value)
    assert "experiment.colour: is unknown" in str(told.value)


def test_every_mistake_inside_one_object_is_named():
    wrong = {
        "privacy": {"epsilon": -1.0, "delta": 0.5, "min_reports": 9, "max_reports": 3},
        "looks": {"count": 0, "method": "group_sequential"},
        "segments": [{"name": "Bad name", "fact": "events", "cuts": [3, 1], "levels": ["a", "a"]}],
        "eligibility": [{"fact": "events", "least": 3, "most": 1}],
        "metrics": [{"name": "m", "numerator": "clicks", "cap": -1.0, "margin": 2.0, "role": "primary"}],
    }
    with pytest.raises(DataError) as told:
        an_experiment(**wrong)
    for mistake in (
        "privacy.epsilon=-1.0: must be above 0..32",
        "privacy.delta=0.5: must be",
        "privacy.min_reports=9: must be 1..3",
        "looks.count=0: must be 1..100",
        "segment.name='Bad name': must match",
        "must be distinct and one more than cuts",
        "must rise, above 0 and finite",
        "least=3.0, most=1.0: must be 0 ≤ least ≤ most",
        "cap=-1.0: must be",
        "margin=2.0: must be 0..1, of a guardrail only",
    ):
        assert mistake in str(told.value)
