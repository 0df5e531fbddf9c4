"""Writes docs/wire-vectors.json: python -m tests.federation.private_sum.wire_vectors, when the wire changes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from federation.private_sum.fixed_point import decode, encode, to_signed
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.sealing import Binding, RoundKey, Suite, seal
from federation.private_sum.shares import combine, expand, service_share
from federation.private_sum.signing import SigningKey
from federation.private_sum.verified import field
from federation.private_sum.verified.projections import signs
from federation.private_sum.verified.proof import ServiceShare, check_report, open_service_share, prove_with
from federation.private_sum.verified.proof_plan import ProofPlan
from federation.private_sum.verified.transcript import Transcript, challenges
from federation.protocol.merkle_log import leaf_hash, root_of
from federation.protocol.messages import TASK_DOMAIN, Block, Report, Task
from federation.protocol.no_answer import DOMAIN, NoAnswer, no_answers_to_bytes
from federation.protocol.tokens.blind_rsa import BlindSigner, blind, encode_pss, finalize
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.protocol.tokens.report_token import ReportToken, challenge, challenge_digest
from federation.protocol.transparency import (
    answer_entry,
    bundle_entry,
    clusters_entry,
    issuer_key_entry,
    no_answer_entry,
    task_entry,
)
from tests.federation.private_sum import hpke_by_hand

PATH = Path(__file__).parents[3] / "docs" / "wire-vectors.json"
RFC_9578 = Path(__file__).parents[1] / "protocol" / "tokens" / "rfc9578_b2.json"
SEED = bytes(range(32))
CUSTODIAN = SigningKey.from_private(bytes(range(100, 132)))
PLAN = SumPlan(
    parts=(
        Part("rows", 3, clip_norm=2.5, scale=1000.0),
        Part("one", 1, clip_norm=1.0, scale=1024.0, clamped=True),
        Part("metrics", 2, clip_norm=1.5, scale=512.0, clamped=True),
    ),
    min_reports=50,
    max_reports=5_000,
    sigma=4_000,
)

VERIFIED_PLAN = SumPlan(
    parts=(Part("rows", 3, clip_norm=2.5, scale=4.0), Part("metrics", 2, clip_norm=1.5, scale=2.0, clamped=True)),
    min_reports=50,
    max_reports=5_000,
    sigma=10,
)


def round_key(suite: Suite) -> RoundKey:
    """A key pair with known private bytes."""
    private = bytes(range(200, 232))
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    if suite is Suite.HYBRID:
        seeds = bytes(range(64))
        public = MLKEM768PrivateKey.from_seed_bytes(seeds).public_key().public_bytes_raw() + public
        private = seeds + private
    return RoundKey(suite, public, private)


def a_task(suite: Suite) -> Task:
    """The task of the vectors."""
    return Task(
        task_id="training-7",
        round=7,
        bundle_version="shop-2026.1",
        bundle_hash=bytes(range(32, 64)),
        blocks=(Block(0, 2048), Block(2048, 3000)),
        plan=PLAN,
        suite=suite,
        round_public_key=round_key(suite).public,
        deadline=1_800_000_000,
        come_back_at=1_800_003_600,
    ).signed_by(CUSTODIAN)


def part_json(part: Part) -> dict[str, Any]:
    """A part and the integers that follow from it."""
    return asdict(part) | {"bound_squared": str(part.bound_squared), "coordinate_bound": part.coordinate_bound}


def task_json(task: Task) -> dict[str, Any]:
    """A task's fields and its bytes."""
    return {
        "task_id": task.task_id,
        "round": task.round,
        "bundle_version": task.bundle_version,
        "bundle_hash": task.bundle_hash.hex(),
        "blocks": [[block.start, block.stop] for block in task.blocks],
        "parts": [part_json(part) for part in task.plan.parts],
        "min_reports": task.plan.min_reports,
        "max_reports": task.plan.max_reports,
        "sigma": task.plan.sigma,
        "sensitivity_squared": str(task.plan.sensitivity_squared),
        "suite": task.suite.value,
        "round_public_key": task.round_public_key.hex(),
        "deadline": task.deadline,
        "come_back_at": task.come_back_at,
        "signed_bytes": task.signed_bytes.hex(),
        "hash": task.hash.hex(),
        "signature": task.signature.hex(),
        "bytes": task.to_bytes().hex(),
    }


def rounding_json(vectors: dict[str, list[float]], random: bytes) -> dict[str, Any]:
    """What the parts of a vector round to with given random bytes."""
    stream = iter([random[:12], random[12:16], random[16:]])
    words = encode(PLAN, vectors, lambda n: next(stream))
    return {"vectors": vectors, "random": random.hex(), "integers": to_signed(words).tolist()}


def sealing_json(task: Task) -> dict[str, Any]:
    """A seed sealed to the task's key; X25519 with a given ephemeral key, so that sealing can be checked as well."""
    key, binding = round_key(task.suite), Binding(task.hash, bytes(range(16)), 1, PLAN.length)
    ephemeral = bytes(range(50, 82))
    by_hand = task.suite is Suite.X25519
    return {
        "suite": task.suite.value,
        "private_key": key.private.hex(),
        "public_key": key.public.hex(),
        "ephemeral_private_key": ephemeral.hex() if by_hand else None,
        "task_hash": task.hash.hex(),
        "report_id": binding.report_id.hex(),
        "block": binding.block,
        "length": binding.length,
        "info": binding.info.hex(),
        "seed": SEED.hex(),
        "sealed_seed": (
            hpke_by_hand.seal(SEED, key.public, binding.info, ephemeral)
            if by_hand
            else seal(SEED, task.suite, key.public, binding)
        ).hex(),
    }


def verified_json() -> dict[str, Any]:
    """A verified report with known seed and blind: its share, what it commits to, its challenges, what is opened."""
    proof, integers = ProofPlan(VERIFIED_PLAN), [3, -4, 0, 1, 2]
    context = Binding(bytes(range(32)), bytes(range(16)), 1, VERIFIED_PLAN.length).info
    halves = prove_with(proof, np.array(integers, dtype=np.int32), context, SEED, bytes(range(32, 64)))
    assert halves is not None
    transcript = Transcript(context)
    drawn = challenges(transcript, transcript.seed_commitment(SEED), halves.commitments)
    commitments, opened = open_service_share(proof, ServiceShare.from_bytes(proof, halves.share), context)
    check_report(proof, SEED, context, commitments, opened)
    return {
        "field": {"modulus": str(field.MODULUS), "cube": field.CUBE, "root_of_order_4": str(field.root_of_unity(4))},
        "stream": {"key": SEED.hex(), "elements": [str(value) for value in field.stream(SEED, 4)]},
        "signs": {"key": SEED.hex(), "first_coordinate": signs(SEED, proof.checks, 1)[0].tolist()},
        "parts": [part_json(part) for part in VERIFIED_PLAN.parts],
        "layout": {
            "checks": proof.checks,
            "half_width": proof.half_width,
            "norm_bits": list(proof.norm_bits),
            "projection_bits": proof.projection_bits,
            "domain": proof.domain,
            "rows": list(proof.rows),
            "bit_domain": proof.bit_domain,
            "bit_rows": proof.bit_rows,
            "elements": proof.n_elements,
            "opened": proof.n_opened,
        },
        "integers": integers,
        "context": context.hex(),
        "seed": SEED.hex(),
        "blind": bytes(range(32, 64)).hex(),
        "service_share": halves.share.hex(),
        "commitments": halves.commitments.to_bytes().hex(),
        "projection_key": drawn.projection_key.hex(),
        "weights_key": drawn.weights_key.hex(),
        "opening_key": drawn.opening_key.hex(),
        "opened_by_service": opened.hex(),
    }


def no_answer_json(task: Task) -> dict[str, Any]:
    """The custodian's statement about a closed round, and the entries of a log that ends with it."""
    statement = NoAnswer(task.hash, (1,), 1_800_000_700).signed_by(CUSTODIAN)
    entries = [
        bundle_entry(task),
        clusters_entry(task.bundle_version, bytes(range(32))),
        task_entry(task),
        answer_entry(task.hash, 0, bytes(range(32, 64))),
        no_answer_entry(statement),
    ]
    return {
        "task_hash": statement.task_hash.hex(),
        "blocks": list(statement.blocks),
        "at": statement.at,
        "domain": DOMAIN.decode(),
        "bytes": statement.to_bytes().hex(),
        "for_devices": no_answers_to_bytes([statement.to_bytes()]).hex(),
        "log_entries": [entry.hex() for entry in entries],
        "log_root": root_of([leaf_hash(entry) for entry in entries]).hex(),
    }


def tokens_json(task: Task) -> dict[str, Any]:
    """A token of the task's round, step by step, with RFC 9578's key and known nonce, salt and factor."""
    pem = bytes.fromhex(json.loads(RFC_9578.read_text())["skS"])
    private = load_pem_private_key(pem, None)
    assert isinstance(private, RSAPrivateKey)
    signer = BlindSigner.of(private)
    key = IssuerKey("shop", "0123456789ab", 1_799_971_200, 1_800_057_599, signer.modulus)
    unsigned = ReportToken(bytes(range(32)), challenge_digest(key.app, task.hash), key.token_key_id, b"")
    salt, factor = bytes(range(48)), int.from_bytes(bytes(range(255)))
    blinding = blind(key.modulus, unsigned.signed_bytes, salt, factor)
    signature = signer.sign(blinding.blinded)
    return {
        "private_key": private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex(),
        "app": key.app,
        "minting_key": key.minting_key,
        "not_before": key.not_before,
        "not_after": key.not_after,
        "issuer_key": key.to_bytes().hex(),
        "token_key_id": key.token_key_id.hex(),
        "log_entry": issuer_key_entry(key).hex(),
        "challenge": challenge(key.app, task.hash).hex(),
        "challenge_digest": unsigned.challenge_digest.hex(),
        "nonce": unsigned.nonce.hex(),
        "token_input": unsigned.signed_bytes.hex(),
        "salt": salt.hex(),
        "encoded": encode_pss(unsigned.signed_bytes, key.modulus.bit_length() - 1, salt).hex(),
        "factor": factor.to_bytes(256).hex(),
        "blinded": blinding.blinded.hex(),
        "blind_signature": signature.hex(),
        "token": (unsigned.signed_bytes + finalize(key.modulus, blinding, signature)).hex(),
        "answer_to_get": {
            "issuer_key": in_base64(key.to_bytes()),
            "token_key_id": key.token_key_id.hex(),
        },
        "post": {"token_key_id": key.token_key_id.hex(), "blinded": [in_base64(blinding.blinded)]},
        "answer_to_post": {"signatures": [in_base64(signature)]},
    }


def in_base64(content: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def vectors() -> dict[str, Any]:
    """All test vectors. Bytes are hexadecimal; integers beyond 2**53 are decimal strings."""
    task, hybrid = a_task(Suite.X25519), a_task(Suite.HYBRID)
    rounding = [
        rounding_json({"rows": [1.5, 0.0, -2.0], "one": [1.0], "metrics": [0.25, 9.0]}, bytes(range(24))),
        rounding_json({"rows": [3.0, 0.0, 4.0], "one": [0.5], "metrics": [-9.0, 0.3]}, bytes(range(232, 256))),
    ]
    words = [np.array(case["integers"], dtype=np.int32).view(np.uint32) for case in rounding]
    seeds = [SEED, bytes(range(1, 33))]
    shares = [service_share(word, seed) for word, seed in zip(words, seeds, strict=True)]
    halves = (
        np.sum([np.frombuffer(share, dtype="<u4") for share in shares], axis=0, dtype=np.uint32),
        np.sum([expand(seed, PLAN.length) for seed in seeds], axis=0, dtype=np.uint32),
    )
    total = to_signed(combine(*halves))
    sealing = [sealing_json(task), sealing_json(hybrid)]
    report = Report(
        task.task_id, bytes(range(16)), 1, shares[0], bytes.fromhex(sealing[0]["sealed_seed"]), b"one-time-token"
    )
    return {
        "stream": [{"seed": seed.hex(), "words": expand(seed, 9).tolist()} for seed in (bytes(32), *seeds)],
        "bounds": [
            part_json(Part("rows", 131_072, clip_norm=1.0, scale=65_536.0)),
            part_json(Part("first", 64, clip_norm=0.3, scale=10.0)),
            part_json(Part("metrics", 3, clip_norm=1.0, scale=1000.0, clamped=True)),
            *(part_json(part) for part in PLAN.parts),
        ],
        "rounding": rounding,
        "shares": [
            {"integers": case["integers"], "seed": seed.hex(), "service_share": share.hex()}
            for case, seed, share in zip(rounding, seeds, shares, strict=True)
        ],
        "sum": {
            "service_half": halves[0].astype("<u4").tobytes().hex(),
            "custodian_half": halves[1].astype("<u4").tobytes().hex(),
            "integers": total.tolist(),
            "decoded": {name: part.tolist() for name, part in decode(PLAN, total).items()},
        },
        "custodian": {
            "private_key": CUSTODIAN.private.hex(),
            "public_key": CUSTODIAN.public.hex(),
            "domain": TASK_DOMAIN.decode(),
        },
        "tasks": [task_json(task), task_json(hybrid)],
        "unsigned_change": replace(task, deadline=task.deadline + 1).to_bytes().hex(),
        "sealing": sealing,
        "report": {
            "task_id": report.task_id,
            "report_id": report.report_id.hex(),
            "block": report.block,
            "service_share": report.service_share.hex(),
            "sealed_seed": report.sealed_seed.hex(),
            "token": report.token.hex(),
            "bytes": report.to_bytes().hex(),
        },
        "verified": verified_json(),
        "no_answer": no_answer_json(task),
        "tokens": tokens_json(task),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n")
