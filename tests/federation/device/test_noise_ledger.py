from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import BudgetExhausted, ModelError
from federation.device.noise_ledger import DAY_S, NoiseAccount, NoisePolicy

POLICY = NoisePolicy(epsilon=8.0, period_days=30.0, max_epsilon=24.0)


def drawing() -> Callable[[], npt.NDArray[np.float32]]:
    numbers = iter(range(1_000))
    return lambda: np.full(3, next(numbers), dtype=np.float32)


def test_within_a_period_the_same_message_comes_again_and_costs_nothing() -> None:
    draw = drawing()
    account, first = NoiseAccount().with_draw("v1", POLICY, 0.0, draw)
    assert (account.drawn, account.epsilon, first.until) == (1, 8.0, 30 * DAY_S)
    same, again = account.with_draw("v1", POLICY, 30 * DAY_S - 1, draw)
    assert same is account
    assert again is first
    back, earlier = account.with_draw("v1", POLICY, -5.0, draw)  # a clock that was set back
    assert back is account
    assert earlier is first


def test_another_period_bundle_or_epsilon_is_another_message_and_they_add_up() -> None:
    draw = drawing()
    account, first = NoiseAccount().with_draw("v1", POLICY, 0.0, draw)
    account, second = account.with_draw("v2", POLICY, 10.0, draw)
    account, third = account.with_draw("v1", NoisePolicy(4.0, 30.0, 24.0), 20.0, draw)
    assert (account.drawn, account.epsilon) == (3, 20.0)
    assert [int(one.vector[0]) for one in (first, second, third)] == [0, 1, 2]
    assert account.with_draw("v1", POLICY, 30.0, draw)[1] is first
    account, fourth = account.with_draw("v1", NoisePolicy(4.0, 30.0, 24.0), 31 * DAY_S, draw)
    assert (account.drawn, account.epsilon, int(fourth.vector[0])) == (4, 24.0, 3)
    assert len(account.draws) == 1  # what may not be repeated any more is not kept


def test_at_the_bound_a_new_message_is_refused_in_one_line_and_the_old_one_still_repeated() -> None:
    draw, account = drawing(), NoiseAccount()
    for period in range(3):
        account, last = account.with_draw("v1", POLICY, period * 30.0 * DAY_S, draw)
    assert account.epsilon == 24.0
    assert account.with_draw("v1", POLICY, 80.0 * DAY_S, draw)[1] is last
    with pytest.raises(BudgetExhausted, match=r"epsilon=32 over this device's lifetime: must be at most 24; use mode"):
        account.with_draw("v1", POLICY, 90.0 * DAY_S, draw)
    assert int(draw()[0]) == 3  # the refused one was not even drawn


@given(
    st.lists(
        st.tuples(st.sampled_from(["v1", "v2"]), st.sampled_from([0.1, 1.0, 8.0]), st.floats(0, 200 * DAY_S)),
        max_size=30,
    )
)
def test_the_account_is_the_sum_of_the_distinct_messages_and_never_above_its_bound(
    asked: list[tuple[str, float, float]],
) -> None:
    draw, account = drawing(), NoiseAccount()
    cost: dict[int, float] = {}
    for version, epsilon, now in asked:
        try:
            account, said = account.with_draw(version, NoisePolicy(epsilon, 30.0, 20.0), now, draw)
        except BudgetExhausted:
            continue
        cost[int(said.vector[0])] = said.epsilon
    assert account.drawn == len(cost)
    assert account.epsilon == pytest.approx(sum(cost.values()))
    assert account.epsilon <= 20.0 * (1 + 1e-9)


def test_the_account_survives_the_vault_and_prints_no_message() -> None:
    account, _ = NoiseAccount().with_draw("v1", POLICY, 5.0, lambda: np.array([0.123456, -1, 2], np.float32))
    read = NoiseAccount.decode(json.loads(json.dumps(account.encode())))
    assert (read.drawn, read.epsilon) == (1, 8.0)
    held = read.held("v1", 8.0, 6.0)
    assert held is not None
    np.testing.assert_array_equal(held.vector, account.draws[0].vector)
    assert "0.123" not in repr(account)


@pytest.mark.parametrize("name", ["epsilon", "period_days", "max_epsilon"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_policy_without_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(ModelError, match=f"{name}="):
        NoisePolicy(**{name: value})
