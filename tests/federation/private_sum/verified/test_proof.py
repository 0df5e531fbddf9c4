import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import PlanRefused, ProofFailed
from federation.private_sum.verified import field
from federation.private_sum.verified.projections import project_integers, project_shares, signs
from federation.private_sum.verified.proof import (
    Halves,
    ServiceShare,
    check_report,
    open_service_share,
    prove,
    prove_with,
    share_bytes,
)
from federation.private_sum.verified.proof_plan import ProofPlan, projection_passes, range_bits, range_weights
from federation.private_sum.verified.reference import CubicField, check_plainly, project_plainly, prove_plainly
from federation.private_sum.verified.transcript import Commitments
from tests.federation.private_sum.verified.a_cheat import CONTEXT, cheat, checked, key

PLAN = SumPlan(
    (Part("rows", 11, 4.0, 2.0), Part("counts", 3, 2.0, 1.0), Part("one", 1, 1.0, 2.0, clamped=True)),
    min_reports=1,
    max_reports=100,
    sigma=3,
)
PROOF = ProofPlan(PLAN, checks=8)


def vector_within(plan: SumPlan, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    vector = np.zeros(plan.length, dtype=np.int32)
    for part, where in zip(plan.parts, plan.slices().values(), strict=True):
        drawn = rng.normal(size=part.length)
        vector[where] = np.trunc(drawn * math.sqrt(part.bound_squared) / np.linalg.norm(drawn) * rng.random())
    return vector


@pytest.mark.parametrize("seed", range(20))
def test_an_honest_report_is_accepted_and_is_the_vector(seed: int):
    vector = vector_within(PLAN, np.random.default_rng(seed))
    halves = prove(PROOF, vector, CONTEXT)
    assert len(halves.share) == share_bytes(PROOF)
    assert checked(PROOF, halves).tolist() == vector.tolist()


def test_a_vector_at_its_bounds_is_accepted_and_one_step_beyond_is_not():
    plan = SumPlan((Part("rows", 4, 3.0, 1.0),), 1, 10, 1)  # bound_squared = ⌊min((3 + 2)², 9 + 1 + 5.2656·4)⌋ = 25
    assert plan.parts[0].bound_squared == 25
    proof = ProofPlan(plan, checks=8)
    assert checked(proof, prove(proof, np.array([3, -4, 0, 0], np.int32), CONTEXT)).tolist() == [3, -4, 0, 0]
    with pytest.raises(PlanRefused, match="beyond its bound of 25"):
        prove(proof, np.array([3, -4, 1, 0], np.int32), CONTEXT)


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_proof_is_the_plain_one_byte_for_byte(seed: int):
    vector = vector_within(PLAN, np.random.default_rng(seed))
    fast = prove_with(PROOF, vector, CONTEXT, key(f"seed {seed}"), key(f"blind {seed}"))
    assert fast is not None
    plain = prove_plainly(PROOF, vector.tolist(), CONTEXT, key(f"seed {seed}"), key(f"blind {seed}"))
    assert (fast.share, fast.commitments) == plain
    assert check_plainly(PROOF, fast.share, fast.seed, CONTEXT)


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_whatever_is_changed_in_a_share_both_checks_refuse_it(data: st.DataObject):
    fast = prove_with(PROOF, vector_within(PLAN, np.random.default_rng(7)), CONTEXT, key("seed"), key("blind"))
    assert fast is not None
    at = data.draw(st.integers(0, len(fast.share) - 1))
    changed = bytearray(fast.share)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProofFailed):
        checked(PROOF, Halves(bytes(changed), fast.seed, fast.commitments, 1))
    elements = 5 * PROOF.n_elements
    if at >= elements or int.from_bytes(changed[at - at % 5 : at - at % 5 + 5], "little") < field.MODULUS:
        assert not check_plainly(PROOF, bytes(changed), fast.seed, CONTEXT)


@pytest.mark.parametrize("what", ["seed", "context", "commitments", "opened", "length"])
def test_a_report_is_bound_to_its_task_and_its_two_halves(what: str):
    halves = prove(PROOF, vector_within(PLAN, np.random.default_rng(3)), CONTEXT)
    commitments, opened = open_service_share(PROOF, ServiceShare.from_bytes(PROOF, halves.share), CONTEXT)
    assert commitments == halves.commitments
    seed, context = halves.seed, CONTEXT
    if what == "seed":
        seed = bytes(32)
    if what == "context":
        context = b"another report"
    if what == "commitments":
        commitments = Commitments(commitments.vector, commitments.projections, bytes(32))
    if what == "opened":
        opened = field.to_bytes(field.add(field.from_bytes(opened), np.array(1, dtype=np.uint64)))
    if what == "length":
        opened = opened[:-5]
    with pytest.raises(ProofFailed):
        check_report(PROOF, seed, context, commitments, opened)


def test_a_vector_beyond_its_bounds_is_refused():
    for part, where in zip(PLAN.parts, PLAN.slices().values(), strict=True):
        vector = np.zeros(PLAN.length, dtype=np.int64)
        vector[where.start] = math.isqrt(part.bound_squared) + 1  # the least excess there is, in one part alone
        assert not any(cheat(PROOF, vector, f"{part.name} {i}") for i in range(20))


def test_bits_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch):
    import federation.private_sum.verified.proof as module

    def one_bit_of_everything(proof: ProofPlan, whole: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        bits: list[int] = []
        for where, n in zip(proof.plan.slices().values(), proof.norm_bits, strict=True):
            bits += [int(whole[where] @ whole[where]), *[0] * (n - 1)]  # weight 1 times the whole squared norm
        return np.array(bits, dtype=np.uint64)

    monkeypatch.setattr(module, "_norm_bits", one_bit_of_everything)
    vector = np.zeros(PLAN.length, dtype=np.int32)
    vector[0] = 12
    halves = prove(PROOF, vector, CONTEXT)
    with pytest.raises(ProofFailed):
        checked(PROOF, halves)


def wrapping_root() -> int:
    """A number far beyond every bound whose square is 2 modulo the prime: what only the projections can see."""
    p, twos = field.MODULUS, 23
    assert pow(2, (p - 1) // 2, p) == 1
    odd = (p - 1) >> twos
    root, rest, unit = pow(2, (odd + 1) // 2, p), pow(2, odd, p), pow(5, odd, p)
    while rest != 1:  # Tonelli and Shanks
        order = next(i for i in range(twos) if pow(rest, 2**i, p) == 1)
        step = pow(unit, 2 ** (twos - order - 1), p)
        root, rest, unit, twos = root * step % p, rest * step * step % p, step * step % p, order
    root = min(root, p - root)
    assert root * root % p == 2
    assert root > 2**20
    return root


def test_squares_that_wrap_around_pass_four_projections_once_in_sixteen():
    proof = ProofPlan(PLAN, checks=4)
    vector = np.zeros(PLAN.length, dtype=np.int64)
    vector[0] = wrapping_root()  # one coordinate: a projection passes exactly when its sign is 0
    assert proof.soundness_error == pytest.approx(1 / 16)
    n = 600
    passed = sum(cheat(proof, vector, f"wraps {i}") for i in range(n))
    assert stats.binomtest(passed, n, 1 / 16).pvalue > 1e-4
    assert stats.binomtest(passed, n, 1 / 8).pvalue < 1e-4  # the test would see one projection fewer


def test_squares_that_wrap_around_never_pass_as_many_projections_as_a_report_has():
    vector = np.zeros(PLAN.length, dtype=np.int64)
    vector[0] = wrapping_root()
    assert not any(cheat(ProofPlan(PLAN), vector, f"wraps {i}") for i in range(10))


def test_many_small_coordinates_that_wrap_around_pass_a_projection_half_the_time_at_most():
    # The other case of the argument: no coordinate is wide, but squares add up to the prime. 95 % lie beyond ±h.
    half_width, n, size = 120_000, 70, 130_000
    assert projection_passes(half_width, field.MODULUS) == 0.5
    assert n * size**2 > field.MODULUS
    projected = [project_integers(key(f"small {i}"), 104, np.full(n, size, dtype=np.int64)) for i in range(20)]
    inside = np.abs(field.centred(field.of_integers(np.concatenate(projected)))) <= half_width
    assert 0.05 < inside.mean() < 0.2  # ±0.16 standard deviations: 0.12


def test_honest_attempts_fail_as_rarely_as_the_plan_says():
    # At an error of .9 failures show; the bound is of the widest vector, so what is seen must lie below it.
    proof = ProofPlan(PLAN, checks=4, zero_knowledge_error=0.9)
    assert 0.5 < proof.attempt_error <= 0.9
    widest = np.zeros(PLAN.length, dtype=np.int32)
    widest[:11] = math.isqrt(PLAN.parts[0].bound_squared // 11)
    zeros = np.zeros(PLAN.length, dtype=np.int32)
    n = 400
    failed = sum(prove_with(proof, widest, CONTEXT, key(f"s{i}"), key(f"b{i}")) is None for i in range(n))
    assert 5 < failed < proof.attempt_error * n
    # What an attempt's success tells: zeros always succeed. The two differ by no more than the error.
    assert all(prove_with(proof, zeros, CONTEXT, key(f"s{i}"), key(f"b{i}")) is not None for i in range(50))


def test_the_errors_of_a_report_are_below_what_is_promised():
    proof = ProofPlan(PLAN)
    assert proof.soundness_error <= 2.0**-100
    assert proof.attempt_error <= 2.0**-40
    big = SumPlan((Part("rows", 2**22 - 1, 1.0, 8192.0), Part("one", 1, 1.0, 1024.0, clamped=True)), 1, 1_000, 1)
    assert ProofPlan(big).soundness_error <= 2.0**-100


def test_a_plan_with_steps_too_fine_for_the_field_is_refused():
    fine = SumPlan((Part("rows", 10, 1.0, 2.0**20),), 1, 10, 1)
    with pytest.raises(PlanRefused, match="take coarser scales"):
        ProofPlan(fine)


def test_the_small_field_shows_how_often_a_false_proof_is_opened_where_it_holds():
    # F of 13 elements, K of 2,197. One row of one value 1, claimed to have squared norm 0: the claim is off by −1.
    # The cheat adds to the true proof c·(X − a)(X − b)(X − d) with a, b, d in K outside F, and c so that the sum fits.
    k = CubicField(13, 2, 2)
    mask, weight, value = (5, 7, 1), (3, 0, 9), 1
    roots = [(0, 1, 0), (4, 0, 1), (1, 2, 3)]
    points = k.roots(4)

    def product(at: tuple[int, int, int]) -> tuple[int, int, int]:
        result = k.number(1)
        for root in roots:
            result = k.times(result, k.minus(at, root))
        return result

    off = k.times(weight, k.number(-1))
    c = k.times(off, k.inverse(product(points[2])))
    proof = k.prove([[value]], [mask], [weight])
    false = [k.plus(true, k.times(c, product(point))) for true, point in zip(proof, points, strict=True)]
    assert proof[2] == weight
    assert false[2] == k.number(0)
    outside = [(a, b, d) for a in range(13) for b in range(13) for d in range(13) if (b, d) != (0, 0)]
    accepted = [
        t for t in outside if k.squares_at([k.row_at(mask, [value], t)], [weight]) == k.interpolate(points, false, t)
    ]
    assert sorted(accepted) == sorted(roots)  # 3 of 2,184: the bound says (2·domain − 1)/(|K| − |F|)
    assert all(
        k.squares_at([k.row_at(mask, [value], t)], [weight]) == k.interpolate(points, proof, t) for t in outside[::37]
    )


def test_an_opened_row_is_uniform_whatever_it_holds():
    # In the small field, all masks: each element of K comes once, so what is opened tells nothing of the row.
    k, at = CubicField(13, 2, 2), (2, 5, 11)
    every = {(a, b, d) for a in range(13) for b in range(13) for d in range(13)}
    for value in (0, 1, 6):
        assert {k.row_at(mask, [value], at) for mask in every} == every


def test_either_share_alone_is_uniform():
    # Kolmogorov-Smirnov over the elements of many reports of one and the same vector.
    vector = vector_within(PLAN, np.random.default_rng(5))
    halves = [prove(PROOF, vector, CONTEXT) for _ in range(200)]
    elements = np.concatenate([ServiceShare.from_bytes(PROOF, each.share).elements for each in halves])
    assert stats.kstest(elements / field.MODULUS, "uniform").pvalue > 1e-4
    opened = np.concatenate(
        [
            field.from_bytes(open_service_share(PROOF, ServiceShare.from_bytes(PROOF, h.share), CONTEXT)[1])
            for h in halves
        ]
    )
    assert stats.kstest(opened / field.MODULUS, "uniform").pvalue > 1e-4


@given(st.integers(1, 200))
def test_range_bits_reach_exactly_their_range(top: int):
    weights = range_weights(top)
    for value in range(top + 1):
        bits = range_bits(value, top)
        assert set(bits) <= {0, 1}
        assert sum(w * b for w, b in zip(weights, bits, strict=True)) == value
    assert sum(weights) == top
    assert min(weights) >= 1
    with pytest.raises(ValueError, match="must be"):
        range_bits(top + 1, top)


@given(st.integers(1, 5_000), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_projections_of_shares_are_projections_of_the_vector(length: int, seed: int):
    rng = np.random.default_rng(seed)
    vector = rng.integers(-1_000, 1_000, length)
    mine = rng.integers(0, field.MODULUS, length, dtype=np.uint64)
    theirs = field.subtract(field.of_integers(vector), mine)
    halves = field.add(project_shares(key("z"), 8, mine), project_shares(key("z"), 8, theirs))
    assert field.centred(halves).tolist() == project_integers(key("z"), 8, vector).tolist()
    assert project_plainly(key("z"), 8, vector.tolist()[:50]) == project_integers(key("z"), 8, vector[:50]).tolist()


def test_signs_are_a_quarter_a_half_and_a_quarter():
    drawn = signs(key("signs"), 104, 3_000)
    counts = [(drawn == sign).sum() for sign in (-1, 0, 1)]
    assert stats.chisquare(counts, [drawn.size / 4, drawn.size / 2, drawn.size / 4]).pvalue > 1e-4
