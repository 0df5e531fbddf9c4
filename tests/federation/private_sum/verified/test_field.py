import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.verified import field
from federation.private_sum.verified.reference import CubicField

ELEMENT = st.integers(0, field.MODULUS - 1)
EDGES = [0, 1, 2, field.MODULUS // 2, field.MODULUS - 2, field.MODULUS - 1]
K = CubicField()


def test_the_modulus_is_the_prime_it_says():
    p, known = field.MODULUS, (2, 3, 5, 7, 11, 13, 17)  # Miller-Rabin to these bases is exact below 3.4·10¹⁴

    def is_prime(n: int) -> bool:
        odd, twos = n - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in known:
            x = pow(base, odd, n)
            if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
                return False
        return True

    assert is_prime(p)
    step = 3 * 2**22
    larger = range(p + step, 2**40, step)
    assert (p - 1) % step == 0
    assert len(larger) == 3
    assert not any(is_prime(n) for n in larger)
    assert pow(field.CUBE, (p - 1) // 3, p) != 1  # no cube: X³ − 2 has no root in F, and degree 3
    assert pow(field.root_of_unity(2**23), 2**22, p) == p - 1


@pytest.mark.parametrize("a", EDGES)
@pytest.mark.parametrize("b", EDGES)
def test_products_at_the_edges(a: int, b: int):
    assert int(field.multiply(np.array([a], np.uint64), np.array([b], np.uint64))[0]) == a * b % field.MODULUS


@given(st.lists(st.tuples(ELEMENT, ELEMENT), min_size=1, max_size=20))
def test_products_are_those_of_integers(pairs: list[tuple[int, int]]):
    a, b = (np.array(side, dtype=np.uint64) for side in zip(*pairs, strict=True))
    assert field.multiply(a, b).tolist() == [x * y % field.MODULUS for x, y in pairs]
    assert field.subtract(a, b).tolist() == [(x - y) % field.MODULUS for x, y in pairs]


@pytest.mark.parametrize("inner", [1, 3, 8_192, 8_193, 20_000])
def test_matrix_products_are_exact_also_of_the_largest_elements(inner: int):
    a = np.full((2, inner), field.MODULUS - 1, dtype=np.uint64)
    b = np.full((inner, 3), field.MODULUS - 1, dtype=np.uint64)
    assert (field.matmul(a, b) == inner % field.MODULUS).all()  # (−1)·(−1), inner times


def test_matrix_products_are_those_of_integers():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, field.MODULUS, (4, 300), np.uint64), rng.integers(0, field.MODULUS, (300, 5), np.uint64)
    wanted = (a.astype(object) @ b.astype(object)) % field.MODULUS
    assert (field.matmul(a, b).astype(object) == wanted).all()


@given(st.tuples(ELEMENT, ELEMENT, ELEMENT), st.tuples(ELEMENT, ELEMENT, ELEMENT))
def test_the_extension_multiplies_and_inverts_as_the_plain_one(a: tuple[int, int, int], b: tuple[int, int, int]):
    x, y = (np.array([number], dtype=np.uint64) for number in (a, b))
    assert tuple(field.multiply_extended(x, y)[0].tolist()) == K.times(a, b)
    if any(a):
        assert tuple(field.invert_extended(x)[0].tolist()) == K.inverse(a)
        assert K.times(a, K.inverse(a)) == (1, 0, 0)


def test_the_stream_skips_what_is_no_element():
    key = next(
        key for key in (n.to_bytes(32, "little") for n in range(1_000)) if _raw(key, 3_000).max() >= field.MODULUS
    )
    raw = _raw(key, 3_000)
    kept = raw[raw < field.MODULUS]
    assert len(kept) < 3_000
    assert field.stream(key, len(kept)).tolist() == kept.tolist()
    assert field.stream(key, 3_000)[: len(kept)].tolist() == kept.tolist()


def test_bytes_have_one_spelling():
    elements = np.array([0, 1, field.MODULUS - 1], dtype=np.uint64)
    assert field.to_bytes(elements).hex() == "00000000000100000000000080fdff"
    assert field.from_bytes(field.to_bytes(elements)).tolist() == elements.tolist()
    with pytest.raises(ValueError, match="whole elements"):
        field.from_bytes(bytes(6))
    with pytest.raises(ValueError, match="must be below"):
        field.from_bytes(field.MODULUS.to_bytes(5, "little"))


def test_signed_integers_come_back():
    values = np.array([0, 1, -1, 2**31 - 1, -(2**31), field.MODULUS // 2])
    assert field.centred(field.of_integers(values)).tolist() == values.tolist()


def _raw(key: bytes, n: int) -> np.ndarray:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES256
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    data = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(5 * n))
    return np.array([int.from_bytes(data[at : at + 5], "little") for at in range(0, 5 * n, 5)], dtype=np.uint64)
