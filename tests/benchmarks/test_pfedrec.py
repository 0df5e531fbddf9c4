"""The comparison's own PFedRec: right against an obvious version, and wrong exactly where published code is wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.split import Split, leave_last_out
from recsys.evaluation.sampled import evaluate_sampled
from tests.benchmarks.logs import distinct_items
from tests.benchmarks.pfedrec import PFedRec, ScoreTable, draw_samples, local_update, train_pfedrec, untouched

SMALL = PFedRec(dim=8, rounds=60, init=0.1, rate_items=8_000.0)


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_last_out(distinct_items())


def hits(split: Split, **tables: np.ndarray) -> dict[str, float]:
    models = [ScoreTable(name, table) for name, table in tables.items()]
    found = evaluate_sampled(models, split, accept_sampled=True, k=10, bootstrap=2)
    return {name: float(found.column(name, "hit@10").mean()) for name in found.models}


def test_all_clients_at_once_equal_one_client_after_the_other_by_autograd(split: Split):
    config = replace(SMALL, batch=32, rate_items=30.0)
    clients = torch.arange(5, 12)
    log, allowed = split.train, untouched(split.train)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(log.n_items, config.dim, generator=generator)
    w, b = torch.randn(log.n_users, config.dim, generator=generator), torch.randn(log.n_users, generator=generator)
    tables, w_fast, b_fast = table.repeat(len(clients), 1, 1), w.clone(), b.clone()
    local_update(tables, w_fast, b_fast, clients, log, allowed, config, np.random.default_rng(3))

    rng = np.random.default_rng(3)
    row, item, label, _ = draw_samples(log.users(clients.numpy()), allowed[clients.numpy()], config, rng)
    loss = torch.nn.BCEWithLogitsLoss()
    for place, client in enumerate(clients.tolist()):
        own = torch.nn.Parameter(table.clone())
        score = torch.nn.Parameter(w[client].clone())
        bias = torch.nn.Parameter(b[client].clone())
        fit_score = torch.optim.SGD([score, bias], lr=config.rate_score)
        fit_items = torch.optim.SGD([own], lr=config.rate_items)
        mine = row == place
        for items, labels in zip(item[mine].split(config.batch), label[mine].split(config.batch), strict=True):
            for optimizer in (fit_score, fit_items):
                optimizer.zero_grad()
                loss(own[items] @ score + bias, labels).backward()
                optimizer.step()
        torch.testing.assert_close(tables[place], own.detach(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(w_fast[client], score.detach(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(b_fast[client], bias.detach(), atol=1e-4, rtol=1e-4)
    others = torch.ones(log.n_users, dtype=torch.bool)
    others[clients] = False
    assert torch.equal(w_fast[others], w[others])
    assert torch.equal(b_fast[others], b[others])


def test_samples_are_every_positive_once_and_negatives_from_where_they_are_allowed(split: Split):
    log, allowed = split.train, untouched(split.train)
    row, item, label, place = (np.asarray(x) for x in draw_samples(log, allowed, SMALL, np.random.default_rng(0)))
    positive = label == 1
    assert sorted(zip(row[positive], item[positive], strict=True)) == sorted(
        zip(log.user_idx, log.item_idx, strict=True)
    )
    assert (~positive).sum() == SMALL.n_negatives * log.n_events
    assert allowed[row[~positive], item[~positive]].all()
    for user in (0, 1, log.n_users - 1):
        assert sorted(place[row == user]) == list(range(5 * log.counts[user]))
    touched = np.bincount(item[~positive], minlength=log.n_items)
    assert touched.min() > 0


def test_negatives_that_avoid_the_test_item_make_a_model_without_federation_look_perfect(split: Split):
    leaky, honest = untouched(split.train, split.test), untouched(split.train)
    flattered, _ = train_pfedrec(split.train, leaky, SMALL, 0, federated=False)
    alone, _ = train_pfedrec(split.train, honest, SMALL, 0, federated=False)
    found = hits(split, flattered=flattered, alone=alone)
    chance, sigma = 0.1, np.sqrt(0.1 * 0.9 / split.test.n_events)
    assert found["flattered"] > 0.9
    assert found["alone"] < chance + 4 * sigma


def test_federation_learns_more_than_popularity_without_the_leak_and_looks_better_with_it(split: Split):
    own, served = train_pfedrec(split.train, untouched(split.train), SMALL, 0)
    leaky_own, _ = train_pfedrec(split.train, untouched(split.train, split.test), SMALL, 0)
    found = hits(split, own=own, served=served, leaky_own=leaky_own)
    assert found["served"] > 1.3 * found["popularity"]
    assert found["leaky_own"] > found["own"] + 0.1


def test_the_same_seed_gives_the_same_scores(split: Split):
    config, allowed = replace(SMALL, rounds=2), untouched(split.train)
    first, again, other = (train_pfedrec(split.train, allowed, config, seed) for seed in (0, 0, 1))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.allclose(first[1], other[1])


def test_a_user_who_has_everything_is_named(split: Split):
    allowed = untouched(split.train)
    allowed[4] = False
    with pytest.raises(DataError, match="user 4 has no item to draw negatives from"):
        train_pfedrec(split.train, allowed, SMALL, 0)
