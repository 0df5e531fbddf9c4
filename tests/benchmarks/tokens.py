"""What a blind token costs: bytes, and CPU of the device, the issuer and of whoever checks it."""

from __future__ import annotations

from typing import Any

from federation.custodian.policy import CustodianPolicy, open_round
from federation.private_sum.signing import SigningKey
from federation.protocol.tokens.blind_rsa import BlindSigner
from federation.protocol.tokens.report_token import TOKEN_BYTES, TokenRequest, check_token
from federation.service.tokens.issuer import generate_key
from tests.benchmarks.private_sum import cpu_ms
from tests.federation.private_sum.a_round import a_draft, a_plan
from tests.federation.protocol.tokens.some_issuer import SomeIssuer, rsa_key

REPEAT = 100


def run() -> dict[str, Any]:
    """Milliseconds of CPU: a key, and of one token blinding, signing, unblinding with its check, and checking."""
    task, _ = open_round(a_draft(a_plan()), CustodianPolicy(1, 0.0), SigningKey.generate())
    issuer = SomeIssuer()
    key, signer = issuer.key(task.deadline), BlindSigner.of(rsa_key(0))
    request = TokenRequest.of(key, task)
    signature = signer.sign(request.blinding.blinded)
    token = request.token(signature)
    keys = {key.token_key_id: key}
    return {
        "key_ms": cpu_ms(generate_key, 10),
        "blind_ms": cpu_ms(lambda: TokenRequest.of(key, task), REPEAT),
        "sign_ms": cpu_ms(lambda: signer.sign(request.blinding.blinded), REPEAT),
        "finalize_ms": cpu_ms(lambda: request.token(signature), REPEAT),
        "check_ms": cpu_ms(lambda: check_token(token, task, keys.get), REPEAT),
        "token_bytes": TOKEN_BYTES,
        "blinded_bytes": len(request.blinding.blinded),
        "key_bytes": len(key.to_bytes()),
    }
