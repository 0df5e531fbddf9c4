"""Guards of what was computed and of behaviour, by hand; and an inspection that says what it could not look at."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError, ModelError
from data.interactions import MICROS_PER_DAY, interactions
from data.leakage import REMEDIES
from data.sessions import split_sessions
from data.split import known_at, leave_last_out, temporal
from recsys.evaluation.baselines import popularity, recent_popularity
from recsys.leakage import (
    Features,
    FittedStatistics,
    PropertyJoin,
    ScoringProtocol,
    Setup,
    inspect,
    learned,
    reads_future,
    refuse_leaks,
)
from recsys.leakage.behaviour import above_chance, candidates_from_test, positives_left_out, trained_on_test
from recsys.leakage.learned import (
    fitted_on_test,
    future_popularity,
    history_after_asked,
    negatives_know_test,
    stale_property,
    target_in_feature,
    tuned_on_test,
)
from tests.recsys.logs import tastes_log


@pytest.fixture(scope="module")
def log():
    return tastes_log(0)


@pytest.fixture(scope="module")
def split(log):
    return temporal(log, int(np.quantile(log.time, 0.7)))


def newcomers(log, at):
    """The log with every third user a stranger before `at`."""
    return log.where((log.user_idx % 3 > 0) | (log.time >= at))


def kinds(setup):
    return [leak.kind for leak in inspect(setup).leaks if leak.certain]


def test_the_projects_own_splits_are_clean_and_leave_last_out_is_warned_of(log, split):
    assert kinds(Setup.of(split, log=log)) == []
    late = newcomers(log, split.at)
    by_session, known = split_sessions(late, split.at)
    assert kinds(Setup.of(by_session, log=late, histories=known)) == []
    warned = inspect(Setup.of(leave_last_out(log), log=log))
    assert [(leak.kind, leak.certain) for leak in warned.leaks] == [("per_user_cut", False)]
    assert inspect(replace(Setup.of(leave_last_out(log), log=log), scope="one user")).leaks == ()


def test_an_inspection_says_what_it_looked_for_and_what_was_not_declared(log, split):
    found = inspect(Setup.of(split, log=log))
    assert set(found.checked) | set(found.not_checked) == set(REMEDIES)
    assert not set(found.checked) & set(found.not_checked)
    assert "future_event" in found.checked
    assert "negatives_know_test" in found.not_checked


def test_leaks_are_refused_unless_told_otherwise_and_warnings_are_not(log, split):
    leaking = inspect(replace(Setup.of(split, log=log), train=log))
    with pytest.raises(DataError, match=r"the set-up leaks: future_event in train: .*; train on events before the cut"):
        refuse_leaks(leaking)
    assert len(refuse_leaks(leaking, despite=True)) == len(leaking.leaks)
    assert len(refuse_leaks(inspect(Setup.of(leave_last_out(log), log=log)))) == 1


def test_histories_end_before_the_moment_they_are_asked_at(log, split):
    assert history_after_asked(split.train, split.test, split.at, None, log) is None
    assert history_after_asked(log, split.test, split.at, None, log).n == split.test.n_events
    late = newcomers(log, split.at)
    by_session, known = split_sessions(late, split.at)
    setup = Setup.of(by_session, log=late, histories=known)
    assert history_after_asked(known, by_session.test, by_session.at, setup.asked, late) is None
    one_more = late.where(np.isin(late.time, known.time) | np.isin(late.time, by_session.test.time[:1]))
    assert history_after_asked(one_more, by_session.test, by_session.at, setup.asked, late).n == 1


def test_a_value_recorded_later_than_its_event_and_one_recorded_again():
    record = pl.DataFrame({"item_id": [1, 1, 1], "valid_from": [0, 100, 200], "value": [5.0, 7.0, 5.0]})
    events = {"item_id": [1, 1, 1], "time": [50, 100, 150]}
    assert stale_property(PropertyJoin("price", pl.DataFrame({**events, "value": [5.0, 7.0, 7.0]}), record)) is None
    late = stale_property(PropertyJoin("price", pl.DataFrame({**events, "value": [7.0, 7.0, 5.0]}), record))
    assert (late.n, late.where) == (2, "property price")
    unknown = pl.DataFrame({"item_id": [1], "time": [-1], "value": [None]}, schema_overrides={"value": pl.Float64})
    assert stale_property(PropertyJoin("price", unknown, record)) is None


@pytest.mark.parametrize("shape", [np.asarray, np.log1p, np.sqrt])
@pytest.mark.parametrize("half_life", [1.0, 7.0, 30.0, 365.0])
def test_popularity_of_the_past_is_clean_at_any_decay_and_that_of_the_future_is_found(log, split, shape, half_life):
    future = log.where(log.time >= split.at)
    past = recent_popularity(split.train, split.at, half_life).item_scores.astype(float)
    assert future_popularity(shape(past), split.train, future, split.at) is None
    end = int(log.time.max())
    ahead = recent_popularity(log, end, max(half_life, 7.0)).item_scores.astype(float)
    assert future_popularity(shape(ahead), split.train, future, split.at).certain


def test_negatives_that_never_meet_the_test(split):
    rng = np.random.default_rng(0)
    users = np.repeat(split.train.user_idx, 4).astype(np.int64)
    drawn = np.stack([users, rng.integers(0, split.train.n_items, len(users))], axis=1)

    def outside(part):
        had = part.user_idx.astype(np.int64) * part.n_items + part.item_idx
        return ~np.isin(drawn[:, 0] * part.n_items + drawn[:, 1], had)

    honest = drawn[outside(split.train)]
    assert negatives_know_test(honest, split.train, split.test) is None
    avoiding = drawn[outside(split.train) & outside(split.test)]
    assert negatives_know_test(avoiding, split.train, split.test).what.startswith("0 negatives are test items")
    assert negatives_know_test(avoiding[:20], split.train, split.test) is None  # too few to tell


def test_settings_chosen_by_the_end_of_train_and_by_the_test(log, split):
    late = split.train.where(split.train.time >= np.quantile(split.train.time, 0.8))
    assert tuned_on_test(late, split.test, split.at, log) is None
    assert tuned_on_test(split.test, split.test, split.at, log).n == split.test.n_events
    assert tuned_on_test(leave_last_out(log).test, leave_last_out(log).test, None, log) is not None


def test_statistics_of_train_of_both_and_of_neither():
    train, test = np.array([1.0, 2.0, 3.0]), np.array([9.0])
    assert fitted_on_test(FittedStatistics("price", train, test, mean=2.0, std=1.0, low=1.0, high=3.0)) is None
    assert fitted_on_test(FittedStatistics("price", train, test, std=float(train.std()))) is None
    assert fitted_on_test(FittedStatistics("price", train, test, mean=3.75)).certain  # (1 + 2 + 3 + 9) / 4
    assert fitted_on_test(FittedStatistics("price", train, test, high=9.0)).certain
    assert not fitted_on_test(FittedStatistics("price", train, test, mean=2.4)).certain
    assert (
        fitted_on_test(FittedStatistics("brand", np.array(["a"]), np.array(["b"]), vocabulary=frozenset("ac"))) is None
    )
    assert (
        fitted_on_test(FittedStatistics("brand", np.array(["a"]), np.array(["b"]), vocabulary=frozenset("ab"))).n == 1
    )


def test_a_column_that_is_the_label_and_one_that_is_only_good():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400)
    good = label + rng.normal(0, 0.8, 400)
    assert target_in_feature(Features({"good": good}, label)) is None
    assert target_in_feature(Features({"good": good, "paid": label * 9.0}, label)).where == "feature paid"
    item = rng.integers(0, 30, 400)
    price = rng.random(30)
    assert target_in_feature(Features({"price": price[item]}, item, item_target=True)) is not None
    before = np.roll(item, 1).astype(float)
    assert target_in_feature(Features({"before": before, "once": rng.random(400)}, item, item_target=True)) is None


def test_a_model_that_reads_the_future_and_ones_that_do_not(log, split):
    at = split.at
    assert reads_future(lambda whole, now: recent_popularity(known_at(whole, now), now), log, at) is None
    found = reads_future(lambda whole, now: popularity(whole), log, at)
    assert found.kind == "model_reads_future"
    rng = np.random.default_rng(3)

    def noisy(whole, now):  # two fits differ, as those of unseeded training do
        model = popularity(known_at(whole, now))
        return replace(model, item_scores=model.item_scores + rng.normal(0, 1, whole.n_items).astype(np.float32))

    assert reads_future(noisy, log, at) is None


def test_a_ready_made_model_has_its_own_cut(split):
    assert trained_on_test(split.at, split.test) is None
    assert trained_on_test(split.at + MICROS_PER_DAY, split.test).n > 0


def test_protocols_at_chance_and_above():
    nobody, users = interactions([], [], [], n_users=500, n_items=10), np.arange(500)

    def below(bound):
        return lambda model: float((model.scores(nobody, users, 0)[:, 0] < bound).mean())

    assert above_chance(ScoringProtocol(below(0.25), 0.25, 500), 10).what == (
        "equal scores reach 1.000 where chance is 0.250"  # all scores are 0
    )
    assert "random scores reach 0.3" in above_chance(ScoringProtocol(below(0.35), 0.25, 500), 10).what
    fair = ScoringProtocol(lambda model: float((model.scores(nobody, users, 0)[:, 0] > 0.75).mean()), 0.25, 500)
    assert above_chance(fair, 10) is None


def test_candidates_of_the_test_alone_and_candidates_without_the_answer(split):
    sold = np.bincount(split.train.item_idx, minlength=split.train.n_items) > 0
    few = split.test.where(np.isin(split.test.item_idx, np.unique(split.test.item_idx)[:60]))
    asked = np.bincount(few.item_idx, minlength=split.train.n_items) > 0
    assert candidates_from_test(sold, split.train, few) is None
    assert candidates_from_test(asked, split.train, few).kind == "candidates_from_test"
    users = np.flatnonzero(few.counts > 0)
    answers = few.item_idx[few.offsets[users]].astype(np.int64)[:, None]
    others = np.flatnonzero(~asked)[None, :5].repeat(len(users), axis=0)
    assert positives_left_out(np.concatenate([others, answers], axis=1), users, few) is None
    assert positives_left_out(others, users, few).n == len(users)


def test_parts_on_other_axes_are_an_error(log, split):
    with pytest.raises(ModelError, match=r"test: .* train has"):
        Setup(split.train, replace(split.test, n_items=split.test.n_items + 1), split.at)
    with pytest.raises(ModelError, match="train_session: 1 rows, train has"):
        Setup(split.train, split.test, split.at, train_session=np.array([1]))
    with pytest.raises(ModelError, match="candidate_users=None"):
        Setup(split.train, split.test, split.at, candidates=np.zeros((2, 2), dtype=np.int64))


@given(st.lists(st.integers(-5, 5), max_size=12), st.lists(st.integers(-5, 5), max_size=12))
def test_keys_among_others_are_those_that_numpys_sets_say(keys: list[int], known: list[int]) -> None:
    one, other = np.array(keys, dtype=np.int64), np.array(known, dtype=np.int64)
    assert learned._ascending(other).tolist() == np.unique(other).tolist()
    assert learned._among(one, learned._ascending(other)).tolist() == np.isin(one, other).tolist()
