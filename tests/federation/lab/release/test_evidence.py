from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.dataset import Dataset
from data.errors import DataError, ModelError
from federation.lab.release.evidence import gather_audience, judge_bundles, learned_until, spent_privacy
from federation.learning.privacy_plan import PrivacyPlan
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.evaluation.arms import arm
from recsys.evaluation.evaluation import evaluate
from recsys.fairness.gate import GatePolicy
from tests.federation.lab.release.a_release import NEW_UNTIL, OLD_UNTIL, a_log, quick, released, users_file


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return a_log()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("release")
    new = released(folder / "new", dataset, NEW_UNTIL, seed=1, chosen=quick(8.0))
    return new, released(folder / "old", dataset, OLD_UNTIL)


def test_both_are_judged_on_what_came_after_both(dataset: Dataset, bundles: tuple[Bundle, Bundle]) -> None:
    new, old = bundles
    audience = gather_audience(dataset, bundles, k=10)
    assert audience.question.split.at == learned_until(new)
    lists = audience.lists_of(new)
    asked = audience.question
    oracle = evaluate([arm("personalized", new.table, new.config)], asked.split, now=asked.now, k=10)
    warm = ~np.isnan(oracle.column("personalized", "ndcg@10"))
    np.testing.assert_allclose(lists.ndcg[warm], oracle.column("personalized", "ndcg@10")[warm])
    result = judge_bundles(new, old, audience, GatePolicy())
    assert [check.name for check in result.checks if check.name in ("epsilon", "stale") and not check.passed] == []
    assert result.about["users"] == len(lists.ndcg) == result.users


def test_a_moment_that_a_bundle_has_learned_beyond_is_refused_and_so_is_a_log_that_ended(
    dataset: Dataset, bundles: tuple[Bundle, Bundle]
) -> None:
    until = learned_until(bundles[0])
    assert until is not None
    with pytest.raises(ModelError, match="has learned from events until"):
        gather_audience(dataset, bundles, at=until - 1)
    log = dataset.log.filter(pl.col("time").dt.epoch("us") < until)
    with pytest.raises(DataError, match="nothing is left to judge them on"):
        gather_audience(replace(dataset, log=log), bundles)


def test_a_catalogue_that_grew_is_judged_over_all_its_items(
    tmp_path: Path, dataset: Dataset, bundles: tuple[Bundle, Bundle]
) -> None:
    new, n = bundles[0], bundles[0].table.n_items - 5
    table = replace(
        new.table, item_embeddings=np.array(new.table.item_embeddings[:n]), trend=np.array(new.table.trend[:n])
    )
    small = save_bundle(
        tmp_path / "small", name=new.name, table=table, catalogue=new.catalogue[:n], config=new.config, seed=0,
        data_hash="x", privacy="none", training={"until": learned_until(bundles[1])},
    )  # fmt: skip
    audience = gather_audience(dataset, [new, small], k=10)
    assert audience.lists_of(small).items.max() < n <= audience.lists_of(new).items.max()
    with pytest.raises(ModelError, match="another log's bundle"):
        gather_audience(replace(dataset, catalogue=dataset.catalogue.reverse()), [new])


def test_declared_attributes_join_the_groups(dataset: Dataset, bundles: tuple[Bundle, Bundle]) -> None:
    audience = gather_audience(dataset, bundles, attributes=users_file(dataset))
    assert [grouping.name for grouping in audience.groupings] == ["activity", "niche_taste", "age | band"]
    ids = dict(users_file(dataset).iter_rows())
    age = audience.groupings[-1]
    for user, level in zip(audience.targets.users, age.level_of, strict=True):
        assert ids.get(dataset.users.ids[int(user)]) == (None if level < 0 else age.levels[level])


def test_epsilon_is_computed_from_the_noise_and_not_read(bundles: tuple[Bundle, Bundle]) -> None:
    new, old = bundles
    spent = spent_privacy(new)
    assert spent is not None
    statement = new.manifest["training"]["privacy"]
    plan = quick(8.0).train.privacy
    assert isinstance(plan, PrivacyPlan)
    assert spent.epsilon == pytest.approx(plan.epsilon_after(statement["participations"]))
    assert spent.promised == pytest.approx(plan.epsilon)
    forged = new.manifest | {"training": new.manifest["training"] | {"privacy": statement | {"epsilon": 0.1}}}
    lied = spent_privacy(replace(new, manifest=forged))
    assert lied is not None
    assert (lied.epsilon, lied.stated) == (spent.epsilon, 0.1)
    lacking = {name: value for name, value in statement.items() if name != "delta"}
    with pytest.raises(ModelError, match="delta"):
        spent_privacy(replace(new, manifest={"training": {"privacy": lacking}}))
    assert spent_privacy(old) is None


def test_a_live_rounds_statement_counts_before_that_of_its_first_bundle(bundles: tuple[Bundle, Bundle]) -> None:
    statement = bundles[0].manifest["training"]["privacy"]
    live = {"privacy": statement, "round": {"privacy": statement | {"participations": 1}}}
    spent = spent_privacy(replace(bundles[0], manifest={"training": live}))
    assert spent is not None
    assert spent.participations == 1
