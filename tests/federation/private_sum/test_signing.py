import pytest

from federation.private_sum.signing import SigningKey, is_signed

KEY = SigningKey.from_private(bytes(range(32)))


def test_signature_is_valid_for_its_own_domain_message_and_key_only():
    signature = KEY.sign(b"domain", b"message")
    assert is_signed(KEY.public, b"domain", b"message", signature)
    assert not is_signed(KEY.public, b"domain", b"massage", signature)
    assert not is_signed(KEY.public, b"domai", b"nmessage", signature)
    assert not is_signed(SigningKey.generate().public, b"domain", b"message", signature)


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_changed_signature_is_not_valid(at):
    signature = bytearray(KEY.sign(b"d", b"m"))
    signature[at] ^= 1
    assert not is_signed(KEY.public, b"d", b"m", bytes(signature))


def test_bytes_that_are_no_key_or_no_signature_are_not_valid():
    signature = KEY.sign(b"d", b"m")
    assert not is_signed(b"short", b"d", b"m", signature)
    assert not is_signed(KEY.public, b"d", b"m", b"")


def test_key_is_that_of_the_rfc():
    # RFC 8032, section 7.1, test 1.
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey.from_private(private).public.hex() == public


def test_private_key_is_not_printed():
    assert repr(KEY.private) not in repr(KEY)
