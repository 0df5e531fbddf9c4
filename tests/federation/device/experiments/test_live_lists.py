from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import ServingError
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.experiments.enrolment import keep_definitions
from federation.device.experiments.live_arms import arm_list, live_arms, why_not_here
from federation.device.experiments.observed_outcomes import diversity_of
from federation.device.outcome_log import MAX_SHOWN
from federation.device.reporting import DeviceRandomness
from federation.device.state import DeviceState
from recsys.catalogue.bundle import Bundle
from recsys.experiments.definition.arm import ArmSettings
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import to_dict
from recsys.experiments.device.assignment import assign
from recsys.experiments.device.interleaving import CREDIT_S
from recsys.experiments.device.outcomes import columns_at
from recsys.mix.mix_tables import build_tables, no_attributes
from recsys.mix.model import MixModel
from recsys.mix.priors import LISTS, prior_weights
from tests.federation.device.experiments.test_enrolment import OPEN, Windows
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.recsys.experiments.an_experiment import START, an_experiment, an_interleaving
from tests.recsys.mix.worlds import NOW, shop_log
from tests.shop import N_ITEMS, make_bundle

AT = START * 1_000_000
SECOND = 1_000_000
FREE = {"epsilon": None, "min_reports": 1, "max_reports": 1_000}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    plain = make_bundle(tmp_path_factory.mktemp("shop") / "bundle")
    tables = build_tables(shop_log(3, n_items=N_ITEMS), NOW, no_attributes(N_ITEMS))
    weights = {name: prior_weights("purchases", name) for name in LISTS}
    return replace(plain, mix=MixModel(weights, dict.fromkeys(LISTS, "prior"), 100, tables))


def secret_of(experiment: Experiment, arm: str) -> bytes:
    return next(s for s in (bytes([n] * 32) for n in range(256)) if assign(experiment, s).arm == arm)


def shopper(
    folder: Path, bundle: Bundle, *experiments: Experiment, arm: str = "personal", consent: str = "contribute"
) -> Device:
    device = Device.create(folder, consent=consent, key_store="file", bundle=bundle)
    keep_definitions(device, experiments)
    secret = secret_of(experiments[0], arm) if experiments and not experiments[0].interleaved else bytes([5] * 32)

    def with_secret(state: DeviceState) -> DeviceState:
        return replace(state, experiments=replace(state.experiments, secret=secret))

    device.change(with_secret)
    for n, item in enumerate((3, 8, 3, 21, 30)):
        device.observe(f"sku-{item}", "purchase", AT - (n + 2) * 86_400 * SECOND)
    return device


def of_settings(settings: dict[str, Any], **more: Any) -> Experiment:
    arms = [{"name": "global", "settings": {}}, {"name": "personal", "settings": settings}]
    return an_experiment(arms=arms, privacy=FREE, **more)


def test_a_list_follows_its_arm_and_exposes_once_it_is_shown(tmp_path: Path, bundle: Bundle) -> None:
    experiment = an_experiment(privacy=FREE)
    for arm, settings in (("global", {"arm": "global"}), ("personal", {"arm": "personalized", "diversity": 0.2})):
        device = shopper(tmp_path / arm, bundle, experiment, arm=arm)
        plain = device.recommend(8, now=AT, **settings)
        assert plain.experiments == ()
        listed = device.recommend(8, now=AT)
        assert listed.item_ids == plain.item_ids
        assert listed.experiments == ("personal-home",)
        assert device.state.experiments.enrolment(experiment).exposed_at is None  # made, not yet shown
        assert device.mark_shown(plain, AT + 1) == ()
        assert device.mark_shown(listed, AT + 2) == ("personal-home",)
        assert device.mark_shown(listed, AT + 3) == ()
        assert device.state.experiments.enrolment(experiment).exposed_at == AT + 2
        (entry,) = device.experiments.status(AT + 3)
        assert (entry.arm, entry.takes_part, entry.exposed_at, entry.obstacle) == (arm, True, AT + 2, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "global"},
        {"model": "global_profile"},
        {"model": "personalized_no_repeat"},
        {"diversity": 0.9},
        {"trend_weight": 50.0},
        {"repeat_weight": 50.0},
        {"mix": {"taste": 40.0, "own": 0.0}},
        {"rules": {"pin": [{"item_id": "sku-39", "position": 1}]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("surface", [None, "for-you"])
def test_every_setting_of_an_arm_changes_its_list_and_no_others(
    tmp_path: Path, bundle: Bundle, settings: dict[str, Any], surface: str | None
) -> None:
    experiment = of_settings(settings)
    as_now = shopper(tmp_path / "global", bundle, experiment, arm="global").recommend(surface, top_k=12, now=AT)
    changed = shopper(tmp_path / "personal", bundle, experiment).recommend(surface, top_k=12, now=AT)
    without = shopper(tmp_path / "nobody", bundle).recommend(surface, top_k=12, now=AT)
    assert as_now.experiments == changed.experiments == ("personal-home",)
    assert as_now.item_ids == without.item_ids
    assert changed.item_ids != without.item_ids
    if "rules" in settings:
        assert changed.item_ids[0] == "sku-39"
    if settings.get("model") == "global":
        assert changed.fallback == "trend"


def test_weights_that_an_arm_names_are_those_of_the_mixs_groups(bundle: Bundle) -> None:
    assert bundle.mix is not None
    before = bundle.mix.weights["all"]
    after = bundle.mix.reweighted({"taste": 2.0}, {"trend": 3.0, "price": 0.5}).weights["all"]
    assert after[0] == pytest.approx(2 * before[0])
    assert np.abs(after[12:17]).sum() == pytest.approx(3.0)
    assert after[12:17] * np.abs(before[12:17]).sum() == pytest.approx(3.0 * before[12:17])
    assert (before[18], after[18]) == (0.0, 0.5)  # nothing to keep the proportions of
    assert after[6:12] == pytest.approx(before[6:12])


def test_what_is_observed_is_credited(tmp_path: Path, bundle: Bundle) -> None:
    experiment = an_experiment(privacy=FREE)
    device = shopper(tmp_path / "home", bundle, experiment)
    listed = device.recommend(6, now=AT)
    device.mark_shown(listed, AT)
    other = next(f"sku-{item}" for item in range(N_ITEMS) if f"sku-{item}" not in listed.item_ids)
    device.observe(other, "view", AT + SECOND)  # on no list
    device.observe(listed.item_ids[0], "view", AT + 2 * SECOND)
    device.observe(listed.item_ids[0], "view", AT + 3 * SECOND)  # the same click
    device.observe(listed.item_ids[1], "view", AT + (CREDIT_S + 1) * SECOND)  # too late
    device.observe("sku-4", "cart", AT + 5 * SECOND, 2)
    device.observe("sku-4", "purchase", AT + 6 * SECOND, 2)  # at the catalogue's 5.00
    device.observe("sku-5", "purchase", AT + 7 * SECOND, value=9.5)
    device.observe("sku-10", "purchase", AT + 8 * SECOND)  # of no known price
    log = device.state.experiments
    found = columns_at(experiment, log.notes, AT, AT + 9 * SECOND)
    assert found["clicks"] == 1
    assert found["lists"] == 1
    assert found["converted"] == 1
    assert found["spent"] == pytest.approx(2 * 5.0 + 9.5)
    assert found["spent_before"] == pytest.approx(10.0 + 26.25 + 37.5)  # sku-3 has no price
    (shown,) = (note.value for note in log.notes if note.event == "list")
    assert shown == pytest.approx(diversity_of(device.catalogue, tuple(listed.item_ids)))
    with pytest.raises(ServingError, match="value=-1: must be 0 or more"):
        device.observe("sku-4", "purchase", AT, value=-1)


def test_a_click_is_of_the_last_list_that_had_the_item(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle, an_experiment(privacy=FREE))
    listed = device.recommend(6, now=AT)
    for minute in (0, 10):
        device.mark_shown(listed, AT + minute * 60 * SECOND)
        device.observe(listed.item_ids[0], "view", AT + (minute * 60 + 5) * SECOND)
    assert sum(note.event == "click" for note in device.state.experiments.notes) == 2
    for n in range(MAX_SHOWN + 5):
        device.mark_shown(listed, AT + (700 + n) * SECOND)
    assert len(device.state.experiments.shown) == MAX_SHOWN
    device.mark_shown(listed, AT + 2 * 3_600 * SECOND)
    assert len(device.state.experiments.shown) == 1


def test_without_consent_or_an_experiment_nothing_is_recorded(tmp_path: Path, bundle: Bundle) -> None:
    experiment = an_experiment(privacy=FREE)
    observer = shopper(tmp_path / "observe", bundle, experiment, consent="observe")
    listed = observer.recommend(6, now=AT)
    assert listed.experiments == ()
    assert observer.mark_shown(listed, AT) == ()
    observer.observe(listed.item_ids[0], "view", AT + 1)
    observer.observe(listed.item_ids[0], "purchase", AT + 2)
    assert (observer.state.experiments.notes, observer.state.experiments.shown) == ((), ())
    nowhere = shopper(tmp_path / "none", bundle)
    assert nowhere.mark_shown(nowhere.recommend(6, now=AT), AT) == ()
    assert nowhere.state.experiments.shown == ()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "local"}, "arm personal: model=local: is not of one device"),
        ({"mode": "cluster"}, "arm personal: mode=cluster: asks the service"),
        ({"bundle_version": "v2"}, "arm personal: bundle_version: a device has one catalogue"),
        ({"rules": {"cap": [{"by": "attributes.brand", "most": 1}]}}, "arm personal: rules"),
    ],
    ids=str,
)
@pytest.mark.parametrize("arm", ["global", "personal"])
def test_where_an_arm_cannot_be_made_nobody_is_in(
    tmp_path: Path, bundle: Bundle, settings: dict[str, Any], why: str, arm: str
) -> None:
    """In either arm: if one arm's shoppers alone came in, the comparison would be of two kinds of shoppers."""
    experiment = of_settings(settings)
    device = shopper(tmp_path / "home", bundle, experiment, arm=arm)
    listed = device.recommend(6, now=AT)
    assert listed.experiments == ()
    assert device.mark_shown(listed, AT) == ()
    assert device.state.experiments.enrolment(experiment).exposed_at is None
    obstacle = device.experiments.status(AT)[0].obstacle
    assert obstacle is not None
    assert obstacle.startswith(why)


def test_a_mix_of_an_arm_needs_a_mix(tmp_path: Path) -> None:
    plain = make_bundle(tmp_path / "plain")
    device = shopper(tmp_path / "home", plain, of_settings({"mix": {"trend": 2.0}}))
    assert device.catalogue is not None
    assert why_not_here(of_settings({"mix": {"trend": 2.0}}), device.catalogue) == (
        "arm personal: settings.mix: the bundle has no mix"
    )


def test_experiments_that_change_other_things_share_a_list(tmp_path: Path, bundle: Bundle) -> None:
    first = of_settings({"diversity": 0.5}, id="a-first", layer={"name": "one"})
    second = of_settings({"model": "personalized_no_repeat"}, id="b-second", layer={"name": "two"})
    third = of_settings({"diversity": 0.1, "trend_weight": 1.0}, id="c-third", layer={"name": "three"})
    device = shopper(tmp_path / "home", bundle, first, second, third)
    state, catalogue = device.state, device.catalogue
    assert catalogue is not None
    live = live_arms(state, catalogue, None, AT)
    assert live.experiments == ("a-first", "b-second")
    arms = [assign(one, state.experiments.secret).arm for one in (first, second)]
    expected = ArmSettings(
        diversity=0.5 if arms[0] == "personal" else None,
        model="personalized_no_repeat" if arms[1] == "personal" else None,
    )
    assert live.settings == expected
    assert device.mark_shown(device.recommend(6, now=AT), AT) == ("a-first", "b-second")


def test_surfaces_and_requested_lists(tmp_path: Path, bundle: Bundle) -> None:
    shown = of_settings({"diversity": 0.9}, exposure={"trigger": "list_shown", "surface": "for-you"})
    device = shopper(tmp_path / "shown", bundle, shown)
    assert device.recommend(6, now=AT).experiments == ()
    assert device.recommend("trending", now=AT).experiments == ()
    page = device.recommend("for-you", now=AT)
    assert page.experiments == ("personal-home",)
    assert device.mark_shown(page, AT) == ("personal-home",)
    asked = of_settings({"diversity": 0.9}, exposure={"trigger": "list_requested", "surface": "for-you"})
    device = shopper(tmp_path / "asked", bundle, asked)
    device.recommend(6, now=AT)
    assert device.state.experiments.enrolment(asked).exposed_at is None
    device.recommend("for-you", now=AT + 1)
    assert device.state.experiments.enrolment(asked).exposed_at == AT + 1


def test_an_interleaved_list_is_drafted_and_its_clicks_are_credited(tmp_path: Path, bundle: Bundle) -> None:
    experiment = an_interleaving()
    device = shopper(tmp_path / "home", bundle, experiment)
    listed = device.recommend(6, now=AT)
    assert listed.experiments == ("personal-home",)
    enrolment = device.state.experiments.enrolment(experiment)
    assert enrolment.open_list is not None
    assert {item for picks in enrolment.open_list.picks for item in picks} <= set(listed.item_ids)
    assert device.mark_shown(listed, AT) == ("personal-home",)
    challengers = enrolment.open_list.picks[1]
    device.observe(challengers[0], "view", AT + SECOND)
    after = device.state.experiments.enrolment(experiment).open_list
    assert after is not None
    assert after.clicks == (0, 1)


def test_forgetting_and_withdrawing_forget_the_lists_that_were_shown(tmp_path: Path, bundle: Bundle) -> None:
    device = shopper(tmp_path / "home", bundle, an_experiment(privacy=FREE))
    listed = device.recommend(6, now=AT)
    device.mark_shown(listed, AT)
    assert device.state.experiments.names(listed.item_ids[0])
    assert listed.item_ids[0] not in repr(device.state)
    shown = device.show()["shown_lists"]
    assert [entry["item_ids"] for entry in shown] == [listed.item_ids]
    assert device.forget("sku-of-nobody") == 0
    assert device.state.experiments.shown
    device.forget(listed.item_ids[0])
    assert not device.state.experiments.names(listed.item_ids[0])
    for end in (lambda: device.set_consent("observe"), device.forget_everything):
        device.set_consent("contribute")
        device.mark_shown(listed, AT)
        assert Device.open(device.folder).state.experiments.shown  # as the vault has it
        end()
        assert device.state.experiments.shown == ()


@pytest.mark.parametrize("seed", range(12))
def test_every_exposure_is_of_a_list_that_was_shown(tmp_path: Path, bundle: Bundle, seed: int) -> None:
    """A random life: lists made, some of them shown, late, twice or never; the arm's very list is what exposes."""
    rng = np.random.default_rng(seed)
    experiment = an_experiment(
        privacy=FREE,
        exposure={"trigger": "list_shown", "surface": "for-you"},
        eligibility=[{"fact": "views", "least": 2}],
    )
    device = shopper(tmp_path / "home", bundle, experiment, arm=("global", "personal")[seed % 2])
    arm = experiment.arm(("global", "personal")[seed % 2])
    shown: list[tuple[int, tuple[str, ...]]] = []
    made: list[Any] = []
    for step in range(30):
        now = AT + step * 60 * SECOND
        do = rng.integers(4)
        if do == 0:
            device.observe(f"sku-{rng.integers(N_ITEMS)}", "view", now)
        elif do == 1:
            surface = ("for-you", "trending", None)[rng.integers(3)]
            listed = device.recommend(surface, top_k=6, now=now)
            made.append(listed)
            if listed.experiments:
                assert surface == "for-you"
                state, catalogue = device.state, device.catalogue
                assert catalogue is not None
                assert listed.item_ids == arm_list(state, catalogue, now, 6, arm.settings).item_ids
        elif made and do == 2:
            listed = made[rng.integers(len(made))]
            came_in = device.mark_shown(listed, now)
            assert set(came_in) <= set(listed.experiments)
            shown.append((now, listed.experiments))
    exposed_at = device.state.experiments.enrolment(experiment).exposed_at
    of_the_arm = [at for at, experiments in shown if experiments]
    assert exposed_at == (of_the_arm[0] if of_the_arm else None)


def test_what_is_sent_says_neither_arm_nor_outcome(tmp_path: Path, bundle: Bundle) -> None:
    """Two devices in two arms, one of them busy, one idle: the same requests, and reports of the same length."""
    experiment = an_experiment(privacy=FREE)
    sent: dict[str, list[tuple[str, str, list[str], int]]] = {}
    for arm in ("global", "personal"):
        windows, requests = Windows(experiment), sent.setdefault(arm, [])

        def answer(request: httpx.Request, windows: Windows = windows, log: list[Any] = requests) -> httpx.Response:
            body = request.read()
            log.append((request.method, request.url.path, sorted(request.headers), len(body)))
            for word in (b"global", b'personal"', b"sku-", b"list_shown"):
                assert word not in body
            if request.url.path == "/v1/experiments":
                entry = {"id": experiment.id, "state": "running", "definition": to_dict(experiment)}
                return httpx.Response(200, json={"experiments": [entry | {"failed_windows": []}]})
            return windows.answer(request)

        device = shopper(tmp_path / arm, bundle, experiment, arm=arm)
        if arm == "personal":
            listed = device.recommend(6, now=AT)
            device.mark_shown(listed, AT)
            device.observe(listed.item_ids[0], "view", AT + SECOND)
            device.observe(listed.item_ids[0], "purchase", AT + 2 * SECOND)
        transport = httpx.MockTransport(answer)
        with httpx.Client(transport=transport, base_url="http://127.0.0.1") as client:
            outcomes = device.experiments.report(
                client,
                OPEN,
                SomeIssuer(),
                draws=DeviceRandomness(waiting=random.Random(0)),
                retry=RetryPolicy(spread_s=0, attempts=1, sleep=lambda _: None),
                clock=lambda: START + 2 * 86_400,
            )
        assert {name: one.status for name, one in outcomes.items()} == {"personal-home": "accepted"}
    assert sent["global"] == sent["personal"]
    assert len(sent["global"]) == 3
