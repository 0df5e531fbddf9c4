from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.exchange import MAX_BATCH_BYTES, MAX_TOKEN_BYTES, Answer, Batch, SealedSeed
from federation.private_sum.plan import MAX_LENGTH
from federation.private_sum.refusals import MalformedBatch
from federation.private_sum.verified.transcript import COMMITMENTS_BYTES

IDS = st.binary(min_size=16, max_size=16)
HASHES = st.binary(min_size=32, max_size=32)
SEEDS = st.builds(SealedSeed, IDS, st.binary(max_size=100))
BLOCKS = st.integers(0, 2**32 - 1)
BATCHES = st.builds(Batch, HASHES, BLOCKS, st.lists(SEEDS, max_size=5).map(tuple))
LISTS = st.lists(IDS, max_size=4).map(tuple)
HALVES = st.integers(0, 9).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
ANSWERS = st.builds(Answer, BLOCKS, HASHES, LISTS, LISTS, HALVES)


@given(BATCHES)
def test_a_batch_survives_the_wire(batch: Batch) -> None:
    assert Batch.from_bytes(batch.to_bytes()) == batch


@given(ANSWERS)
def test_an_answer_survives_the_wire(answer: Answer) -> None:
    assert Answer.from_bytes(answer.to_bytes()) == answer


@given(BATCHES, st.data())
def test_a_batch_cut_anywhere_or_with_a_byte_more_is_refused(batch: Batch, data: st.DataObject) -> None:
    whole = batch.to_bytes()
    for broken in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(MalformedBatch):
            Batch.from_bytes(broken)


@given(ANSWERS, st.data())
def test_an_answer_cut_anywhere_or_with_a_byte_more_is_refused(answer: Answer, data: st.DataObject) -> None:
    whole = answer.to_bytes()
    for broken in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(MalformedBatch):
            Answer.from_bytes(broken)


@given(st.binary(max_size=200))
def test_bytes_are_read_in_their_one_spelling_or_refused(data: bytes) -> None:
    for kind, magic in ((Batch, b"OSB1"), (Answer, b"OSA1")):
        with pytest.raises(MalformedBatch):
            kind.from_bytes(b"?" + data)
        try:
            read = kind.from_bytes(magic + data)
        except MalformedBatch:
            continue
        assert read.to_bytes() == magic + data


def test_the_bytes_are_those_of_the_specification() -> None:
    """docs/wire.md, field by field."""
    batch = Batch(bytes(range(32)), 258, (SealedSeed(b"r" * 16, b"abc", token=b"to"),))
    assert batch.to_bytes() == (
        b"OSB1" + bytes(range(32)) + b"\x02\x01\0\0" + b"\x01\0\0\0" + b"r" * 16 + b"\x03\0\0\0abc" + b"\x02\0\0\0to"
    )
    answer = Answer(1, bytes(32), (b"r" * 16,), (), b"\x01\0\0\0")
    assert answer.to_bytes() == (
        b"OSA1" + b"\x01\0\0\0" + bytes(32) + b"\x01\0\0\0" + b"r" * 16 + b"\0\0\0\0" + b"\x04\0\0\0" + b"\x01\0\0\0"
    )


def test_half_a_word_is_refused() -> None:
    whole = Answer(1, bytes(32), (), (), b"\0" * 4).to_bytes()
    with pytest.raises(MalformedBatch, match="whole words"):
        Answer.from_bytes(whole[:-8] + b"\x03\0\0\0" + b"\0" * 3)


def test_a_sealed_seed_of_absurd_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedBatch, match="sealed_seed length"):
        Batch.from_bytes(Batch(bytes(32), 0, (SealedSeed(bytes(16), bytes(5_000)),)).to_bytes())


def test_the_largest_numbers_of_reports_and_words_are_within_their_bounds_and_one_more_is_not() -> None:
    """Refused by the number itself, before anything is read or held."""
    batch = Batch(bytes(32), 0, ()).to_bytes()[:-4]
    for n, why in ((2**22, "report_id: 16 bytes wanted"), (2**22 + 1, r"reports=4194305: must be 0\.\.4194304")):
        with pytest.raises(MalformedBatch, match=why):
            Batch.from_bytes(batch + n.to_bytes(4, "little"))
    answer = Answer(0, bytes(32), (), (), b"").to_bytes()[:-4]
    for n, why in ((4 * MAX_LENGTH, "half: .* bytes wanted, 0 left"), (4 * MAX_LENGTH + 4, "half length=")):
        with pytest.raises(MalformedBatch, match=why):
            Answer.from_bytes(answer + n.to_bytes(4, "little"))


@pytest.mark.parametrize("seed_bytes", [80, 1168])
@pytest.mark.parametrize("n", [1, 7])
def test_a_batch_of_the_most_reports_fits_and_one_more_does_not(n: int, seed_bytes: int) -> None:
    token = bytes(MAX_TOKEN_BYTES)
    seeds = tuple(SealedSeed(bytes([k]) * 16, bytes(seed_bytes), token=token) for k in range(n))
    size = len(Batch(bytes(32), 0, seeds).to_bytes())
    assert Batch.most_reports(size, seed_bytes) == n
    assert Batch.most_reports(size - 1, seed_bytes) == n - 1
    assert Batch.most_reports(0, seed_bytes) == 0


def test_what_a_service_opened_of_a_proof_is_bounded_before_it_is_read() -> None:
    """Of 256 KiB: far more than any proof's, and far less than what fills a memory."""
    fits = SealedSeed(bytes(16), bytes(80), bytes(COMMITMENTS_BYTES), bytes(2**18))
    batch = Batch(bytes(32), 0, (fits,), verified=True)
    assert Batch.from_bytes(batch.to_bytes()) == batch
    more = SealedSeed(bytes(16), bytes(80), bytes(COMMITMENTS_BYTES), bytes(2**18 + 1))
    with pytest.raises(MalformedBatch, match="opened length=262145"):
        Batch.from_bytes(Batch(bytes(32), 0, (more,), verified=True).to_bytes())


def test_a_custodian_reads_batches_of_128_mib_unless_told_otherwise() -> None:
    assert MAX_BATCH_BYTES == 134_217_728
