"""Fields of known bytes, and a reader that takes exactly what is there."""

from __future__ import annotations

import pytest

from federation.private_sum.encoding import Reader, encode_sized, f64, u8, u32, u64


def reader(data: bytes) -> Reader:
    return Reader(memoryview(data), ValueError)


def test_numbers_are_little_endian_of_their_width() -> None:
    assert u8(7) == b"\x07"
    assert u32(258) == b"\x02\x01\x00\x00"
    assert u64(258) == b"\x02\x01\x00\x00\x00\x00\x00\x00"
    assert f64(1.0) == b"\x00\x00\x00\x00\x00\x00\xf0\x3f"
    assert encode_sized(b"ab") == b"\x02\x00\x00\x00ab"


def test_exactly_what_is_there_can_be_taken_and_not_a_byte_more() -> None:
    at = reader(b"abc")
    assert (at.take("x", 2), at.take("y", 1), at.take("z", 0)) == (b"ab", b"c", b"")
    at.end()
    with pytest.raises(ValueError, match="w: 1 bytes wanted, 0 left"):
        at.take("w", 1)
    with pytest.raises(ValueError, match="x: 4 bytes wanted, 3 left"):
        reader(b"abc").take("x", 4)


def test_a_byte_too_many_is_refused_with_their_number() -> None:
    at = reader(b"abc")
    at.take("x", 1)
    with pytest.raises(ValueError, match="message: 2 bytes too many"):
        at.end()


@pytest.mark.parametrize("value", [3, 9])
def test_bounds_of_a_number_belong_to_it(value: int) -> None:
    assert reader(u8(value)).number("n", 1, 3, 9) == value


@pytest.mark.parametrize("value", [2, 10])
def test_a_number_beyond_its_bounds_is_refused_by_name(value: int) -> None:
    with pytest.raises(ValueError, match=rf"n={value}: must be 3\.\.9"):
        reader(u8(value)).number("n", 1, 3, 9)


def test_reals_and_fields_are_read_back() -> None:
    assert reader(f64(-2.5)).real("x") == -2.5
    assert reader(encode_sized(b"abc")).field("x", 3, 3) == b"abc"
    for low, high in ((4, 9), (0, 2)):
        with pytest.raises(ValueError, match="x length=3"):
            reader(encode_sized(b"abc")).field("x", low, high)


def test_text_is_printable_ascii_without_spaces() -> None:
    assert reader(encode_sized(b"!~")).text("t", 2) == "!~"
    assert reader(encode_sized(b"")).text("t", 0) == ""
    for byte in (b" ", b"\x7f", b"\x00", b"\xc3"):
        with pytest.raises(ValueError, match="t: must be printable ASCII"):
            reader(encode_sized(b"a" + byte)).text("t", 9)
    with pytest.raises(ValueError, match="t length=3"):
        reader(encode_sized(b"abc")).text("t", 2)
