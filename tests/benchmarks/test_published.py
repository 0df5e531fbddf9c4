"""The published table's own rules: random items are at chance, popularity has its row, the leak shows where it is."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data.interactions import Interactions
from tests.benchmarks import ml100k, published
from tests.benchmarks.logs import distinct_items
from tests.benchmarks.pfedrec import PFedRec


@dataclass
class Log:
    inter: Interactions

    def interactions(self) -> Interactions:
        return self.inter


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ml100k, "load", lambda: Log(distinct_items()))
        found = published.run(draws=2, theirs=PFedRec(dim=8, rounds=60, init=0.1, rate_items=8_000.0))
    return json.loads(json.dumps(found))


def test_a_model_of_random_items_without_federation_is_at_chance_in_both_protocols(figures: dict[str, Any]):
    found = figures["ml100k"]
    users = found["protocol"]["users"]
    sigma = np.sqrt(0.1 * 0.9 / users)
    for row in ("untrained", "no_federation_honest"):
        assert abs(found[row]["sampled_hr@10"] - 0.1) < 4 * sigma
        assert found[row]["full_ndcg@10"] < 10 / found["protocol"]["items"]
    assert found["no_federation_leaky"]["sampled_hr@10"] > 0.9


def test_every_row_has_its_figures_and_popularity_has_a_row(figures: dict[str, Any]):
    found = figures["ml100k"]
    rows = [found, found["popularity"], found["central"], found["paper_without_leak"], found["paper_with_leak"]]
    for row in rows:
        for figure in ("full_ndcg@10", "sampled_hr@10", "sampled_ndcg@10"):
            low, high = row["ci95"][figure]
            assert 0 <= low <= row[figure] <= high <= 1
    assert found["paper"]["sampled_hr@10"] == 0.716
    assert found["paper"]["sampled_ndcg@10"] == 0.434


def test_the_papers_method_is_judged_by_the_better_of_its_two_tables(figures: dict[str, Any]):
    without = figures["ml100k"]["paper_without_leak"]
    assert without["sampled_hr@10"] == max(without[table]["sampled_hr@10"] for table in published.TABLES)


def test_ours_beats_popularity_and_the_untrained_table(figures: dict[str, Any]):
    found = figures["ml100k"]
    for figure in ("full_ndcg@10", "sampled_hr@10", "sampled_ndcg@10"):
        assert found[figure] > 1.3 * found["popularity"][figure]
        assert found[figure] > 2 * found["untrained"][figure]


def test_the_table_is_printed_from_the_json_alone(figures: dict[str, Any]):
    out = io.StringIO()
    published.show(figures, Console(file=out, width=160))
    printed = out.getvalue()
    assert f"{figures['ml100k']['sampled_hr@10']:.3f} (" in printed
    assert "0.716" in printed
    assert "popularity" in printed
