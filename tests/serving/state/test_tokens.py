from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.signing import SigningKey
from federation.protocol.messages import MAX_TOKEN_BYTES
from federation.service.intake.report_refusals import TokenInvalid
from serving.state.tokens import CLAIMS, SCOPE, SignedTokens

NOW = 1_800_000_000
KEY = SigningKey.from_private(bytes(range(32)))
TOKENS = SignedTokens(KEY, lifetime_s=600)
SERIAL = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
GOOD: dict[str, Any] = {"jti": SERIAL, "exp": NOW + 60, "iss": "shop", "scope": SCOPE}


def signed(claims: dict[str, Any], key: bytes = KEY.private, algorithm: str = "EdDSA") -> bytes:
    return jwt.encode(claims, Ed25519PrivateKey.from_private_bytes(key), algorithm).encode()


def refused(token: bytes, now: int = NOW) -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.check(token, now)


def test_a_token_is_good_until_it_expires() -> None:
    (token,) = TOKENS.mint("shop", 1, NOW)
    assert TOKENS.check(token, NOW).issuer == "shop"
    assert TOKENS.check(token, NOW + 599) == TOKENS.check(token, NOW)
    refused(token, NOW + 600)


def test_tokens_have_serials_of_their_own_and_tell_nobody_apart() -> None:
    tokens = TOKENS.mint("shop", 50, NOW)
    assert len({TOKENS.check(token, NOW).serial for token in tokens}) == 50
    for token in tokens:
        claims = json.loads(base64.urlsafe_b64decode(token.split(b".")[1] + b"=="))
        assert set(claims) == {"jti", "exp", "iss", "scope"} == CLAIMS
        assert len(base64.urlsafe_b64decode(claims["jti"] + "==")) == 16
    without_serials = {
        json.dumps({**jwt.decode(token, options={"verify_signature": False}), "jti": ""}, sort_keys=True)
        for token in tokens
    }
    assert len(without_serials) == 1


def test_a_token_leaves_room_for_the_rest_of_a_kilobyte() -> None:
    (token,) = TOKENS.mint("x" * 48, 1, NOW)
    assert len(token) < 400 < MAX_TOKEN_BYTES


def test_a_forged_token_is_refused() -> None:
    assert TOKENS.check(signed(GOOD), NOW).serial == bytes(16)
    refused(signed(GOOD, key=bytes(32)))
    refused(jwt.encode(GOOD, KEY.public * 2, "HS256").encode())
    refused(jwt.encode(GOOD, None, "none").encode())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_token_without_a_claim_is_refused(name: str) -> None:
    refused(signed({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "user-17"},
        {"scope": "everything"},
        {"jti": "short"},
        {"jti": "!" * 22},
        {"jti": 7},
        {"exp": "soon"},
        {"exp": NOW},
        {"exp": -1},
        {"iss": 7},
        {"iss": ""},
        {"exp": None},
    ],
)
def test_a_token_with_other_claims_is_refused(changes: dict[str, Any]) -> None:
    try:
        token = signed(GOOD | changes)
    except TypeError:  # not a token at all
        token = b""
    refused(token)


@given(st.binary(max_size=700))
def test_bytes_that_are_no_token_are_refused(content: bytes) -> None:
    refused(content)


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    token = bytearray(signed(GOOD))
    place = data.draw(
        st.integers(0, len(token) - 2)
    )  # the last letter holds four bits that are no part of the signature
    letter = data.draw(st.sampled_from(b"ABCabc012-_."))
    if token[place] != letter:
        token[place] = letter
        refused(bytes(token))
