"""The whole path: devices, service and custodian together give exactly the sum of the devices' integers."""

from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from data.errors import BatchTooSmall
from federation.custodian.policy import answer_batch
from federation.private_sum.fixed_point import decode, encode, to_signed
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.refusals import BatchRefused
from federation.private_sum.sealing import Suite
from federation.private_sum.service_half import service_half, verified_service_half
from federation.private_sum.shares import combine
from federation.service.summing import batch_of, sum_of
from tests.federation.private_sum.a_round import CUSTODIAN, a_plan, a_task, a_vector, reports_of, summed

TASKS = {suite: a_task(suite=suite) for suite in Suite}


def vectors_of(n: int, seed: int, size: float = 1.0):
    rng = np.random.default_rng(seed)
    return [a_vector(rng, size) for _ in range(n)]


def integer_sum(plan, vectors, rng):
    """The ten-line reference: Python integers, no words, no wrap-around."""
    random = seeded_bytes(rng)
    total = [0] * plan.length
    for vector in vectors:
        for i, x in enumerate(to_signed(encode(plan, vector, random)).tolist()):
            total[i] += x
    return total


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    size=st.sampled_from([0.0, 1e-3, 1.0, 1e6]),
    suite=st.sampled_from(list(Suite)),
)
def test_the_sum_is_that_of_the_devices_integers_in_every_way_to_form_it(n, seed, size, suite):
    task, opened = TASKS[suite]
    vectors = vectors_of(n, seed, size)
    expected = integer_sum(task.plan, vectors, np.random.default_rng(seed))
    by_shares = summed(task, opened, reports_of(task, vectors, np.random.default_rng(seed)))
    in_process = sum_in_process(task.plan, vectors, np.random.default_rng(seed))
    assert by_shares.tolist() == expected
    assert in_process.tolist() == expected
    assert by_shares.dtype == in_process.dtype == np.int32


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(7)), seed=st.integers(0, 2**32))
def test_order_does_not_matter(order, seed):
    task, opened = TASKS[Suite.X25519]
    reports = reports_of(task, vectors_of(7, seed), np.random.default_rng(seed))
    shuffled = summed(task, opened, [reports[i] for i in order])
    np.testing.assert_array_equal(summed(task, opened, reports), shuffled)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 7)), seed=st.integers(0, 2**32))
def test_batching_does_not_matter(cuts, seed):
    task, opened = TASKS[Suite.X25519]
    reports = reports_of(task, vectors_of(8, seed), np.random.default_rng(seed))
    edges = [0, *sorted(cuts), 8]
    parts = [summed(task, opened, reports[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(summed(task, opened, reports), sum(parts))


@settings(max_examples=25, deadline=None)
@given(stay=st.sets(st.integers(0, 9), min_size=1), seed=st.integers(0, 2**32))
def test_whoever_vanishes_the_sum_of_the_rest_is_exact(stay, seed):
    task, opened = TASKS[Suite.X25519]
    reports = reports_of(task, vectors_of(10, seed), np.random.default_rng(seed))
    alone = [summed(task, opened, [reports[i]]) for i in sorted(stay)]
    together = summed(task, opened, [reports[i] for i in sorted(stay)])
    np.testing.assert_array_equal(together, reduce(np.add, alone))


def test_reports_are_counted_exactly_and_metrics_survive_huge_rows():
    task, opened = TASKS[Suite.X25519]
    vectors = [v | {"rows": v["rows"] * 1e9, "metrics": [1.0, 0.0, 1.0, 0.5]} for v in vectors_of(9, 0)]
    parts = decode(task.plan, summed(task, opened, reports_of(task, vectors, np.random.default_rng(0))))
    assert parts["one"].tolist() == [9.0]
    assert parts["metrics"].tolist() == [9.0, 0.0, 9.0, 4.5]


def test_largest_allowed_round_of_largest_vectors_does_not_wrap_around():
    task, opened = a_task(a_plan(max_reports=20))
    vectors = [{name: np.full(v.shape, 1e9) for name, v in vector.items()} for vector in vectors_of(20, 0)]
    parts = decode(task.plan, summed(task, opened, reports_of(task, vectors, np.random.default_rng(0))))
    np.testing.assert_allclose(parts["counts"], 20 * 4 / np.sqrt(3), rtol=1e-3)


def test_published_sum_carries_both_parties_noise():
    sigma = 3000
    task, opened = a_task(a_plan(min_reports=2, sigma=sigma))
    vectors = vectors_of(2, 1)
    exact = sum_in_process(task.plan, vectors, np.random.default_rng(1)).astype(float)
    draws = []
    for _ in range(200):
        reports = reports_of(task, vectors, np.random.default_rng(1))
        draws.append(summed(task, opened, reports) - exact)
    squares = float((np.concatenate(draws) ** 2).sum())
    for factor, holds in ((1.0, True), (2 / 3, False), (3 / 2, False)):
        tail = chi2.cdf(squares / (2 * (factor * sigma) ** 2), df=200 * task.plan.length)
        assert bool(2 * min(tail, 1 - tail) > 1e-6) is holds


def test_each_partys_half_alone_says_nothing_of_the_sum():
    """Zeros against large vectors: the halves' words are uniform for both (mean of n uniform words, 6 sigma)."""
    task, opened = a_task(a_plan(min_reports=2))
    for size in (0.0, 1e6):
        words = []
        for seed in range(60):
            reports = reports_of(task, vectors_of(2, seed, size), np.random.default_rng(seed))
            _, answer = answer_batch(task, batch_of(task, 0, reports), opened, CUSTODIAN.public)
            words += [answer.words, service_half(task.plan, [r.service_share for r in reports])]
        unit = np.concatenate(words) / 2**32
        assert abs(unit.mean() - 0.5) < 6 * np.sqrt(1 / 12 / len(unit))


def test_share_that_is_cut_or_lost_is_refused():
    task, opened = TASKS[Suite.X25519]
    reports = reports_of(task, vectors_of(3, 0), np.random.default_rng(0))
    _, answer = answer_batch(task, batch_of(task, 0, reports), opened, CUSTODIAN.public)
    shares = {report.report_id: report.service_share for report in reports}
    first = reports[0].report_id
    with pytest.raises(BatchRefused, match="must be 80"):
        sum_of(task, shares | {first: shares[first][:-4]}, answer)
    with pytest.raises(BatchRefused, match="1 counted reports have no share"):
        sum_of(task, {k: v for k, v in shares.items() if k != first}, answer)


def test_tampered_seed_is_left_out_of_both_halves():
    task, opened = TASKS[Suite.X25519]
    reports = reports_of(task, vectors_of(4, 0), np.random.default_rng(0))
    broken = replace(reports[1], sealed_seed=reports[1].sealed_seed[::-1])
    others = [reports[0], *reports[2:]]
    np.testing.assert_array_equal(
        summed(task, opened, [reports[0], broken, *reports[2:]]), summed(task, opened, others)
    )


def test_service_sums_no_fewer_than_min_reports():
    plan = a_plan(min_reports=3)
    with pytest.raises(BatchTooSmall):
        service_half(plan, [bytes(80), bytes(80)])


def test_sum_in_process_keeps_to_the_same_numbers_of_reports():
    plan = a_plan(min_reports=2, max_reports=3)
    with pytest.raises(BatchTooSmall):
        sum_in_process(plan, vectors_of(1, 0), np.random.default_rng(0))
    with pytest.raises(BatchRefused):
        sum_in_process(plan, vectors_of(4, 0), np.random.default_rng(0))


def test_halves_wrap_around():
    one, two = (np.array([n], dtype=np.uint32) for n in (2**32 - 1, 3))
    assert combine(one, two).tolist() == [2]


def test_service_sums_no_fewer_verified_reports_than_min_reports():
    task, _ = a_task(a_plan(min_reports=3), Suite.VERIFIED)
    shares = [report.service_share for report in reports_of(task, vectors_of(2, 0), np.random.default_rng(0))]
    with pytest.raises(BatchTooSmall, match="reports=2: must be at least min_reports=3"):
        verified_service_half(task.plan, shares)
