"""Cancellations: the examples of the module's docstring, and a plain reference on random logs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.log_reading.cancellations import undo
from data.log_reading.validation import UNDOES

BUY, CANCEL = 2, UNDOES + 2


def run(*rows: tuple[int, int, int, float]):
    """rows: (item, kind, time, quantity) of one user."""
    item, kind, time, quantity = (np.array(column) for column in zip(*rows, strict=True))
    user = np.zeros(len(rows), dtype=np.int32)
    done = undo(user, item.astype(np.int32), kind.astype(np.uint8), time, quantity.astype(np.float32))
    moments = dict(zip(done.rows.tolist(), done.times.tolist(), strict=True))
    return [moments.get(row) for row in range(len(rows)) if row not in done.cancels], done.counts


def test_the_latest_purchase_is_undone_first():
    assert run((0, BUY, 1, 2), (0, BUY, 2, 3), (0, CANCEL, 5, -3))[0] == [None, 5]


def test_more_units_reach_back_to_earlier_purchases():
    # 4 units cancelled: 3 of the second purchase, then 1 of the first one's 2: the first stands.
    moments, counts = run((0, BUY, 1, 2), (0, BUY, 2, 3), (0, CANCEL, 5, -4))
    assert moments == [None, 5]
    assert counts == {"cancellations": 1, "undone": 1, "partly": 1, "unmatched": 0}


def test_several_cancellations_add_up():
    moments, counts = run((0, BUY, 1, 5), (0, CANCEL, 3, -2), (0, CANCEL, 4, -3))
    assert moments == [4]
    assert counts["partly"] == 0


def test_units_without_purchase_are_counted_and_take_nothing_from_later_ones():
    moments, counts = run((0, CANCEL, 1, -2), (0, BUY, 2, 2), (0, CANCEL, 3, -5), (0, BUY, 4, 1))
    assert moments == [3, None]
    assert counts["unmatched"] == 2


def test_other_items_and_other_kinds_are_left_alone():
    moments, _ = run((1, BUY, 1, 1), (0, 1, 2, 1), (0, BUY, 3, 1), (0, UNDOES + 1, 4, 1))
    assert moments == [None, 4, None]


def test_a_log_without_cancellations_stands():
    assert run((0, BUY, 1, 1))[1] == {"cancellations": 0, "undone": 0, "partly": 0, "unmatched": 0}


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([BUY, CANCEL, 1, UNDOES + 1]), st.integers(1, 4)),
        min_size=1,
        max_size=30,
    )
)
def test_agrees_with_taking_one_unit_at_a_time(rows):
    stacks: dict[tuple[int, int], list[int]] = {}
    left = {}
    moments: dict[int, int] = {}
    for row, (item, kind, units) in enumerate(rows):
        stack = stacks.setdefault((item, kind % UNDOES), [])
        if kind < UNDOES:
            stack += [row] * units
            left[row] = units
            continue
        for _ in range(min(units, len(stack))):
            of = stack.pop()
            left[of] -= 1
            if not left[of]:
                moments[of] = row
    timed = [(item, kind, row, float(units)) for row, (item, kind, units) in enumerate(rows)]
    found, counts = run(*timed)
    assert found == [moments.get(row) for row in left]
    assert counts["undone"] == len(moments)


@pytest.mark.parametrize("users", [1, 50])
def test_a_user_never_undoes_another_users_purchase(users):
    # Every user buys at time 1; the even ones cancel at time 2. Sorted by user: (buy, cancel), (buy), (buy, cancel), …
    user, kind, time = [], [], []
    for one in range(users):
        user += [one, one] if one % 2 == 0 else [one]
        kind += [BUY, CANCEL] if one % 2 == 0 else [BUY]
        time += [1, 2] if one % 2 == 0 else [1]
    n = len(user)
    done = undo(
        np.array(user, dtype=np.int32),
        np.zeros(n, dtype=np.int32),
        np.array(kind, dtype=np.uint8),
        np.array(time, dtype=np.int64),
        np.ones(n, dtype=np.float32),
    )
    assert done.rows.tolist() == [
        row for row, code in enumerate(kind) if code == BUY and CANCEL in kind[row + 1 : row + 2]
    ]
    assert done.times.tolist() == [2] * ((users + 1) // 2)
