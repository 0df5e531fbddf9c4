"""HPKE held to RFC 9180 (A.1.1), encapsulation to RFC 9458 (appendix A), binary HTTP to RFC 9292 (section 5)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hpke as single_shot
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.oblivious.binary_http import BinaryAnswer, BinaryHttpRefused, BinaryRequest, integer
from federation.protocol.oblivious.encapsulation import (
    GatewayKey,
    KeyConfig,
    ObliviousRefused,
    keys_to_bytes,
    open_answer,
    seal_answer,
    seal_request,
)
from federation.protocol.oblivious.hpke import HpkeRefused, setup_receiver, setup_sender

OF_9180 = {
    "info": "4f6465206f6e2061204772656369616e2055726e",
    "skEm": "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
    "pkEm": "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    "skRm": "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
    "pkRm": "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
    "key": "4531685d41d65f03dc48f6b8302c05b0",
    "base_nonce": "56d890e5accaaf011cff4b7d",
    "exporter_secret": "45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8",
    "pt": "4265617574792069732074727574682c20747275746820626561757479",
    "aad": "436f756e742d30",
    "ct": "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
}
EXPORTS = {
    "": "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee",
    "00": "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5",
    "54657374436f6e74657874": "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931",
}
OF_9458 = {
    "skR": "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a",
    "config": "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003",
    "request": "00034745540568747470730b6578616d706c652e636f6d012f",
    "skE": "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73",
    "sealed": "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472"
    "6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525",
    "answer": "0140c8",
    "nonce": "c789e7151fcba46158ca84b04464910d",
    "sealed_answer": "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd",
}
RAW = {name: bytes.fromhex(text) for name, text in (OF_9180 | OF_9458).items()}
GATEWAY = GatewayKey(bytes(range(32)), 7)


def test_hpke_gives_the_bytes_of_rfc_9180() -> None:
    sender = setup_sender(RAW["pkRm"], RAW["info"], RAW["skEm"])
    assert sender.enc == RAW["pkEm"]
    receiver = setup_receiver(RAW["pkEm"], RAW["skRm"], RAW["info"])
    assert sender == receiver
    assert (sender.key, sender.base_nonce, sender.exporter_secret) == (
        RAW["key"],
        RAW["base_nonce"],
        RAW["exporter_secret"],
    )
    assert sender.seal(RAW["pt"], RAW["aad"]) == RAW["ct"]
    assert receiver.open(RAW["ct"], RAW["aad"]) == RAW["pt"]
    for label, secret in EXPORTS.items():
        assert sender.export(bytes.fromhex(label), 32).hex() == secret


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_another_hpke_opens_what_ours_seals(message: bytes, info: bytes) -> None:
    private = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    sender = setup_sender(private.public_key().public_bytes_raw(), info)
    suite = single_shot.Suite(single_shot.KEM.X25519, single_shot.KDF.HKDF_SHA256, single_shot.AEAD.AES_128_GCM)
    assert suite.decrypt(sender.enc + sender.seal(message), private, info) == message


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31)])
def test_a_key_that_is_none_or_of_small_order_is_refused(public: bytes) -> None:
    with pytest.raises(HpkeRefused):
        setup_sender(public, b"")
    with pytest.raises(HpkeRefused):
        setup_receiver(public, bytes(range(32)), b"")


def test_encapsulation_gives_the_bytes_of_rfc_9458() -> None:
    config = KeyConfig.from_bytes(RAW["config"])
    gateway = GatewayKey(RAW["skR"], 1)
    assert gateway.config == config
    sealed, ours = seal_request(RAW["request"], config, RAW["skE"])
    assert sealed == RAW["sealed"]
    message, theirs = gateway.open_request(sealed)
    assert message == RAW["request"]
    assert seal_answer(RAW["answer"], theirs, RAW["nonce"]) == RAW["sealed_answer"]
    assert open_answer(RAW["sealed_answer"], ours) == RAW["answer"]
    request = BinaryRequest.from_bytes(message)
    assert request == BinaryRequest(b"GET", b"https", b"example.com", b"/")
    assert BinaryAnswer.from_bytes(RAW["answer"]) == BinaryAnswer(200)


def test_a_configuration_reads_back_and_its_list_has_lengths() -> None:
    config = GATEWAY.config
    assert KeyConfig.from_bytes(config.to_bytes()) == config
    assert keys_to_bytes((config, config)) == 2 * (b"\0\x29" + config.to_bytes())


@pytest.mark.parametrize("cut", [0, 1, 3, 34, 35, 37, 40])
def test_a_configuration_that_is_cut_or_of_another_suite_is_refused(cut: int) -> None:
    whole = GATEWAY.config.to_bytes()
    for bad in (whole[:cut], whole + b"x" * (cut + 1), whole[:1] + b"\0\x10" + whole[3:], whole[:-1] + b"\3"):
        with pytest.raises(ObliviousRefused):
            KeyConfig.from_bytes(bad)


def test_a_changed_byte_opens_nothing() -> None:
    sealed, ours = seal_request(b"question", GATEWAY.config)
    _, theirs = GATEWAY.open_request(sealed)
    answer = seal_answer(b"answer", theirs)
    for at in range(len(sealed)):
        with pytest.raises(ObliviousRefused):
            GATEWAY.open_request(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
    for at in range(len(answer)):
        with pytest.raises(ObliviousRefused):
            open_answer(answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :], ours)
    for cut in range(len(answer)):
        with pytest.raises(ObliviousRefused):
            open_answer(answer[:cut], ours)


def test_answers_to_two_questions_are_not_exchanged() -> None:
    (first, ours), (second, _) = (seal_request(b"question", GATEWAY.config) for _ in range(2))
    assert first != second
    _, theirs = GATEWAY.open_request(second)
    with pytest.raises(ObliviousRefused):
        open_answer(seal_answer(b"answer", theirs), ours)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).map(str.encode)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=100)), max_size=9).map(tuple)


@given(HEADERS, st.binary(max_size=20_000), st.integers(200, 599), st.integers(0, 9))
def test_messages_read_back_padded_or_not(
    headers: tuple[tuple[bytes, bytes], ...], content: bytes, status: int, zeros: int
) -> None:
    request = BinaryRequest(b"POST", b"https", b"shop.test", b"/path?x=1", headers, content)
    assert BinaryRequest.from_bytes(request.to_bytes() + bytes(zeros)) == request
    answer = BinaryAnswer(status, headers, content)
    assert BinaryAnswer.from_bytes(answer.to_bytes() + bytes(zeros)) == answer


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for kind in (BinaryRequest, BinaryAnswer):
        try:
            kind.from_bytes(data)
        except BinaryHttpRefused:
            continue


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(37, "25"), (15_293, "7bbd"), (494_878_333, "9d7f3e7d"), (151_288_809_941_952_652, "c2197c5eff14e88c")],
)
def test_integers_are_those_of_rfc_9000(value: int, encoded: str) -> None:
    assert integer(value).hex() == encoded
