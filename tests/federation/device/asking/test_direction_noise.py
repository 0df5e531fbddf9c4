from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from federation.device.asking.direction_noise import GRID, best_cap, leading_directions, noised_direction, priv_unit
from federation.private_sum.randomness import RandomBytes, secure_bytes, seeded_bytes


def seeded(seed: int = 0) -> RandomBytes:
    return seeded_bytes(np.random.default_rng(seed))


@given(epsilon=st.floats(0.01, 32), r=st.integers(2, 256))
def test_the_two_densities_differ_by_exactly_epsilon(epsilon: float, r: int) -> None:
    cap = best_cap(epsilon, r)
    assert 0 < cap.mass <= 0.5 + 1e-12
    loss = np.log(cap.p / cap.mass) - np.log(cap.rest / (1 - cap.mass))
    assert loss == pytest.approx(epsilon, rel=1e-9, abs=1e-9)
    assert cap.p + cap.rest == pytest.approx(1.0, abs=1e-15)
    assert cap.rest > 30 * 2.0**-54  # the chance of the rest is within .01 of itself in 53 random bits, and so ε


def test_on_a_circle_the_cap_is_an_arc() -> None:
    """Second oracle at r = 2: the share of the circle within arccos γ of a point is arccos(γ)/π."""
    for epsilon in (0.5, 2.0, 8.0):
        cap = best_cap(epsilon, 2)
        assert cap.mass == pytest.approx(np.arccos(cap.gamma) / np.pi, rel=1e-6)
        half = np.arccos(cap.gamma)  # the mean of cos over the arc is sin(half)/half, over the rest its opposite
        mean = cap.p * np.sin(half) / half - (1 - cap.p) * np.sin(half) / (np.pi - half)
        assert cap.alignment == pytest.approx(mean, rel=1e-6)


def test_alignment_grows_with_epsilon_and_falls_with_the_number_of_directions() -> None:
    along = [best_cap(epsilon, 16).alignment for epsilon in (0.5, 1, 2, 4, 8, 16, 32)]
    assert along == sorted(along)
    across = [best_cap(8.0, r).alignment for r in (2, 4, 8, 16, 32, 64, 128)]
    assert across == sorted(across, reverse=True)
    assert best_cap(0.01, 16).alignment == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(("epsilon", "r"), [(1.0, 3), (4.0, 16), (8.0, 64), (16.0, 64)])
def test_draws_fall_into_the_cap_and_align_as_often_as_they_should(epsilon: float, r: int) -> None:
    n = 20_000
    true = np.zeros((n, r))
    true[:, 1] = 1.0
    drawn = priv_unit(true, epsilon, seeded())
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-12)
    cap = best_cap(epsilon, r)
    inside = (drawn[:, 1] >= cap.gamma).mean()
    assert abs(inside - cap.p) < 4 * np.sqrt(cap.p * (1 - cap.p) / n) + 1e-9
    assert abs(drawn[:, 1].mean() - cap.alignment) < 4 * drawn[:, 1].std() / np.sqrt(n)
    others = np.delete(drawn, 1, axis=1)
    assert np.abs(others.mean(0)).max() < 5 * others.std() / np.sqrt(n)
    np.testing.assert_allclose(others.std(0), others.std(), rtol=0.05)


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_no_event_tells_two_profiles_apart_by_more_than_epsilon_and_one_does_by_as_much(epsilon: float) -> None:
    """200,000 draws for two opposite directions; every event "u·u′ in a bin". Half or twice the ε would fail."""
    n, r = 200_000, 8
    up = np.zeros((n, r))
    up[:, 0] = 1.0
    one, other = priv_unit(up, epsilon, seeded(1))[:, 0], priv_unit(-up, epsilon, seeded(2))[:, 0]
    edges = np.linspace(-1, 1, 21)
    counts = [np.histogram(side, edges)[0] for side in (one, other)]
    often = (counts[0] > 500) & (counts[1] > 500)
    losses = np.log(counts[0][often] / counts[1][often])
    assert np.abs(losses).max() < epsilon + 0.2
    assert losses.max() > epsilon - 0.2
    assert losses.min() < -epsilon + 0.2


def test_a_message_depends_on_the_direction_and_not_on_the_length_of_a_profile() -> None:
    basis = leading_directions(gram(12), 6)
    u = np.arange(1, 13, dtype=np.float32)
    u.flags.writeable = False
    one, other = (noised_direction(u * np.float32(scale), basis, 8.0, seeded(3)) for scale in (1.0, 1024.0))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (12,)
    assert one.dtype == np.float32


def gram(dim: int) -> np.ndarray:
    V = np.random.default_rng(5).normal(size=(200, dim)) * np.linspace(3, 1, dim)
    return (V.T @ V).astype(np.float32)


def test_a_message_lies_in_the_leading_directions_and_has_no_low_bits() -> None:
    basis = leading_directions(gram(12), 6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    energy = np.diagonal(basis.T @ gram(12) @ basis)
    assert energy.tolist() == sorted(energy, reverse=True)
    message = noised_direction(np.ones(12, np.float32), basis, 4.0, seeded()).astype(np.float64)
    inside = message @ basis
    np.testing.assert_allclose(basis @ inside, message, atol=1e-6)
    np.testing.assert_allclose(inside / GRID, np.round(inside / GRID), atol=1e-2)
    assert np.linalg.norm(message) == pytest.approx(1.0, abs=1e-3)


def test_a_profile_outside_of_the_directions_sends_a_random_one() -> None:
    basis = np.eye(6)[:, :3]
    nothing = np.array([0, 0, 0, 1, 1, 1], dtype=np.float32)
    random = seeded()
    drawn = np.stack([noised_direction(nothing, basis, 8.0, random) for _ in range(3_000)])
    assert np.abs(drawn.mean(0)).max() < 5 / np.sqrt(3 * 3_000)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(1.0, abs=1e-3)


def test_every_draw_on_a_device_is_fresh() -> None:
    basis = leading_directions(gram(12))
    messages = {noised_direction(np.ones(12, np.float32), basis, 8.0, secure_bytes()).tobytes() for _ in range(20)}
    assert len(messages) == 20


@pytest.mark.parametrize(
    ("epsilon", "r", "message"),
    [(0.0, 8, "epsilon=0.0"), (32.5, 8, "epsilon=32.5"), (np.nan, 8, "epsilon=nan"), (1.0, 1, "directions=1")],
)
def test_what_cannot_be_promised_is_refused(epsilon: float, r: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        best_cap(epsilon, r)
