from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from recsys.model.histories import batches, log_weights, merge_histories
from recsys.model.profile import ProfileConfig, event_targets, event_weights

DAY = MICROS_PER_DAY
NOW = 40 * DAY
CONFIG = ProfileConfig(half_life=10.0, kind_weights=(0.5, 0.7, 1.0, 1.0, 1.3))
PURCHASE, DISLIKE = EventKind.PURCHASE, EventKind.DISLIKE


def random_log(seed: int, n_users: int = 12, n_items: int = 15, n_events: int = 150) -> Interactions:
    rng = np.random.default_rng(seed)
    return interactions(
        rng.integers(0, n_users, n_events),
        rng.zipf(1.4, n_events) % n_items,
        rng.integers(0, NOW, n_events),
        n_users=n_users,
        n_items=n_items,
        kind=rng.integers(0, len(EventKind), n_events),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["days", "events"]), st.booleans())
def test_weights_of_a_log_are_the_weights_of_each_history(seed, unit, own_moments):
    log, config = random_log(seed), replace(CONFIG, half_life_unit=unit)
    moments = np.random.default_rng(seed).integers(0, NOW, log.n_users) if own_moments else np.full(log.n_users, NOW)
    found = log_weights(log, config, moments if own_moments else NOW)
    alone = [
        event_weights(log.kind[log.of(user)], log.time[log.of(user)], int(moments[user]), config)
        for user in range(log.n_users)
    ]
    np.testing.assert_array_equal(found, np.concatenate(alone))


def test_events_of_an_item_become_one_of_their_weight_and_mean_target():
    config = ProfileConfig(half_life=float("inf"), kind_weights=(0.25, 0.5, 1.0, 1.0, 3.0))
    log = interactions(
        [1, 1, 1, 1], [4, 2, 4, 4], [0, 1, 2, 3], n_users=3, n_items=5, kind=[PURCHASE, PURCHASE, PURCHASE, DISLIKE]
    )
    merged = merge_histories(log, config, NOW)
    assert (merged.offsets.tolist(), merged.n_devices, merged.counts.tolist()) == ([0, 0, 2, 2], 3, [0, 2, 0])
    assert merged.item_idx.tolist() == [2, 4]
    # item 4: weights 1 + 1 + 3 and targets (1 + 1 − 3) / 5
    assert merged.weight.tolist() == [1.0, 5.0]
    assert merged.target.tolist() == pytest.approx([1.0, -0.2])


def test_events_without_weight_are_not_in_a_history():
    config = ProfileConfig(kind_weights=(0, 1, 1, 1, 1))
    log = interactions([0, 0], [1, 2], [0, 1], n_users=1, n_items=3, kind=[EventKind.VIEW, PURCHASE])
    assert merge_histories(log, config, NOW).item_idx.tolist() == [2]


def test_an_empty_log_has_empty_histories():
    log = interactions([], [], [], n_users=4, n_items=3)
    merged = merge_histories(log, CONFIG, NOW)
    assert (merged.n_devices, merged.counts.tolist(), len(merged.item_idx)) == (4, [0] * 4, 0)
    assert list(batches(merged, np.arange(4), torch.float32)) == []


@pytest.mark.parametrize("events_at_once", [1, 7, 40, 149, 150, 151])
@pytest.mark.parametrize("own_moments", [False, True])
def test_merging_some_users_at_a_time_changes_nothing(monkeypatch, events_at_once, own_moments):
    log = random_log(3)
    now = np.random.default_rng(0).integers(0, NOW, log.n_users) if own_moments else NOW
    whole = merge_histories(log, CONFIG, now)
    monkeypatch.setattr("recsys.model.histories.EVENTS_AT_ONCE", events_at_once)
    parts = merge_histories(log, CONFIG, now)
    for name in ("offsets", "item_idx", "weight", "target"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_merging_does_not_write_into_the_log():
    log = random_log(0)
    for array in (log.item_idx, log.kind, log.time, log.offsets):
        array.flags.writeable = False
    assert merge_histories(log, CONFIG, NOW).n_devices == log.n_users


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_merged_history_weighs_its_items_as_the_events_do(seed):
    log = random_log(seed)
    merged = merge_histories(log, CONFIG, NOW)
    for user in range(log.n_users):
        own, mine = log.of(user), slice(merged.offsets[user], merged.offsets[user + 1])
        weight = event_weights(log.kind[own], log.time[own], NOW, CONFIG)
        items = merged.item_idx[mine]
        assert (np.diff(items) > 0).all()
        total = np.bincount(log.item_idx[own], weight, log.n_items)
        signed = np.bincount(log.item_idx[own], weight * event_targets(log.kind[own]), log.n_items)
        np.testing.assert_allclose(merged.weight[mine], total[items], rtol=1e-6)
        np.testing.assert_allclose(merged.weight[mine] * merged.target[mine], signed[items], atol=1e-6)
        assert set(items.tolist()) == set(log.item_idx[own].tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 400))
def test_batches_hold_every_device_with_a_history_once_and_pad_with_weight_zero(seed, cells):
    log = random_log(seed, n_users=30)
    merged = merge_histories(log, CONFIG, NOW)
    devices = np.random.default_rng(seed).permutation(30)[:20]
    seen: list[int] = []
    for batch in batches(merged, devices, torch.float64, cells):
        seen += batch.device.tolist()
        assert batch.item_idx.shape == batch.weight.shape == batch.target.shape
        assert len(batch.device) == 1 or batch.item_idx.numel() <= cells
        for row, device in enumerate(batch.device):
            length, own = merged.counts[device], slice(merged.offsets[device], merged.offsets[device + 1])
            assert batch.item_idx[row, :length].tolist() == merged.item_idx[own].tolist()
            assert batch.weight[row, :length].tolist() == merged.weight[own].tolist()
            assert batch.target[row, :length].tolist() == merged.target[own].tolist()
            assert batch.weight[row, length:].tolist() == [0.0] * (batch.weight.shape[1] - length)
    assert sorted(seen) == sorted(device for device in devices.tolist() if merged.counts[device])


def test_histories_print_their_size_and_no_history():
    log = random_log(0)
    merged = merge_histories(log, CONFIG, NOW)
    assert repr(merged) == f"Histories(n_devices=12, n_items=15, entries={len(merged.item_idx)})"
    batch = next(batches(merged, np.arange(12), torch.float32))
    assert "tensor" not in repr(batch)
    assert "array" not in repr(batch)
