from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.interactions import MICROS_PER_DAY
from recsys.evaluation.ials import fit_ials
from recsys.model.histories import merge_histories
from recsys.model.profile import ProfileConfig
from recsys.model.quantization import dequantize, quantize
from recsys.model.solver import Solver
from recsys.search.ranking import rank
from tests.recsys.logs import tastes_log


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 8)),
        elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
    )
)
def test_each_coordinate_is_off_by_at_most_half_a_scale(rows):
    quantized, scale = quantize(rows)
    assert (quantized.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (len(rows),))
    error = np.abs(dequantize(quantized, scale).astype(np.float64) - rows)
    assert (error <= 0.5 * scale[:, None] * (1 + 1e-5)).all()  # the quotient and the product are rounded to float32


def test_the_largest_coordinate_of_a_row_is_127_and_minus_128_never_occurs():
    quantized, scale = quantize(np.array([[0.5, -2.54, 1.0]], np.float32))
    # scale = 2.54 / 127 = 0.02: 0.5 / 0.02 = 25, −127, 50
    assert quantized.tolist() == [[25, -127, 50]]
    assert scale.tolist() == pytest.approx([0.02])


def test_a_row_of_zeros_stays_zero():
    quantized, scale = quantize(np.zeros((2, 3), np.float32))
    assert (scale > 0).all()
    assert dequantize(quantized, scale).tolist() == [[0.0] * 3] * 2


def test_rows_do_not_depend_on_each_other():
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * np.logspace(-3, 3, 5)[:, None]
    together, alone = quantize(rows.astype(np.float32)), quantize(rows[2:3].astype(np.float32))
    assert together[0][2].tolist() == alone[0][0].tolist()


def test_rows_are_not_written_to():
    rows = np.ones((2, 3), np.float32)
    rows.flags.writeable = False
    quantized, scale = quantize(rows)
    quantized.flags.writeable = scale.flags.writeable = False
    np.testing.assert_allclose(dequantize(quantized, scale), rows, rtol=1e-6)


def test_top_20_of_trained_tables_survives_one_byte_a_coordinate():
    log = tastes_log(0, n_users=600, n_items=2_000, events=40, groups=20)
    V = fit_ials(log, np.ones(log.n_events, np.float32), dim=32, alpha=0.1, reg=0.01, seed=0, n_iter=6)
    now = 100 * MICROS_PER_DAY
    histories = merge_histories(log, ProfileConfig(), now)
    profiles = Solver(torch.from_numpy(V.copy()), alpha=0.1, reg=0.01).profiles(histories, np.arange(300))
    exact = rank(profiles @ V.T, 20)
    rounded = rank(profiles @ dequantize(*quantize(V)).T, 20)
    recall = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(exact, rounded, strict=True)])
    assert recall >= 0.98
