from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from federation.private_sum.signing import SigningKey
from federation.protocol.request_signing import (
    WINDOW_S,
    RequestChecker,
    SignatureRefused,
    check_answer,
    content_digest,
    digest_header,
    key_id,
    sign_answer,
    sign_request,
)

KEY, OTHER = SigningKey.from_private(bytes(32)), SigningKey.from_private(bytes([1]) * 32)
NOW = 1_800_000_000


@dataclass(frozen=True)
class Asked:
    """What a reader of a request sees."""

    method: str
    path: str
    signature: str | None
    digest: str | None
    now: int = NOW

    def checked(self, checker: RequestChecker) -> bytes:
        return checker.check(self.method, self.path, self.signature, self.digest, self.now)


def asked(key: SigningKey = KEY, body: bytes = b"body", now: int = NOW) -> Asked:
    signed = sign_request(key, "POST", "/v1/batches", body, now)
    return Asked("POST", "/v1/batches", signed.signature, signed.digest)


def test_a_signed_request_names_the_body_it_is_for() -> None:
    found = asked(body=b"some body").checked(RequestChecker(KEY.public))
    assert found == hashlib.sha256(b"some body").digest()
    assert content_digest(b"some body") == digest_header(found)


def flipped(text: str | None, place: int) -> str:
    """The text with one base64 character changed."""
    assert text is not None
    at = len(text) - place
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, method="GET"),
        lambda one: replace(one, path="/v1/rounds"),
        lambda one: replace(one, path="/v1/batches?x=1"),
        lambda one: replace(one, digest=content_digest(b"another body")),
        lambda one: replace(one, digest=None),
        lambda one: replace(one, digest=""),
        lambda one: replace(one, digest=one.digest + " "),
        lambda one: replace(one, signature=None),
        lambda one: replace(one, signature=""),
        lambda one: replace(one, signature=one.signature + "\n"),
        lambda one: replace(one, signature=flipped(one.signature, 10)),
        lambda one: replace(one, signature=one.signature.replace(f".{NOW}.", f".{NOW + 1}.")),
        lambda one: replace(one, signature=one.signature.replace(f".{NOW}.", f".0{NOW}.")),
        lambda one: replace(one, now=NOW + WINDOW_S + 1),
        lambda one: replace(one, now=NOW - WINDOW_S - 1),
    ],
)
def test_a_request_changed_in_anything_is_refused(change: Callable[[Asked], Asked]) -> None:
    with pytest.raises(SignatureRefused):
        change(asked()).checked(RequestChecker(KEY.public))


def test_another_partys_request_is_refused_even_under_our_key_id() -> None:
    with pytest.raises(SignatureRefused, match="not known"):
        asked(OTHER).checked(RequestChecker(KEY.public))
    theirs = asked(OTHER)
    assert theirs.signature is not None
    forged = replace(theirs, signature=theirs.signature.replace(key_id(OTHER.public), key_id(KEY.public)))
    with pytest.raises(SignatureRefused, match="not its own"):
        forged.checked(RequestChecker(KEY.public))


def test_times_within_the_window_are_taken() -> None:
    checker = RequestChecker(KEY.public)
    for skew in (-WINDOW_S, 0, WINDOW_S):
        replace(asked(), now=NOW + skew).checked(checker)


def test_a_request_is_taken_once_and_its_retry_is_signed_anew() -> None:
    checker, first = RequestChecker(KEY.public), asked()
    first.checked(checker)
    with pytest.raises(SignatureRefused, match="nonce"):
        first.checked(checker)
    asked().checked(checker)


def test_no_replay_slips_through_at_the_edge_of_the_window() -> None:
    """Signed by a fast clock, a request stays valid for two windows; it must be remembered as long."""
    checker, early = RequestChecker(KEY.public), asked(now=NOW + WINDOW_S)
    early.checked(checker)
    for later in range(0, 2 * WINDOW_S + 1, 10):
        replace(asked(now=NOW + later), now=NOW + later).checked(checker)
        with pytest.raises(SignatureRefused, match="nonce"):
            replace(early, now=NOW + later).checked(checker)


def test_nonces_are_forgotten_once_no_replay_is_possible() -> None:
    checker = RequestChecker(KEY.public)
    for later in range(0, 3_600, 60):
        replace(asked(now=NOW + later), now=NOW + later).checked(checker)
    assert len(checker._seen) <= 2 * WINDOW_S // 60 + 2


def test_a_refused_request_takes_no_memory() -> None:
    checker = RequestChecker(KEY.public)
    for _ in range(10):
        with pytest.raises(SignatureRefused):
            asked(OTHER).checked(checker)
    assert not checker._seen


def test_an_answer_belongs_to_one_question_one_status_and_one_body() -> None:
    signature = asked().signature
    assert signature is not None
    answer = sign_answer(KEY, signature, 200, b"half")
    check_answer(KEY.public, signature, 200, b"half", answer.signature)
    another = asked().signature
    assert another is not None
    for question, status, body, given in [
        (another, 200, b"half", answer.signature),
        (signature, 201, b"half", answer.signature),
        (signature, 200, b"other half", answer.signature),
        (signature, 200, b"half", flipped(answer.signature, 10)),
        (signature, 200, b"half", None),
        (signature, 200, b"half", "ä"),
        (signature, 200, b"half", sign_answer(OTHER, signature, 200, b"half").signature),
        (signature, 200, b"half", signature),
    ]:
        with pytest.raises(SignatureRefused):
            check_answer(KEY.public, question, status, body, given)


def test_a_request_signature_serves_for_no_task_and_no_answer() -> None:
    """Domains keep the key's uses apart: what signs requests can never be shown as a signed task."""
    signature = asked().signature
    assert signature is not None
    raw = base64.b64decode(signature.rpartition(".")[2])
    with pytest.raises(SignatureRefused):
        check_answer(KEY.public, signature, 200, b"body", base64.b64encode(raw).decode())
