"""What one device of a shopper has spent counts on another that takes over its history, once however often."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import ServingError
from data.interactions import EventKind
from federation.device.budget.spent import DeviceExport
from federation.device.cluster_ledger import DAY_S, ClusterAccount, ClusterPolicy
from federation.device.device import Device
from federation.device.export import seal_export
from federation.device.ledger import LedgerEntry, Participation
from federation.device.noise_ledger import NoiseAccount, NoisePolicy
from federation.device.state import DeviceState, Event, encode_events
from tests.federation.device.test_cluster_ledger import clusters_of

NOW = 1_800_000_000


def entry(n: int, at: int = NOW, **changes: object) -> LedgerEntry:
    return replace(LedgerEntry(bytes([n]) * 32, n, at, 0.25, 1e-10, block=n), **changes)


def state(*rounds: int, at: int = NOW, experiments: tuple[int, ...] = ()) -> DeviceState:
    reports = tuple(entry(n, at) for n in rounds)
    return DeviceState(participation=Participation(reports, experiments=tuple(entry(n, at) for n in experiments)))


def merged(state: DeviceState, *others: DeviceState) -> DeviceState:
    for other in others:
        state = DeviceExport.decode(DeviceExport.of(other).encode()).merged_into(state)
    return state


def test_a_merged_device_has_spent_the_union() -> None:
    ours, theirs = state(1, 2), state(2, 3, at=NOW + 5, experiments=(9,))
    found = merged(ours, theirs).participation
    assert found.entries == ours.participation.entries
    assert [one.round for one in found.imported] == [2, 3]  # both devices reported to task 2: two reports
    assert found.count_since(0) == 4
    assert found.epsilon(1e-6) == Participation(tuple(entry(n) for n in range(5))).epsilon(1e-6)
    assert found.took_part_in(entry(3).task_hash)
    assert Participation.decode(found.encode()) == found


def test_exports_go_to_and_fro_and_nothing_is_counted_twice() -> None:
    first, second = state(1), state(2, at=NOW + 1)
    second = merged(second, first, first)
    first = merged(first, second, second, first)
    third = merged(state(), first, second)
    for one in (first, second, third):
        assert one.participation.count_since(0) == 2
        assert merged(one, first, second, third).participation == one.participation


def test_what_was_taken_back_on_one_device_is_so_on_the_other() -> None:
    first = state(1)
    second = merged(state(), first)
    back = replace(first, participation=Participation((entry(1, returned=True),)))
    assert merged(second, back).participation.count_since(0) == 0
    assert merged(second, back, first).participation.count_since(0) == 0


def test_a_new_device_repeats_the_cluster_that_the_first_has_named() -> None:
    bundle, policy = clusters_of("a"), ClusterPolicy()
    named, _ = ClusterAccount().with_answer(bundle, policy, NOW, lambda: [7])
    fresh = merged(DeviceState(), DeviceState(named=named))
    account, ids = fresh.named.with_answer(bundle, policy, NOW + 400 * DAY_S, lambda: [1])
    assert (ids, account.answered) == ((7,), 1)
    later, _ = ClusterAccount().with_answer(bundle, policy, NOW + 9, lambda: [2])
    assert merged(DeviceState(named=later), fresh).named.last == named.last
    assert merged(fresh, DeviceState(named=later)).named.last == named.last


def test_noised_messages_are_repeated_and_the_dearer_account_counts() -> None:
    policy = NoisePolicy(epsilon=8.0)
    theirs, message = NoiseAccount().with_draw("a", policy, NOW, lambda: np.ones(3, np.float32))
    theirs = replace(theirs, epsilon=24.0, drawn=3)
    ours, _ = NoiseAccount().with_draw("b", policy, NOW, lambda: np.zeros(3, np.float32))
    found = merged(DeviceState(noise=ours), DeviceState(noise=theirs)).noise
    assert (found.drawn, found.epsilon) == (3, 24.0)
    held = found.held("a", 8.0, NOW + 5)
    assert held is not None
    assert held.vector.tolist() == message.vector.tolist()
    assert merged(DeviceState(noise=found), DeviceState(noise=theirs)).noise.encode() == found.encode()


def test_an_export_of_before_brings_its_events_and_a_broken_one_nothing(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "d", consent="observe", key_store="file")
    event = Event(NOW * 1_000_000, "tea", EventKind.PURCHASE)
    assert device.import_(seal_export(encode_events((event,)), "long enough"), "long enough") == 1
    other = Device.create(tmp_path / "e", consent="observe", key_store="file")
    other.change(lambda held: replace(held, participation=state(4).participation))
    assert device.import_(other.export("long enough"), "long enough") == 0
    assert device.show()["participations"] == 1
    for spent in ({}, {"reports": 3, "experiments": [], "named": {}, "noise": {}}, {"reports": [{"round": 1}]}):
        content = json.dumps({**json.loads(encode_events((event,))), "spent": spent}).encode()
        with pytest.raises(ServingError, match="what was spent cannot be read"):
            device.import_(seal_export(content, "long enough"), "long enough")
    assert device.show()["participations"] == 1
