from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import (
    EMPTY_ROOT,
    LogHead,
    LogRefused,
    check_consistency,
    check_inclusion,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    root_of,
)

SIZES = range(66)
LEAVES = [leaf_hash(bytes([n])) for n in SIZES]
KEY = SigningKey.from_private(bytes(range(32)))


def naive_root(leaves: list[bytes]) -> bytes:
    """The tree level by level: pairs are joined, an odd one goes up as it is. RFC 6962's tree is the same one."""
    if not leaves:
        return hashlib.sha256().digest()
    while len(leaves) > 1:
        pairs = [leaves[i : i + 2] for i in range(0, len(leaves), 2)]
        leaves = [hashlib.sha256(b"\1" + pair[0] + pair[1]).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return leaves[0]


def inclusion_by_rfc_9162(leaf: bytes, index: int, size: int, root: bytes, proof: tuple[bytes, ...]) -> bool:
    """Section 2.1.3.2, step by step: another way to check the same proof."""
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\1" + p + r).digest()
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def consistency_by_rfc_9162(old: int, old_root: bytes, size: int, root: bytes, proof: tuple[bytes, ...]) -> bool:
    """Section 2.1.4.2, step by step, for 0 < old < size."""
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = hashlib.sha256(b"\1" + c + fr).digest(), hashlib.sha256(b"\1" + c + sr).digest()
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\1" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (fr, sr) == (old_root, root)


def test_hashes_are_those_of_rfc_6962():
    # The test tree of Certificate Transparency's own code: entries "", 00, 10, 2021, 3031, 40414243, 5051…57, 60…6f.
    entries = [bytes.fromhex(text) for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )]  # fmt: skip
    leaves = [leaf_hash(entry) for entry in entries]
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_those_of_the_tree_built_level_by_level(size: int):
    assert root_of(LEAVES[:size]) == naive_root(LEAVES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_every_entry_of_every_size_is_proved_included_and_nowhere_else(size: int):
    root = naive_root(LEAVES[:size])
    for index in range(size):
        proof = prove_inclusion(LEAVES[:size], index)
        assert len(proof) <= size.bit_length()
        check_inclusion(LEAVES[index], index, size, root, proof)
        assert inclusion_by_rfc_9162(LEAVES[index], index, size, root, proof)
        wrong = [
            (leaf_hash(b"another"), index, size, root, proof),
            (LEAVES[index], index, size, EMPTY_ROOT, proof),
            (LEAVES[index], index, size, root, (*proof, EMPTY_ROOT)),
            (LEAVES[index], (index + 1) % size, size, root, proof),
            *[(LEAVES[index], index, size, root, proof[:-1])] * bool(proof),
        ]
        for case in wrong[: None if size > 1 else 3]:
            with pytest.raises(LogRefused):
                check_inclusion(*case)
    for index in (-1, size):
        with pytest.raises(LogRefused, match="index="):
            prove_inclusion(LEAVES[:size], index)
        with pytest.raises(LogRefused, match="index="):
            check_inclusion(LEAVES[0], index, size, root, ())


@pytest.mark.parametrize("size", SIZES)
def test_every_earlier_size_is_proved_consistent_and_no_other_log_is(size: int):
    root = naive_root(LEAVES[:size])
    for old in range(size + 1):
        old_root, proof = naive_root(LEAVES[:old]), prove_consistency(LEAVES[:size], old)
        check_consistency(old, old_root, size, root, proof)
        if 0 < old < size:
            assert consistency_by_rfc_9162(old, old_root, size, root, proof)
            for i in range(len(proof)):
                with pytest.raises(LogRefused):
                    check_consistency(old, old_root, size, root, proof[:i] + proof[i + 1 :])
        forked = naive_root([*LEAVES[: max(old - 1, 0)], leaf_hash(b"for one victim")])
        with pytest.raises(LogRefused):
            check_consistency(max(old, 1), forked, max(size, 1), root, proof)
        with pytest.raises(LogRefused):
            check_consistency(old, old_root, size, root, (*proof, EMPTY_ROOT))
    with pytest.raises(LogRefused, match="is shorter"):
        check_consistency(size + 1, root, size, root, ())
    with pytest.raises(LogRefused, match="old size="):
        prove_consistency(LEAVES[:size], size + 1)


def test_a_head_is_its_custodians_own():
    head = LogHead(3, root_of(LEAVES[:3]), 1_800_000_000).signed_by(KEY)
    assert LogHead.from_bytes(head.to_bytes()) == head
    head.check(KEY.public)
    for other in (
        replace(head, size=4),
        replace(head, root=EMPTY_ROOT),
        replace(head, at=0),
        replace(head, signature=b""),
    ):
        with pytest.raises(LogRefused, match="is not signed"):
            other.check(KEY.public)
    with pytest.raises(LogRefused, match="is not signed"):
        head.check(SigningKey.generate().public)


@given(st.binary(max_size=130))
def test_bytes_are_a_head_in_one_spelling_or_refused(data: bytes):
    try:
        head = LogHead.from_bytes(data)
    except LogRefused:
        return
    assert head.to_bytes() == data
