"""Lists that two arms draft on a device: whose clicks count, what leaves, and what the sums of many devices say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from federation.device.device import Device
from federation.device.experiments.enrolment import CREDIT_S, arm_for, expose, increments_at, keep_definitions
from federation.device.experiments.interleaving import arm_list, credit, interleave
from federation.device.interleaved_list import OpenList
from federation.device.outcome_log import Enrolment, ExperimentLog
from federation.device.state import DeviceState
from federation.learning.experiment_sum import looks_of
from recsys.catalogue.bundle import Bundle
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.device.interleaving import coins, preference, team_draft
from recsys.experiments.results.results import results
from tests.federation.device.experiments.test_enrolment import AT, DAY, SECRET_OF_PERSONAL, Windows, a_device, report
from tests.recsys.experiments.an_experiment import an_experiment, an_interleaving
from tests.shop import make_bundle

ID = "personal-home"
MINUTE = 60_000_000
SECOND = 1_000_000
FREE = {"epsilon": None, "min_reports": 1, "max_reports": 1_000}
EXPERIMENT = an_interleaving(privacy=FREE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


def shopper(folder: Path, bundle: Bundle, experiment: Experiment = EXPERIMENT, liked: str = "sku-3") -> Device:
    """A device in the experiment, with a history of its own."""
    a_device(folder, experiment=experiment)
    device = Device.open(folder, bundle)
    device.observe(liked, "purchase", AT - DAY * SECOND)
    return device


def own_part(device: Device, experiment: Experiment = EXPERIMENT) -> Enrolment:
    return device.state.experiments.enrolment(experiment)


def show(device: Device, now: int, seed: int = 0, top_k: int = 6) -> OpenList:
    """A list that was made and shown; whose picks it has."""
    assert interleave(device, ID, top_k, now, rng=np.random.default_rng(seed)) is not None
    expose(device, "list_shown", None, now)
    opened = own_part(device).open_list
    assert opened is not None
    return opened


def test_the_list_is_the_draft_of_both_arms_lists(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle)
    made = interleave(device, ID, 6, AT, exclude=["sku-7"], rng=np.random.default_rng(4))
    assert made is not None
    state, catalogue = device.state, device.catalogue
    assert catalogue is not None
    lists = [arm_list(state, catalogue, AT, 6, arm.settings, ["sku-7"]) for arm in EXPERIMENT.arms]
    assert [one.fallback for one in lists] == ["trend", None]
    assert lists[1].item_ids == device.recommend(6, exclude=["sku-7"], diversity=0.2, now=AT).item_ids
    idx = [catalogue.items.index_of(one.item_ids) for one in lists]
    draft = team_draft(idx[0], idx[1], 6, coins(6, np.random.default_rng(4)))
    assert made.item_ids == [catalogue.items.ids[item] for item in draft.items.tolist()]
    assert own_part(device).open_list == OpenList.of(AT, made.item_ids, draft.picked_by.tolist())
    assert arm_for(device, ID, AT) is None  # it has no arm's lists


def test_weights_and_models_of_an_arm_make_its_list(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle)
    state, catalogue = device.state, device.catalogue
    assert catalogue is not None

    def ids(**settings: Any) -> list[str]:
        arm = replace(EXPERIMENT.arms[1].settings, diversity=None, **settings)
        return arm_list(state, catalogue, AT, 10, arm).item_ids

    assert ids() == device.recommend(10, now=AT).item_ids
    assert ids(model=None) == ids()
    assert ids(model="personalized_no_repeat") == device.recommend(10, repeat=False, now=AT).item_ids
    assert ids(model="global") == ids(trend_weight=900.0) != ids(trend_weight=0.0)
    assert ids(repeat_weight=900.0)[0] == "sku-3"


def test_a_click_counts_once_for_whose_pick_it_was_while_it_may(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle)
    assert interleave(device, ID, 6, AT, rng=np.random.default_rng(0)) is not None
    opened = own_part(device).open_list
    assert opened is not None
    mine, theirs = opened.picks
    assert not credit(device, theirs[0], AT)  # nobody was shown it yet
    expose(device, "list_shown", None, AT)
    assert not credit(device, "sku-nobody", AT + 1)
    assert not credit(device, theirs[0], AT - 1)
    assert not credit(device, theirs[0], AT + (CREDIT_S + 1) * SECOND)
    assert [credit(device, one, AT + MINUTE) for one in (theirs[0], theirs[0], mine[0], theirs[1])] == [
        True, False, True, True,
    ]  # fmt: skip
    found = own_part(device).open_list
    assert found is not None
    assert (found.clicks, found.preference) == ((1, 2), 1)
    assert DeviceState.decode(device.state.encode()).experiments == device.state.experiments
    again = show(device, AT + 2 * MINUTE)
    after = own_part(device)
    assert after.tally is not None
    assert (after.tally.wins, after.tally.losses, again.clicks) == (1, 0, (0, 0))


def test_credit_is_what_the_pure_functions_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        lists = [rng.permutation(12)[:6].astype(np.int32) for _ in range(2)]
        draft = team_draft(lists[0], lists[1], 6, coins(6, rng))
        clicked = rng.random(6) < 0.4
        held = OpenList.of(0, [str(item) for item in draft.items], draft.picked_by.tolist())
        for item in rng.permutation(draft.items[clicked]):
            held = held.clicked(str(item))
        assert held.preference == preference(draft.picked_by, clicked)


def test_sessions_beyond_the_outcome_window_or_of_nobody_shown_count_nothing(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle)
    show(device, AT)
    late = AT + 7 * DAY * SECOND
    opened = show(device, late)
    assert not credit(device, opened.picks[1][0], late + 1)
    other = shopper(tmp_path / "other", bundle)
    assert interleave(other, ID, 6, AT) is not None
    assert interleave(other, ID, 6, AT + MINUTE) is not None  # never shown
    assert own_part(other).tally is None
    assert interleave(other, ID, 6, AT + 15 * DAY * SECOND) is None  # exposures are over


def test_windows_add_up_to_one_shopper(tmp_path: Path, bundle: Bundle) -> None:
    """Two sessions won, then one lost: the sums are those of x = 1, not of 2 and -1."""
    device, windows = shopper(tmp_path / "home", bundle), Windows(EXPERIMENT)
    for minute, side in ((0, 1), (40, 1), (5 * 24 * 60, 0)):
        if side == 0:
            assert report(device, windows, 1).status == "accepted"
            windows.window = 1
        opened = show(device, AT + minute * MINUTE, seed=minute)
        assert credit(device, opened.picks[side][0], AT + minute * MINUTE + 1)
    assert own_part(device).open_list is not None
    assert report(device, windows, 8).status == "accepted"
    assert own_part(device).open_list is None  # settled by the report
    steps = layout_of(EXPERIMENT).steps
    assert [(windows.sum(window) / steps).tolist() for window in (0, 1)] == [[1, 2, 4], [0, -1, -3]]
    shown = device.show()["experiments"][0]
    assert shown["sessions"] == {"won": 2, "lost": 1}


def test_without_consent_nothing_is_kept_and_what_was_is_forgotten(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle)
    opened = show(device, AT)
    assert device.show()["experiments"][0]["open_list"]["challenger"] == list(opened.picks[1])
    device.set_consent("observe")
    assert own_part(device).open_list is None
    assert interleave(device, ID, 6, AT + MINUTE) is None
    assert not credit(device, opened.picks[1][0], AT + MINUTE)
    assert own_part(device).open_list is own_part(device).tally is None
    device.set_consent("contribute")
    opened = show(device, AT + 2 * MINUTE)
    device.forget("sku-3")
    assert own_part(device).open_list is None
    show(device, AT + 3 * MINUTE)
    keep_definitions(device, [])
    assert own_part(device).open_list is None
    assert interleave(device, ID, 6, AT + 4 * MINUTE) is None


def test_only_interleaved_lists_are_drafted(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle, an_experiment(privacy=FREE))
    with pytest.raises(DataError, match="design=parallel: must be interleaved"):
        interleave(device, ID, 6, AT)


def test_nothing_of_lists_sides_or_clicks_leaves_the_device(tmp_path: Path, bundle: Bundle) -> None:
    """Every byte of every request is searched for what the vault holds, and the share is random by itself."""
    device, windows = shopper(tmp_path / "home", bundle), Windows(EXPERIMENT)
    opened = show(device, AT)
    for item_id in opened.picks[1]:
        credit(device, item_id, AT + 1)
    sent: list[bytes] = []
    answer = windows.answer
    windows.answer = lambda request: (sent.append(bytes(request.url.raw_path) + request.read()), answer(request))[1]  # type: ignore[method-assign]
    assert report(device, windows, 1).status == "accepted"
    words = b"".join(sent)
    planted = [*opened.picks[0], *opened.picks[1], "sku-3", "sku-", SECRET_OF_PERSONAL.hex(), "open_list", "tally"]
    assert all(value.encode() not in words for value in planted)
    assert SECRET_OF_PERSONAL not in words
    (one,) = windows.reports[0]
    layout = layout_of(EXPERIMENT)
    said = (np.array([1, 1, 1]) * layout.steps).astype(np.int32)
    assert not np.array_equal(np.frombuffer(one.service_share, "<i4"), said)
    assert len(one.service_share) == 4 * layout.length == 12
    assert "sku" not in repr(device.state)


@pytest.mark.parametrize(("better", "state"), [(0.85, "better"), (0.5, "still_running")])
def test_the_sums_of_many_devices_find_a_planted_preference_and_none_where_there_is_none(
    tmp_path: Path, bundle: Bundle, better: float, state: str
) -> None:
    """24 shoppers of three sessions: each list's click is on the challenger's picks with chance `better`."""
    experiment = an_interleaving(privacy={**FREE, "min_reports": 20})
    rng, catalogue = (
        np.random.default_rng(8),
        Device.create(tmp_path / "any", key_store="file", bundle=bundle).catalogue,
    )
    assert catalogue is not None
    windows, told = Windows(experiment), []
    template = shopper(tmp_path / "home", bundle, experiment)
    fresh = template.state
    for _ in range(24):
        template.change(lambda _: fresh)
        x = 0
        for session in range(3):
            opened = show(template, AT + session * 60 * MINUTE, seed=int(rng.integers(2**31)))
            side = int(rng.random() < better)
            credit(template, opened.picks[side][0], AT + session * 60 * MINUTE + 1)
            x += 2 * side - 1
        told.append(x)
        assert report(template, windows, 1).status == "accepted"
    shown = results(experiment, looks_of(experiment, {0: windows.sum(0)}))
    (sums,) = [shown["arms"]["both"]["all"]]
    assert (sums["n"], sums["totals"]["preference"]) == (24.0, float(sum(told)))
    assert sums["products"]["preference*preference"] == float(sum(x * x for x in told))
    (verdict,) = shown["verdicts"]
    assert (verdict["arm"], verdict["state"]) == ("personal", state)


def test_everybody_in_the_layer_is_in_whatever_arm_the_secret_would_draw(tmp_path: Path, bundle: Bundle) -> None:
    for number in range(4):
        device = shopper(tmp_path / str(number), bundle)

        def other(state: DeviceState, number: int = number) -> DeviceState:
            log: ExperimentLog = replace(state.experiments, secret=bytes([number] * 32))
            return replace(state, experiments=log)

        device.change(other)
        opened = show(device, AT)
        assert credit(device, opened.picks[1][0], AT + 1)
        now = AT + DAY * SECOND
        _, moved = increments_at(device.state.experiments, EXPERIMENT, own_part(device), now)
        assert (moved[0] > 0).all()


def test_a_vault_of_before_lists_were_interleaved_is_read() -> None:
    stored = Enrolment("e", fixed_hash(EXPERIMENT)).encode()
    del stored["tally"], stored["open_list"]
    assert Enrolment.decode(stored) == Enrolment("e", fixed_hash(EXPERIMENT))
