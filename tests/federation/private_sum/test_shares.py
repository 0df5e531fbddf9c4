import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from federation.private_sum.shares import combine, expand, service_share


def by_blocks(seed: bytes, length: int) -> list[int]:
    """The stream as its definition says: AES of 0, 1, 2, … as big-endian counters, cut into little-endian words."""
    aes = Cipher(AES256(seed), ECB()).encryptor()
    stream = b"".join(aes.update(i.to_bytes(16, "big")) for i in range(length // 4 + 1))
    return [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(length)]


@given(seed=st.binary(min_size=32, max_size=32), length=st.integers(1, 600))
def test_stream_is_aes_of_a_counter(seed, length):
    assert expand(seed, length).tolist() == by_blocks(seed, length)


def test_stream_of_the_zero_key_starts_as_published():
    # AES-256 of the zero block under the zero key: dc95c078a2408989ad48a21492842087 (NIST CAVP, GFSbox family).
    assert expand(bytes(32), 4).tobytes().hex() == "dc95c078a2408989ad48a21492842087"


@given(
    words=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50),
    seed=st.binary(min_size=32, max_size=32),
)
def test_halves_combine_to_the_vector(words, seed):
    share = np.frombuffer(service_share(np.array(words, dtype=np.uint32), seed), dtype="<u4")
    assert combine(share, expand(seed, len(words))).tolist() == words


@pytest.mark.parametrize("word", [0, 1, 2**32 - 1])
def test_a_share_alone_is_uniform_whatever_it_hides(word):
    share = service_share(np.full(250_000, word, dtype=np.uint32), np.random.default_rng(word).bytes(32))
    counts = np.bincount(np.frombuffer(share, dtype=np.uint8), minlength=256)
    assert 1e-6 < chisquare(counts).pvalue < 1 - 1e-6


def test_the_uniformity_test_would_see_a_vector_that_is_not_hidden():
    small = np.random.default_rng(0).integers(-500, 500, size=250_000).astype(np.int32)
    counts = np.bincount(np.frombuffer(small.tobytes(), dtype=np.uint8), minlength=256)
    assert chisquare(counts).pvalue < 1e-6


def test_a_seed_of_another_length_is_refused():
    with pytest.raises(ValueError, match="must be 32"):
        expand(bytes(16), 4)
