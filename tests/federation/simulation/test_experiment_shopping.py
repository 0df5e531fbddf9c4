from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import FederationError
from federation.device.device import Device
from federation.device.experiments.enrolment import keep_definitions
from federation.device.report import DevicePolicy
from federation.device.state import DeviceState
from federation.simulation.experiment_shopping import ShopperModel, play_experiments, visit
from federation.simulation.fleet import Fleet, FleetConfig
from recsys.catalogue.bundle import Bundle
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.recsys.experiments.an_experiment import START, an_experiment
from tests.shop import make_bundle

AT = START * 1_000_000
DAY = 86_400 * 1_000_000
OFTEN = ShopperModel(visits_a_day=0.9, buys_listed=0.5, buys_anyway=0.5)
WANTED = ("sku-3", "sku-8", "sku-21")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("shop") / "bundle")


def shopper(folder: Path, bundle: Bundle) -> Device:
    device = Device.create(folder, consent="contribute", key_store="file", bundle=bundle)
    keep_definitions(device, [an_experiment()])

    def with_secret(state: DeviceState) -> DeviceState:
        return replace(state, experiments=replace(state.experiments, secret=bytes([5] * 32)))

    device.change(with_secret)
    return device


def test_a_life_is_the_same_in_one_call_and_in_many(tmp_path: Path, bundle: Bundle) -> None:
    whole, pieces = shopper(tmp_path / "whole", bundle), shopper(tmp_path / "pieces", bundle)
    visits = visit(whole, WANTED, OFTEN, 7, 0, AT + 9 * DAY)
    ends = [AT + hours * DAY // 24 for hours in (-5, 3, 50, 51, 52, 140, 216, 216)]
    parts = [visit(pieces, WANTED, OFTEN, 7, 0, end) for end in ends]
    assert sum(parts) == visits > 4
    assert (parts[0], parts[-1]) == (0, 0)
    for name in ("events", "experiments"):
        assert getattr(pieces.state, name) == getattr(whole.state, name)
    notes = whole.state.experiments.notes
    assert whole.state.experiments.enrolments[0].exposed_at == notes[0].time
    assert sum(note.event == "list" for note in notes) == visits
    assert {note.item_id for note in notes if note.event != "list"} == set(WANTED)
    assert all(AT <= note.time <= AT + 9 * DAY for note in notes)


def test_who_wants_nothing_comes_and_buys_nothing(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "d", bundle)
    assert visit(device, (), OFTEN, 7, 0, AT + 5 * DAY) > 0
    assert {str(note.event) for note in device.state.experiments.notes} == {"list"}
    keep_definitions(device, [])
    assert visit(device, WANTED, OFTEN, 7, 0, AT + 50 * DAY) == 0


def test_chances_and_lengths_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"buys_listed=1\.5: must be 0\.\.1"):
        ShopperModel(buys_listed=1.5)
    policy = DevicePolicy(bytes(32), min_noise_multiplier=0.0)
    with pytest.raises(FederationError, match="wanted: of 1 devices: must be of all 2"):
        play_experiments(Fleet(tmp_path, 2), [()], "http://127.0.0.1:1", policy, SomeIssuer(), FleetConfig(AT))
