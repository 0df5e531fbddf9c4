from __future__ import annotations

import hashlib
import hmac
import json
import subprocess

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from data.errors import DataError
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition_file import to_dict
from recsys.experiments.device.assignment import Assignment, arm_of, assign, bucket, unit_secret
from tests.recsys.experiments.an_experiment import START, an_experiment
from tests.vectors.assignment import FILE, LINES, SHOWN, lines, made

SECRETS = [hashlib.sha256(f"secret {i}".encode()).digest() for i in range(20_000)]
TWO = (Arm("a"), Arm("b"))


def test_the_vectors_are_those_of_the_file() -> None:
    assert made() == json.loads(FILE.read_text())


def test_a_browsers_webcrypto_finds_the_same() -> None:
    """Lines of every layer and experiment of the vectors, and whole assignments, by docs/experiments.mjs."""
    experiment = an_experiment(holdout_share=0.05, layer={"name": "cafe", "start": 2_000, "stop": 9_000})
    weighted = an_experiment(arms=[{"name": "global", "weight": 3}, {"name": "personal", "weight": 5}])
    asked = [(one, secret) for one in (experiment, weighted) for secret in SECRETS[:500]]
    program = ["node", str(FILE.with_suffix(".mjs")), str(LINES), str(LINES // SHOWN), "-"]
    definitions = json.dumps([[to_dict(one), secret.hex()] for one, secret in asked])
    run = subprocess.run(program, input=definitions.encode(), capture_output=True, check=True, timeout=60)
    found = json.loads(run.stdout)
    assert found["lines"] == list(lines(LINES, LINES // SHOWN))
    assert found["assigned"] == [
        {"arm": made.arm, "heldOut": made.held_out} for made in (assign(one, secret) for one, secret in asked)
    ]
    arms = [one["arm"] for one in found["assigned"]]
    assert {arms.count(arm) > 50 for arm in (None, "global", "personal")} == {True}


def test_a_bucket_is_what_the_specification_says() -> None:
    message = b"\x00\x16ownshelf/assignment/v1" + b"\x00\x05layer" + b"\x00\x05caf\xc3\xa9"
    digest = hmac.new(SECRETS[0], message, hashlib.sha256).digest()
    assert bucket(SECRETS[0], "layer", "café", 10_000) == int.from_bytes(digest[:4], "big") * 10_000 // 2**32


def test_buckets_are_uniform() -> None:
    counts = np.bincount([bucket(secret, "layer", "home", 100) for secret in SECRETS], minlength=100)
    assert chisquare(counts).pvalue > 1e-4
    leaning = counts + np.where(np.arange(100) < 50, 12, -12)  # the test sees 53 to 47 halves
    assert chisquare(leaning).pvalue < 1e-4


def test_arms_get_their_weights() -> None:
    arms = (Arm("a", 1), Arm("b", 2), Arm("c", 7))
    names = [arm_of(secret, "weighted", arms).name for secret in SECRETS]
    counts = [names.count(name) for name in "abc"]
    assert chisquare(counts, [2_000, 4_000, 14_000]).pvalue > 1e-4
    assert chisquare(counts, [2_200, 4_000, 13_800]).pvalue < 1e-4  # a tenth more of the smallest arm would show


def test_experiments_are_pairwise_independent_of_each_other_and_of_their_layer() -> None:
    draws = {f"arm {name}": [bucket(s, "arm", name, 2) for s in SECRETS] for name in ("one", "two", "three")}
    draws |= {f"{what} home": [bucket(s, what, "home", 2) for s in SECRETS] for what in ("layer", "holdout")}
    names = sorted(draws)
    for i, x in enumerate(names):
        for y in names[:i]:
            table = np.zeros((2, 2))
            np.add.at(table, (draws[x], draws[y]), 1)
            assert chi2_contingency(table).pvalue > 1e-5, (x, y)
            follows = table + 250 * np.array([[1, -1], [-1, 1]])  # agreeing in 55 % instead of half would show
            assert chi2_contingency(follows).pvalue < 1e-4


def test_assignment_sticks_through_amendments() -> None:
    before = an_experiment(layer={"name": "home", "start": 0, "stop": 5_000})
    after = an_experiment(version=2, ends_at=START + 30 * 86_400, layer={"name": "home", "start": 0, "stop": 6_000})
    for secret in SECRETS[:2_000]:
        first, second = assign(before, secret), assign(after, secret)
        assert first == second or first.arm is None
    share = np.mean([assign(before, secret).arm is not None for secret in SECRETS])
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(len(SECRETS))


def test_layers_exclude_each_other_and_a_holdout_excludes_all() -> None:
    one = an_experiment(id="one", layer={"name": "home", "stop": 5_000}, holdout_share=0.1)
    two = an_experiment(id="two", layer={"name": "home", "start": 5_000}, holdout_share=0.1)
    found = [(assign(one, secret), assign(two, secret)) for secret in SECRETS]
    assert all((a.arm is None) or (b.arm is None) for a, b in found)
    assert all(a.held_out == b.held_out for a, b in found)
    held = [a.held_out for a, _ in found]
    assert abs(np.mean(held) - 0.1) < 5 * np.sqrt(0.09 / len(SECRETS))
    assert all((a.arm is None) != (b.arm is None) for a, b in found if not a.held_out)
    assert Assignment(None, held_out=True) in [a for a, _ in found]


def test_a_backends_unit_has_the_same_function_under_its_own_key() -> None:
    key, other = bytes(range(32)), bytes(32)
    experiment = an_experiment()
    arms = [assign(experiment, unit_secret(key, f"user-{i}")).arm for i in range(2_000)]
    assert arms == [assign(experiment, unit_secret(key, f"user-{i}")).arm for i in range(2_000)]
    elsewhere = [assign(experiment, unit_secret(other, f"user-{i}")).arm for i in range(2_000)]
    agree = np.mean([a == b for a, b in zip(arms, elsewhere, strict=True)])
    assert abs(agree - 0.5) < 0.06  # keys of two apps assign independently


def test_a_wrong_key_is_refused() -> None:
    with pytest.raises(DataError, match="secret of 31 bytes: must be 32"):
        bucket(bytes(31), "arm", "x", 2)
    with pytest.raises(DataError, match="app_key of 8 bytes: must be 32 or more"):
        unit_secret(b"password", "u")
    with pytest.raises(DataError, match=r"unit_id of 0 bytes: must be 1\.\.256"):
        unit_secret(bytes(32), "")
    with pytest.raises(DataError, match=r"buckets=0: must be 1\.\."):
        bucket(bytes(32), "arm", "x", 0)
