"""Audits: the layout of a contribution, what is hidden, and group figures beside a computation over the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.errors import DataError
from recsys.fairness.audit import group_report
from recsys.fairness.audit_layout import FIGURES, AuditLayout
from recsys.fairness.suppression import determined, hidden_cells, relations_of

AGE, SEX = ("young", "middle", "old"), ("f", "m")
LAYOUT = AuditLayout((("age", AGE), ("sex", SEX)))


def test_a_device_is_in_one_cell_of_each_attribute_and_of_each_pair() -> None:
    vector = LAYOUT.contribution(["old", "f"], ndcg=0.5, hit=1.0, tail=0.25).reshape(-1, len(FIGURES))
    inside = [cell for cell, row in zip(LAYOUT.cells, vector, strict=True) if row.any()]
    assert inside == [(("age", "old"),), (("sex", "f"),), (("age", "old"), ("sex", "f"))]
    np.testing.assert_array_equal(vector[LAYOUT.place[(("sex", "f"),)]], [1, 0.5, 0.25, 1, 0.25])
    unknown = LAYOUT.contribution(["old", None], ndcg=0.5, hit=1.0, tail=0.25).reshape(-1, len(FIGURES))
    assert unknown.any(axis=1).sum() == 1
    with pytest.raises(DataError, match="sex"):
        LAYOUT.contribution(["old", "x"], ndcg=0, hit=0, tail=0)


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.integers(0, 2), min_size=n, max_size=n)),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_no_contribution_is_longer_than_its_bound(levels: list[int], figures: list[float]) -> None:
    layout = AuditLayout(tuple((f"a{place}", ("0", "1", "2")) for place in range(len(levels))))
    ndcg, hit, tail = figures
    vector = layout.contribution([str(level) for level in levels], ndcg=ndcg, hit=hit, tail=tail)
    assert np.linalg.norm(vector) <= layout.bound * (1 + 1e-12)
    most = layout.contribution([str(level) for level in levels], ndcg=1, hit=1, tail=1)
    assert np.linalg.norm(most) == pytest.approx(layout.bound)


def counts_of(table: np.ndarray) -> np.ndarray:
    """Counts of LAYOUT's cells from a table (3 ages, 2 sexes)."""
    return np.concatenate([table.sum(axis=1), table.sum(axis=0), table.ravel()]).astype(float)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 120), min_size=6, max_size=6))
def test_no_hidden_count_follows_from_the_published_ones(cells: list[int]) -> None:
    counts = counts_of(np.array(cells).reshape(3, 2))
    hidden = hidden_cells(LAYOUT, counts, 50)
    assert hidden[counts < 50].all()
    assert not determined(relations_of(LAYOUT), hidden).any() or hidden.all()
    # the attacker's own way: is there another table with the same published counts?
    relations = relations_of(LAYOUT)[:, hidden].astype(float)
    if hidden.any() and not hidden.all():
        null = np.linalg.svd(relations)[2][np.linalg.matrix_rank(relations) :]
        assert (np.abs(null).max(axis=0) > 1e-9).all()


def test_a_hidden_rest_that_is_small_takes_another_group_with_it() -> None:
    layout = AuditLayout((("age", ("a", "b", "c", "d")),))
    assert hidden_cells(layout, np.array([10.0, 15.0, 200.0, 90.0]), 50).tolist() == [True, True, False, True]
    assert hidden_cells(layout, np.array([30.0, 35.0, 200.0, 90.0]), 50).tolist() == [True, True, False, False]
    assert not hidden_cells(layout, np.array([60.0, 70.0, 200.0, 90.0]), 50).any()


def test_small_intersections_do_not_hide_the_groups_they_are_of() -> None:
    layout = AuditLayout((("sex", SEX), ("age", ("a", "b", "c", "d"))))
    table = np.array([[80.0, 85, 76, 32], [222, 190, 159, 98]])
    counts = np.concatenate([table.sum(axis=1), table.sum(axis=0), table.ravel()])
    hidden = {cell for cell, hides in zip(layout.cells, hidden_cells(layout, counts, 61), strict=True) if hides}
    # the small one, the smallest beside it in its row, and in the row below what is beside either in its column
    assert hidden == {(("sex", sex), ("age", age)) for sex in SEX for age in ("c", "d")}


def shoppers(n: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ages, sexes = rng.integers(0, 3, n), rng.integers(0, 2, n)
    return ages, sexes, np.clip(rng.beta(1, 2, n) - 0.1 * (ages == 2), 0, 1)


def exact_sums(ages: np.ndarray, sexes: np.ndarray, ndcg: np.ndarray) -> np.ndarray:
    return np.sum(
        [
            LAYOUT.contribution([AGE[a], SEX[s]], ndcg=float(x), hit=float(x > 0.5), tail=0.0)
            for a, s, x in zip(ages, sexes, ndcg, strict=True)
        ],
        axis=0,
    )


def test_exact_sums_say_what_the_rows_say() -> None:
    ages, sexes, ndcg = shoppers()
    rows = {row["group"]: row for row in group_report(LAYOUT, exact_sums(ages, sexes, ndcg), 0.0)}
    assert len(rows) == 3 + 2 + 6
    inside = (ages == 2) & (sexes == 0)
    row = rows["age=old, sex=f"]
    assert (row["shoppers"], row["ndcg"]) == (inside.sum(), pytest.approx(ndcg[inside].mean()))
    assert row["hit"] == pytest.approx((ndcg[inside] > 0.5).mean())
    assert row["gap"] == pytest.approx(ndcg[~inside].mean() - ndcg[inside].mean())
    oracle = stats.ttest_ind(ndcg[~inside], ndcg[inside], equal_var=False).confidence_interval()
    assert row["gap_ci95"] == pytest.approx([oracle.low, oracle.high], abs=5e-4)
    assert row["p_holm"] < 0.05
    assert rows["sex=f"]["p_holm"] > 0.05


def test_noise_is_in_the_intervals_and_they_cover() -> None:
    ages, sexes, ndcg = shoppers()
    sums, deviation = exact_sums(ages, sexes, ndcg), 6.0
    rng, errors = np.random.default_rng(1), []
    truth = {row["group"]: row for row in group_report(LAYOUT, sums, 0.0)}
    for _ in range(60):
        for row in group_report(LAYOUT, sums + rng.normal(0, deviation, len(sums)), deviation**2):
            if row["shoppers"] is not None:
                errors.append((row["ndcg"] - truth[row["group"]]["ndcg"]) / row["noise_error"])
                assert row["ndcg_ci95"][1] - row["ndcg_ci95"][0] > 2 * row["noise_error"]
    assert np.std(errors) == pytest.approx(1.0, abs=0.1)  # with two thirds or three halves of it, this fails
    assert abs(np.mean(errors)) < 0.15


def test_a_small_group_has_a_name_and_no_figure() -> None:
    ages, sexes, ndcg = shoppers(300)
    ages[:280] = np.where(ages[:280] == 2, 0, ages[:280])  # few are old
    rows = group_report(LAYOUT, exact_sums(ages, sexes, ndcg), 0.0)
    small = [row for row in rows if "old" in row["group"]]
    assert small == [{"group": row["group"], "attributes": row["attributes"], "shoppers": None} for row in small]


@pytest.mark.parametrize("attributes", [(), (("a", ()),), (("a", ("x", "x")),), (("a", ("x",)), ("a", ("y",)))])
def test_impossible_attributes_are_refused(attributes: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    with pytest.raises(DataError, match="attribute"):
        AuditLayout(attributes)


def test_groups_beyond_number_are_refused() -> None:
    many = tuple(str(level) for level in range(60))
    with pytest.raises(DataError, match="at most"):
        AuditLayout((("a", many), ("b", many)))
