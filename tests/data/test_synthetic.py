"""The synthetic shop does what its arguments say, and nothing else can be learned from it."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import data.synthetic
from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from data.synthetic import EVENTS_PER_BLOCK, SyntheticShop
from data.tastes import TREND_STEPS

SHOP = SyntheticShop(n_users=2_000, n_items=1_000, n_events=60_000, seed=1, drift=0.0)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.synthetic, "EVENTS_PER_BLOCK", 4_096)


def views(log: Interactions) -> tuple[np.ndarray, np.ndarray]:
    seen = log.kind == EventKind.VIEW
    return log.user_idx[seen], log.item_idx[seen]


def mean_percentile(shop: SyntheticShop, scores: np.ndarray) -> float:
    """Mean share of the catalogue that a model scores below the item really viewed; 1/2 for a blind model."""
    user, item = views(shop.interactions())
    places = np.empty(scores.shape, dtype=np.float64)
    np.put_along_axis(places, scores.argsort(axis=1), np.arange(shop.n_items)[None, :].repeat(len(scores), 0), axis=1)
    return float(places[user if len(scores) > 1 else 0, item].mean() / (shop.n_items - 1))


def oracle_and_popularity(shop: SyntheticShop) -> tuple[float, float]:
    truth = shop.truth()
    everyone = np.arange(shop.n_users)
    popularity = truth.popularity_at(truth.start).astype(np.float32)[None, :]
    return mean_percentile(shop, truth.scores(everyone, truth.start)), mean_percentile(shop, popularity)


def test_with_signal_an_oracle_of_tastes_is_far_above_popularity():
    oracle, popularity = oracle_and_popularity(SHOP)
    # What popularity leaves to be gained, the oracle gains most of.
    assert 1 - oracle < 0.3 * (1 - popularity)
    assert popularity > 0.6


def test_without_signal_an_oracle_of_tastes_is_no_better_than_popularity():
    oracle, popularity = oracle_and_popularity(replace(SHOP, signal=0.0))
    assert oracle < popularity


def test_without_signal_people_do_not_differ_beyond_chance():
    """Two halves of one person's views agree no more than halves of two persons' views."""
    user, item = views(replace(SHOP, signal=0.0).interactions())
    cluster = SHOP.truth().item_cluster[item]
    same_user = np.flatnonzero(user[1:] == user[:-1])
    own = (cluster[same_user] == cluster[same_user + 1]).mean()
    strangers = (cluster == np.roll(cluster, len(cluster) // 2)).mean()
    sigma = np.sqrt(2 * own * (1 - own) / len(same_user))
    assert abs(own - strangers) < 4 * sigma
    with_signal = SHOP.truth().item_cluster[views(SHOP.interactions())[1]]
    assert (with_signal[1:] == with_signal[:-1]).mean() > own + 20 * sigma


def test_the_dial_moves_between_noise_and_signal():
    gains = []
    for signal in (0.0, 0.25, 0.5, 0.75, 1.0):
        oracle, popularity = oracle_and_popularity(replace(SHOP, signal=signal))
        gains.append(oracle - popularity)
    assert all(more > less + 0.02 for less, more in pairwise(gains))


def test_every_purchase_follows_a_cart_and_a_view_of_the_same_item_in_the_same_session():
    log = pl.concat(SHOP.events())
    first = log.pivot("kind", index=["session_id", "user_id", "item_id"], values="time", aggregate_function="min")
    assert first.filter(pl.col("purchase").is_not_null() & ~(pl.col("cart") < pl.col("purchase"))).is_empty()
    assert first.filter(pl.col("cart").is_not_null() & ~(pl.col("view") < pl.col("cart"))).is_empty()
    carts, purchases, views = (log.filter(kind=kind).height for kind in ("cart", "purchase", "view"))
    assert 0 < purchases < carts < views


def test_the_better_an_item_fits_and_the_cheaper_it_is_the_more_often_a_view_ends_in_a_purchase():
    shop = replace(SHOP, n_events=200_000)
    truth, log = shop.truth(), shop.interactions()
    taste = truth.taste[0, log.user_idx]
    fit = np.einsum("ed,ed->e", truth.user_vectors[taste], truth.item_vectors[log.item_idx])
    staple = (truth.staples[taste] == log.item_idx[:, None]).any(axis=1)
    for quality in (fit, -truth.price[log.item_idx]):
        good = quality > np.median(quality)
        rate = [
            ((log.kind == EventKind.PURCHASE) & side & ~staple).sum()
            / ((log.kind == EventKind.VIEW) & side & ~staple).sum()
            for side in (good, ~good)
        ]
        assert rate[0] > 1.3 * rate[1]


def test_people_buy_their_staples_again_and_other_people_do_not():
    log = SHOP.interactions()
    bought = log.kind == EventKind.PURCHASE
    pairs = pl.DataFrame({"user": log.user_idx[bought], "item": log.item_idx[bought]})
    times = pairs.group_by("user", "item").len()
    again = times.filter(pl.col("len") > 1)
    staples = SHOP.truth().staples[SHOP.truth().taste[0, again["user"].to_numpy()]]
    assert again.height > 100
    assert (staples == again["item"].to_numpy()[:, None]).any(axis=1).mean() > 0.8


def test_groups_differ_in_activity_and_taste():
    shop = replace(SHOP, group_activity=(1.0, 0.5))
    truth, log = shop.truth(), shop.interactions()
    activity = [log.counts[truth.group == g].mean() for g in (0, 1)]
    assert activity[1] / activity[0] == pytest.approx(0.5, rel=0.15)
    mixes = [np.bincount(truth.main[: shop.n_users][truth.group == g], minlength=20) for g in (0, 1)]
    distance = np.abs(mixes[0] / mixes[0].sum() - mixes[1] / mixes[1].sum()).sum() / 2
    assert distance > 0.2
    assert shop.people().group_by("group").len().sort("group")["len"].to_list() == [
        (truth.group == 0).sum(),
        (truth.group == 1).sum(),
    ]


def test_popularity_drifts_only_as_much_as_asked():
    def change(drift: float) -> float:
        shop = replace(SHOP, signal=0.0, n_events=200_000, drift=drift)
        _, items = views(shop.interactions())
        times = shop.interactions().time[shop.interactions().kind == EventKind.VIEW]
        early, late = times < np.quantile(times, 0.2), times > np.quantile(times, 0.8)
        counts = [np.bincount(items[side], minlength=shop.n_items) for side in (early, late)]
        return float(np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2)

    still, usual, strong = change(0.0), change(1.0), change(3.0)
    assert still < 0.15
    assert usual > 2 * still
    assert strong > 1.15 * usual


def test_observed_popularity_is_the_truth_of_that_time():
    shop = replace(SHOP, signal=0.0, drift=1.0, n_events=300_000)
    log = shop.interactions()
    step = (log.time - shop.truth().start) * TREND_STEPS // (shop.days * MICROS_PER_DAY)
    now = (step == 40) & (log.kind == EventKind.VIEW)
    seen = np.bincount(log.item_idx[now], minlength=shop.n_items) / now.sum()
    there, elsewhere = (shop.truth().popularity(np.array([s]))[0] for s in (40, 5))
    assert np.corrcoef(seen, there)[0, 1] > 0.9
    assert np.corrcoef(seen, there)[0, 1] > np.corrcoef(seen, elsewhere)[0, 1] + 0.1


def test_only_those_who_change_their_taste_change_and_only_then():
    shop = replace(SHOP, change_share=0.3, change_at=0.5)
    truth, log = shop.truth(), shop.interactions()
    changed = truth.taste[0] != truth.taste[1]
    assert changed.sum() == 600
    assert (truth.main[truth.taste[0, changed]] != truth.main[truth.taste[1, changed]]).all()
    old_main = truth.main[truth.taste[0, log.user_idx]]
    in_old = truth.item_cluster[log.item_idx] == old_main
    late = log.time >= truth.changed_at
    of_changed = changed[log.user_idx]
    before, after = in_old[of_changed & ~late].mean(), in_old[of_changed & late].mean()
    others = in_old[~of_changed & late].mean()
    assert before == pytest.approx(others, abs=0.03)
    assert after < 0.3 * before
    people = shop.people()
    assert people["changed_taste"].is_not_null().sum() == 600


@pytest.mark.usefixtures("small_blocks")
def test_a_change_of_taste_leaves_the_log_before_it_as_it_was():
    def early(shop: SyntheticShop) -> pl.DataFrame:
        return pl.concat(list(shop.events())[:6])

    changing = replace(SHOP, change_share=0.3)
    assert early(changing).equals(early(SHOP))
    assert not pl.concat(changing.events()).equals(pl.concat(SHOP.events()))


@pytest.mark.usefixtures("small_blocks")
def test_events_are_exactly_as_many_and_in_order_of_time_over_all_blocks():
    frames = list(SHOP.events())
    assert len(frames) > 10
    log = pl.concat(frames)
    assert log.height == SHOP.n_events
    assert log["time"].is_sorted()
    assert log.schema == {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "kind": pl.String(),
        "time": pl.Datetime("us", "UTC"),
        "price": pl.Float64(),
        "quantity": pl.Float32(),
        "session_id": pl.String(),
    }
    assert log["time"].min().date().isoformat() == "2025-01-01"
    spread = log["time"].dt.ordinal_day().value_counts()["count"]
    assert spread.len() >= SHOP.days
    assert log.group_by("session_id").agg(pl.col("user_id").n_unique())["user_id"].max() == 1


@pytest.mark.usefixtures("small_blocks")
def test_a_block_longer_than_the_block_after_it_still_comes_in_order():
    rushed = SyntheticShop(50, 100, 50_000, seed=2, days=1)
    times = np.concatenate([block.time for block in rushed.blocks()])
    assert (np.diff(times) >= 0).all()
    assert len(times) == 50_000


def test_frames_and_interactions_are_the_same_events():
    log = pl.concat(SHOP.events()).with_columns(
        user=pl.col("user_id").str.slice(1).cast(pl.Int64), item=pl.col("item_id").str.slice(1).cast(pl.Int64)
    )
    by_user = log.sort("user", "time", maintain_order=True)
    direct = SHOP.interactions()
    assert np.array_equal(by_user["item"], direct.item_idx)
    assert np.array_equal(by_user["time"].to_physical(), direct.time)
    assert (direct.n_users, direct.n_items) == (2_000, 1_000)
    catalogue = SHOP.catalogue()
    assert catalogue["item_id"][17] == "i017"
    assert log["price"].equals(catalogue["price"].gather(log["item"]))


def test_the_same_arguments_write_the_same_bytes_and_another_seed_does_not(tmp_path: Path):
    def digest(shop: SyntheticShop, name: str) -> list[str]:
        shop.write(tmp_path / name)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())]

    first = digest(SHOP, "first")
    assert len(first) == 3
    assert first == digest(replace(SHOP), "again")
    assert not set(first) & set(digest(replace(SHOP, seed=2), "other"))
    assert pl.read_parquet(tmp_path / "first" / "events.parquet").equals(pl.concat(SHOP.events()))


def test_reading_half_of_the_log_reads_the_same_first_half():
    long = replace(SHOP, n_events=2 * EVENTS_PER_BLOCK)
    first = next(long.blocks())
    everything = long.interactions()
    assert np.isin(first.time, everything.time).all()
    assert np.array_equal(first.item_idx, next(long.blocks()).item_idx)


def test_memory_does_not_grow_with_the_log(tmp_path: Path):
    """Six times the events in less than 1.15 times the memory, each in a process of its own."""
    program = (
        "import resource, sys; from pathlib import Path; from data.synthetic import SyntheticShop; "
        "SyntheticShop(20_000, 2_000, int(sys.argv[1])).write(Path(sys.argv[2])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    root = Path(data.synthetic.__file__).parents[1]
    peaks = []
    for n_events in (2 * EVENTS_PER_BLOCK, 12 * EVENTS_PER_BLOCK):
        command = [sys.executable, "-c", program, str(n_events), str(tmp_path / str(n_events))]
        peaks.append(int(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < 1.15 * peaks[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_users": 0}, "n_users=0: must be at least 1"),
        ({"n_events": 0}, "n_events=0: must be at least 1"),
        ({"n_items": 19}, "n_items=19: must be at least 20"),
        ({"signal": 1.5}, r"signal=1.5: must be 0..1"),
        ({"signal": float("nan")}, r"signal=nan: must be 0..1"),
        ({"drift": -1.0}, "drift=-1.0: must be at least 0"),
        ({"group_shares": (0.5, 0.4)}, "must be 0..1 each and sum to 1"),
        ({"group_activity": (1.0,)}, "must be one number > 0 per group_shares"),
        ({"change_share": -0.1}, r"change_share=-0.1: must be 0..1"),
    ],
)
def test_arguments_out_of_bounds_are_named(change: dict[str, object], message: str):
    with pytest.raises(DataError, match=message):
        replace(SHOP, **change)
