from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.device.vault.sealed_log import (
    BLOCK,
    HEADER_BYTES,
    Position,
    VaultChanged,
    key_check,
    open_records,
    open_snapshot,
    parse_header,
    seal_record,
    seal_snapshot,
)

KEY, OTHER = bytes(range(32)), bytes(32)
NAME = bytes(16)
CONTENT = b"red-shoes-42"


def a_vault(records: list[bytes], key: bytes = KEY, content: bytes = CONTENT) -> tuple[bytes, list[int]]:
    """The bytes of a vault, and where each record ends."""
    blob = seal_snapshot(key, "file", NAME, content)
    _, position = open_snapshot(key, blob)
    ends = [position.offset]
    for record in records:
        sealed, position = seal_record(key, record, position)
        blob += sealed
        ends.append(position.offset)
    assert ends[-1] == len(blob)
    return blob, ends


def read(blob: bytes, key: bytes = KEY) -> tuple[bytes, list[bytes], Position]:
    content, begin = open_snapshot(key, blob)
    return content, *open_records(key, blob[begin.offset :], begin)


@given(st.binary(max_size=9_000), st.lists(st.binary(max_size=900), max_size=6))
@settings(max_examples=50, deadline=None)
def test_what_was_sealed_is_read_in_its_order_and_from_any_position_on(content: bytes, records: list[bytes]) -> None:
    blob, ends = a_vault(records, content=content)
    assert read(blob)[:2] == (content, records)
    for n, end in enumerate(ends):
        _, _, position = read(blob[:end])
        assert open_records(KEY, blob[end:], position)[0] == records[n:]


def test_a_record_shows_no_content_and_its_length_only_to_a_block() -> None:
    blob, ends = a_vault([b"", CONTENT, b"x" * 204, b"x" * 205])
    assert CONTENT not in blob
    assert [later - end for end, later in itertools.pairwise(ends)] == [BLOCK, BLOCK, BLOCK, 2 * BLOCK]
    assert a_vault([CONTENT])[0] != a_vault([CONTENT])[0]


def test_a_last_record_that_a_crash_tore_is_passed_over_wherever_it_was_torn() -> None:
    blob, ends = a_vault([b"first", b"second", b"x" * 300])
    for size in range(ends[2], ends[3]):
        torn = blob[:size]
        assert read(torn)[1] == [b"first", b"second"]
        assert read(torn)[2].offset == ends[2]
        if size % 64 == 0:  # the length is there, and of the content only a part
            assert read(torn.ljust(ends[3], b"\0"))[1] == [b"first", b"second"]


def test_every_changed_byte_of_the_snapshot_and_of_a_record_that_others_follow_is_an_error() -> None:
    blob, ends = a_vault([b"first", b"second", b"third"])
    for at in [*range(HEADER_BYTES + 40), *range(ends[0] - 40, ends[2])]:
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(VaultChanged):
            key_checked(bytes(changed))


def key_checked(blob: bytes) -> None:
    """Read as a vault does, which compares the header's key check first."""
    header = parse_header(blob)
    if header.check != key_check(KEY) or header.key_name != NAME or header.key_store != "file":
        raise VaultChanged("another key")
    read(blob)


def test_a_changed_last_record_costs_that_record_and_no_other() -> None:
    blob, ends = a_vault([b"first", b"second"])
    for at in range(ends[1], ends[2], 7):
        changed = bytearray(blob)
        changed[at] ^= 1
        assert read(bytes(changed))[1] == [b"first"]


def test_records_left_out_moved_repeated_or_of_elsewhere_are_errors() -> None:
    blob, ends = a_vault([b"first", b"second", b"third"])
    snapshot, first, second, third = (blob[start:end] for start, end in zip([0, *ends], ends, strict=False))
    foreign, foreign_ends = a_vault([b"first", b"second", b"third"], OTHER)
    older, older_ends = a_vault([b"first", b"second", b"third"])  # of the same key and content, another snapshot
    for log in (
        first + third,
        second + third,
        third,
        second,
        second + first + third,
        first + first,
        first + second + third + third,
        foreign[foreign_ends[0] : foreign_ends[1]],
        first + foreign[foreign_ends[1] : foreign_ends[2]],
        older[older_ends[0] : older_ends[1]],
        first + second + older[older_ends[2] : older_ends[3]],
    ):
        with pytest.raises(VaultChanged, match="tampered with"):
            read(snapshot + log)
    assert read(snapshot + first + second)[1] == [b"first", b"second"]  # cut off its end: an earlier moment


def test_a_cut_snapshot_and_a_newer_format_are_one_line() -> None:
    blob, ends = a_vault([])
    for size in (0, 10, HEADER_BYTES, ends[0] - 1):
        with pytest.raises(VaultChanged, match="truncated"):
            read(blob[:size])
    newer = bytearray(blob)
    newer[8] = 3
    with pytest.raises(VaultChanged, match="format=3: this version reads formats 1 to 2; use a newer one") as refusal:
        read(bytes(newer))
    assert "\n" not in str(refusal.value)
