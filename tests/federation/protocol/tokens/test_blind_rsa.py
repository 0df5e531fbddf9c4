"""Blind RSA held to RFC 9474, appendix A.3, and RFC 9578, appendix B.2; and to what it must refuse."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.protocol.tokens.blind_rsa import (
    EXPONENT,
    BlindingRefused,
    BlindSigner,
    blind,
    encode_pss,
    finalize,
    verify,
)
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.protocol.tokens.report_token import ReportToken, challenge, challenge_digest
from tests.federation.protocol.tokens.some_issuer import rsa_key

HERE = Path(__file__).parent
OF_9474 = json.loads((HERE / "rfc9474_a3.json").read_text())
OF_9578 = {name: bytes.fromhex(text) for name, text in json.loads((HERE / "rfc9578_b2.json").read_text()).items()}
KEY = rsa_key(0)
SIGNER = BlindSigner.of(KEY)
N = SIGNER.modulus


def key_of_primes(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, d, *parts, public).private_key()


def test_every_step_gives_the_bytes_of_rfc_9474() -> None:
    raw = {name: bytes.fromhex(text) for name, text in OF_9474.items()}
    key = key_of_primes(int.from_bytes(raw["p"]), int.from_bytes(raw["q"]))
    modulus = key.private_numbers().public_numbers.n
    assert encode_pss(raw["msg"], modulus.bit_length() - 1, raw["salt"]) == raw["encoded_msg"]
    factor = pow(int.from_bytes(raw["inv"]), -1, modulus)
    blinding = blind(modulus, raw["msg"], raw["salt"], factor)
    assert blinding.blinded == raw["blinded_msg"]
    assert BlindSigner.of(key).sign(blinding.blinded) == raw["blind_sig"]
    assert finalize(modulus, blinding, raw["blind_sig"]) == raw["sig"]


def test_every_step_gives_the_bytes_of_rfc_9578() -> None:
    private = load_pem_private_key(OF_9578["skS"], None)
    assert isinstance(private, rsa.RSAPrivateKey)
    key = IssuerKey("shop", "key", 0, 1, private.private_numbers().public_numbers.n)
    assert key.spki == OF_9578["pkS"]
    assert challenge("issuer.example", OF_9578["redemption_context"], "origin.example") == OF_9578["token_challenge"]
    token = ReportToken.from_bytes(OF_9578["token"])
    assert token.to_bytes() == OF_9578["token"]
    assert (token.nonce, token.token_key_id) == (OF_9578["nonce"], key.token_key_id)
    factor = int.from_bytes(OF_9578["blind"])
    blinding = blind(key.modulus, token.signed_bytes, OF_9578["salt"], factor)
    assert OF_9578["token_request"] == b"\0\2" + key.token_key_id[-1:] + blinding.blinded
    assert BlindSigner.of(private).sign(blinding.blinded) == OF_9578["token_response"]
    assert finalize(key.modulus, blinding, OF_9578["token_response"]) == token.authenticator


def test_the_challenge_of_a_round_holds_its_app_and_task() -> None:
    digests = {challenge_digest(app, task) for app in ("shop", "other") for task in (bytes(32), bytes([1] * 32))}
    assert len(digests) == 4


@settings(max_examples=10, deadline=None)
@given(st.binary(max_size=200))
def test_what_was_blinded_is_signed(message: bytes) -> None:
    blinding = blind(N, message)
    signature = finalize(N, blinding, SIGNER.sign(blinding.blinded))
    assert verify(KEY.public_key(), message, signature)
    assert not verify(KEY.public_key(), message + b"!", signature)


def test_the_issuer_sees_something_else_each_time() -> None:
    first, second = blind(N, b"message"), blind(N, b"message")
    assert first.blinded != second.blinded
    signatures = [finalize(N, blinding, SIGNER.sign(blinding.blinded)) for blinding in (first, second)]
    assert signatures[0] != signatures[1]


def test_any_token_goes_with_any_request() -> None:
    """For each pair there is exactly one factor, so that a request says nothing of which token came of it."""
    salt = bytes(48)
    encoded = [int.from_bytes(encode_pss(message, N.bit_length() - 1, salt)) for message in (b"one", b"two")]
    request = blind(N, b"one", salt)
    private = KEY.private_numbers()
    factor = pow(int.from_bytes(request.blinded) * pow(encoded[1], -1, N), private.d, N)
    assert blind(N, b"two", salt, factor).blinded == request.blinded


@pytest.mark.parametrize("number", [0, 1, N - 1, N, N + 1, 2**2048 - 1], ids=["0", "1", "n-1", "n", "n+1", "most"])
def test_a_number_that_is_no_blinded_message_is_not_signed(number: int) -> None:
    with pytest.raises(BlindingRefused):
        SIGNER.sign(number.to_bytes(256))


@pytest.mark.parametrize(
    "blinded",
    [b"", b"\2", bytes(255) + b"\2" + b"\0", b"\0" + blind(N, b"x").blinded],
    ids=["none", "one", "257", "zero first"],
)
def test_a_blinded_message_of_another_length_is_not_signed(blinded: bytes) -> None:
    with pytest.raises(BlindingRefused):
        SIGNER.sign(blinded)


@pytest.mark.parametrize("number", [0, 1, 2, N - 1, N, N + 5], ids=["0", "1", "2", "n-1", "n", "n+5"])
def test_a_blind_signature_that_is_none_gives_no_token(number: int) -> None:
    with pytest.raises(BlindingRefused):
        finalize(N, blind(N, b"x"), number.to_bytes(256))


def test_a_blind_signature_of_another_key_gives_no_token() -> None:
    blinding = blind(N, b"x")
    other = BlindSigner.of(rsa_key(1))
    number = int.from_bytes(blinding.blinded) % other.modulus
    with pytest.raises(BlindingRefused):
        finalize(N, blinding, other.sign(number.to_bytes(256)))


def test_a_fault_in_the_private_operation_does_not_get_out() -> None:
    numbers = KEY.private_numbers()
    faulty = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 2, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    )
    with pytest.raises(BlindingRefused, match="wrongly"):
        BlindSigner(faulty).sign(blind(N, b"x").blinded)
