"""Personalization strategies: what each computes, and that gradient steps lead where the closed form is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from federation.simulation.strategy import GradientSolver, arm_of
from recsys.model.histories import merge_histories
from recsys.model.items import ItemTable
from recsys.model.solver import Solver
from tests.federation.learning.test_taste_update import CONFIG, NOW, random_log, table
from tests.federation.simulation.test_training import PROFILE, tastes


def test_many_gradient_steps_end_at_the_closed_form() -> None:
    log, V = random_log(1), torch.from_numpy(table(2, 25, 6)).to(torch.float64)
    histories = merge_histories(log, CONFIG, NOW)
    everyone = np.arange(log.n_users)
    exact = Solver(V, alpha=CONFIG.alpha, reg=CONFIG.reg).profiles(histories, everyone)
    start = torch.full((6,), 0.3)
    far, near = (
        GradientSolver(V, start, alpha=CONFIG.alpha, reg=CONFIG.reg, steps=steps).profiles(histories, everyone)
        for steps in (3, 3000)
    )
    np.testing.assert_allclose(near, exact, atol=1e-4)
    assert np.abs(far - exact).max() > 10 * np.abs(near - exact).max()


def test_global_gives_everybody_the_same_list_and_profile_does_not() -> None:
    log = tastes(n_users=20)
    shared = ItemTable(table(3, 60, 8), np.zeros(60, np.float32), np.ones(8, np.float32))
    users = np.arange(20)
    same = arm_of("global", shared, PROFILE, "global").scores(log, users, NOW)
    own = arm_of("profile", shared, PROFILE, "personalized").scores(log, users, NOW)
    assert np.ptp(same, axis=0).max() == 0
    assert np.ptp(own, axis=0).max() > 0


def test_fine_tune_starts_from_the_population() -> None:
    """A device without a history keeps the zero profile; one with a single event stays near the population's mean."""
    log = tastes(n_users=4, events=1)
    mean = np.full(8, 0.5, dtype=np.float32)
    shared = ItemTable(table(3, 60, 8), np.zeros(60, np.float32), mean)
    quiet = replace(PROFILE, trend_weight=0.0)
    tuned = arm_of("fine-tune", shared, quiet, "fine_tune").scores(log, np.arange(4), NOW)
    exact = arm_of("profile", shared, quiet, "personalized").scores(log, np.arange(4), NOW)
    towards_mean = shared.item_embeddings @ mean
    assert np.corrcoef(tuned[0], towards_mean)[0, 1] > np.corrcoef(exact[0], towards_mean)[0, 1]
