import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.refusals import PlanRefused, SealBroken
from federation.private_sum.sealing import Binding, Opener, Suite, frame_fields, new_round_key, seal
from tests.federation.private_sum import hpke_by_hand

BINDING = Binding(task_hash=bytes(range(32)), report_id=bytes(range(16)), block=3, length=1000)
SUITES = pytest.mark.parametrize("suite", list(Suite))


@SUITES
def test_sealed_seed_opens_with_the_round_key_and_has_the_stated_length(suite):
    key, seed = new_round_key(suite), os.urandom(32)
    sealed = seal(seed, suite, key.public, BINDING)
    assert Opener.of(key).open(sealed, BINDING) == seed
    assert len(sealed) == suite.sealed_bytes == {Suite.X25519: 80, Suite.HYBRID: 1168, Suite.VERIFIED: 80}[suite]
    assert len(key.public) == suite.public_bytes


@SUITES
@pytest.mark.parametrize("change", [{"task_hash": bytes(32)}, {"report_id": bytes(16)}, {"block": 4}, {"length": 999}])
def test_seed_does_not_open_for_another_task_report_block_or_length(suite, change):
    key = new_round_key(suite)
    sealed = seal(bytes(32), suite, key.public, BINDING)
    with pytest.raises(SealBroken, match="does not open"):
        Opener.of(key).open(sealed, replace(BINDING, **change))


@SUITES
@pytest.mark.parametrize("at", [0, 16, 32, -17, -1])
def test_seed_with_any_byte_changed_does_not_open(suite, at):
    key = new_round_key(suite)
    sealed = bytearray(seal(bytes(32), suite, key.public, BINDING))
    sealed[at] ^= 1
    with pytest.raises(SealBroken):
        Opener.of(key).open(bytes(sealed), BINDING)


@SUITES
def test_seed_does_not_open_with_another_rounds_key_nor_cut_short(suite):
    key = new_round_key(suite)
    sealed = seal(bytes(32), suite, key.public, BINDING)
    with pytest.raises(SealBroken):
        Opener.of(new_round_key(suite)).open(sealed, BINDING)
    for wrong in (b"", sealed[:-1], sealed + b"\0"):
        with pytest.raises(SealBroken, match="must be"):
            Opener.of(key).open(wrong, BINDING)


@SUITES
def test_bytes_that_are_no_public_key_are_refused(suite):
    for wrong in (b"", bytes(31), bytes(suite.public_bytes)):
        with pytest.raises(PlanRefused):
            seal(bytes(32), suite, wrong, BINDING)


def test_sealing_is_hpke_as_the_rfc_has_it():
    key, seed, info = new_round_key(Suite.X25519), os.urandom(32), BINDING.info
    by_library = seal(seed, Suite.X25519, key.public, BINDING)
    by_hand = hpke_by_hand.seal(seed, key.public, info, ephemeral=os.urandom(32))
    assert hpke_by_hand.open_sealed(by_library, key.private, info) == seed
    assert Opener.of(key).open(by_hand, BINDING) == seed


def test_hybrid_sealing_is_hpke_over_x_wing():
    key, seed = new_round_key(Suite.HYBRID), os.urandom(32)
    sealed = seal(seed, Suite.HYBRID, key.public, BINDING)
    assert hpke_by_hand.open_hybrid(sealed, key.private, BINDING.info) == seed


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_different_fields_never_read_alike(one, other):
    assert (frame_fields(*one) == frame_fields(*other)) == (one == other)


@given(
    report=st.binary(max_size=40).filter(lambda b: len(b) != 16),
    task=st.binary(max_size=40).filter(lambda b: len(b) != 32),
)
def test_binding_of_other_lengths_does_not_exist(report, task):
    with pytest.raises(ValueError, match="report_id"):
        Binding(bytes(32), report, 0, 1)
    with pytest.raises(ValueError, match="task_hash"):
        Binding(task, bytes(16), 0, 1)


@SUITES
def test_private_keys_are_not_printed(suite):
    key = new_round_key(suite)
    assert repr(key.private)[2:-1] not in repr(key)
    assert "private_key" not in repr(Opener.of(key))


def test_a_verified_seed_opens_with_the_commitments_of_its_own_report_only():
    key, committed = new_round_key(Suite.VERIFIED), replace(BINDING, commitments=bytes(range(64)))
    sealed = seal(bytes(32), Suite.VERIFIED, key.public, committed)
    assert Opener.of(key).open(sealed, committed) == bytes(32)
    for other in (b"", bytes(64)):
        with pytest.raises(SealBroken, match="does not open"):
            Opener.of(key).open(sealed, replace(committed, commitments=other))
