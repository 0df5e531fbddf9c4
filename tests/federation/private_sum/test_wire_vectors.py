"""docs/wire-vectors.json is what the code does, and what a second reading of docs/wire.md makes of the bytes."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from federation.private_sum.sealing import Binding, Opener, RoundKey, Suite
from federation.private_sum.verified.proof_plan import ProofPlan
from federation.private_sum.verified.reference import check_plainly, prove_plainly
from federation.protocol.messages import Report, Task
from tests.federation.private_sum import hpke_by_hand
from tests.federation.private_sum.wire_vectors import PATH, VERIFIED_PLAN, vectors

WRITTEN = json.loads(PATH.read_text())
MADE = vectors()
TEXTS = ("app", "minting_key")


@pytest.mark.parametrize("name", sorted(set(WRITTEN) - {"sealing"}))
def test_vectors_are_what_the_code_makes(name):
    assert WRITTEN[name] == json.loads(json.dumps(MADE[name]))
    assert set(WRITTEN) == set(MADE)


@pytest.mark.parametrize("case", WRITTEN["sealing"], ids=lambda case: case["suite"])
def test_sealed_seeds_open(case):
    raw = {name: bytes.fromhex(case[name]) for name in ("private_key", "public_key", "task_hash", "report_id")}
    key = RoundKey(Suite(case["suite"]), raw["public_key"], raw["private_key"])
    binding = Binding(raw["task_hash"], raw["report_id"], case["block"], case["length"])
    assert binding.info.hex() == case["info"]
    assert Opener.of(key).open(bytes.fromhex(case["sealed_seed"]), binding).hex() == case["seed"]


def test_sealing_with_the_given_ephemeral_key_gives_the_written_bytes():
    case = WRITTEN["sealing"][0]
    args = (bytes.fromhex(case[name]) for name in ("seed", "public_key", "info", "ephemeral_private_key"))
    assert hpke_by_hand.seal(*args).hex() == case["sealed_seed"]


def framed(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "little") + field for field in fields)


@pytest.mark.parametrize("case", WRITTEN["tasks"], ids=lambda case: case["suite"])
def test_task_hash_and_signature_are_plain_sha256_and_ed25519_over_framed_fields(case):
    message = framed(b"ownshelf/task/v1", bytes.fromhex(case["signed_bytes"]))
    assert hashlib.sha256(message).hexdigest() == case["hash"]
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(WRITTEN["custodian"]["public_key"]))
    assert public.verify(bytes.fromhex(case["signature"]), message) is None
    assert case["bytes"] == case["signed_bytes"] + case["signature"]


def test_task_changed_by_one_second_is_read_but_not_signed():
    task = Task.from_bytes(bytes.fromhex(WRITTEN["unsigned_change"]))
    assert not task.is_signed_by(bytes.fromhex(WRITTEN["custodian"]["public_key"]))


def test_report_is_read_back_from_its_bytes():
    case = WRITTEN["report"]
    task = Task.from_bytes(bytes.fromhex(WRITTEN["tasks"][0]["bytes"]))
    report = Report.from_bytes(bytes.fromhex(case["bytes"]), task, task.deadline)
    assert (report.task_id, report.report_id.hex(), report.block) == (
        case["task_id"],
        case["report_id"],
        case["block"],
    )
    assert (report.service_share.hex(), report.token.hex()) == (case["service_share"], case["token"])


def test_the_verified_report_is_what_the_plain_proof_makes_and_accepts():
    case = WRITTEN["verified"]
    proof = ProofPlan(VERIFIED_PLAN)
    given = [bytes.fromhex(case[name]) for name in ("context", "seed", "blind")]
    share, commitments = prove_plainly(proof, case["integers"], *given)
    assert share.hex() == case["service_share"]
    assert commitments.to_bytes().hex() == case["commitments"]
    assert check_plainly(proof, share, given[1], given[0])
    assert len(share) == 5 * case["layout"]["elements"] + 64


def test_challenges_of_the_verified_report_are_plain_sha256_over_framed_fields():
    case, domain = WRITTEN["verified"], b"ownshelf/private-sum/verified/v1"
    context, seed, blind, share, commitments = (
        bytes.fromhex(case[name]) for name in ("context", "seed", "blind", "service_share", "commitments")
    )
    layout = case["layout"]
    cuts = [5 * n for n in (len(case["integers"]) + sum(layout["norm_bits"]), layout["elements"])]
    middle = cuts[0] + 5 * layout["checks"] * layout["projection_bits"]

    def of(*fields: bytes) -> bytes:
        return hashlib.sha256(framed(domain, *fields)).digest()

    vector = of(b"vector", context, b"", blind, share[: cuts[0]])
    first = of(b"projection key", of(b"seed", context, seed), vector)
    projections = of(b"projections", context, first, blind, share[cuts[0] : middle])
    second = of(b"weights key", first, projections)
    proofs = of(b"proofs", context, second, blind, share[middle : cuts[1]])
    assert vector + projections + proofs == commitments
    assert [case[name] for name in ("projection_key", "weights_key", "opening_key")] == [
        key.hex() for key in (first, second, of(b"opening key", second, proofs))
    ]
    assert share[cuts[1] :] == blind + of(b"seed", context, seed)


def test_decoded_sum_is_that_of_the_vectors_within_one_step_of_rounding_a_report():
    # rows: [1.5, 0, −2] has norm 2.5 = its clip; [3, 0, 4] has 5 and is halved: [3, 0, 0].
    decoded = WRITTEN["sum"]["decoded"]
    assert decoded["rows"] == pytest.approx([3.0, 0.0, 0.0], abs=2 / 1000)
    assert decoded["one"] == [1.5]
    assert decoded["metrics"] == pytest.approx([0.25 - 1.5 / 2**0.5, 1.5 / 2**0.5 + 0.3], abs=2 / 512)


def test_the_statement_of_no_answer_is_plain_ed25519_over_framed_fields_and_the_log_plain_sha256():
    case, key = WRITTEN["no_answer"], bytes.fromhex(WRITTEN["custodian"]["public_key"])
    signed, signature = bytes.fromhex(case["bytes"])[:-64], bytes.fromhex(case["bytes"])[-64:]
    numbers = case["at"].to_bytes(8, "little") + (1).to_bytes(4, "little") + (1).to_bytes(4, "little")
    assert (case["blocks"], signed) == ([1], b"OSN1" + bytes.fromhex(case["task_hash"]) + numbers)
    domain = case["domain"].encode()
    framed = b"".join(len(part).to_bytes(4, "little") + part for part in (domain, signed))
    Ed25519PublicKey.from_public_bytes(key).verify(signature, framed)
    a, b, c, d, e = (hashlib.sha256(b"\0" + bytes.fromhex(entry)).digest() for entry in case["log_entries"])
    node = lambda left, right: hashlib.sha256(b"\1" + left + right).digest()  # noqa: E731
    assert node(node(node(a, b), node(c, d)), e).hex() == case["log_root"]


def test_the_token_of_the_vectors_is_made_of_plain_powers_and_verifies():
    case = WRITTEN["tokens"]
    raw = {name: bytes.fromhex(case[name]) for name in case if isinstance(case[name], str) and name not in TEXTS}
    key = load_der_private_key(raw["private_key"], None).private_numbers()
    n, e, d = key.public_numbers.n, key.public_numbers.e, key.d
    spki = raw["issuer_key"][-342:]
    assert hashlib.sha256(spki).digest() == raw["token_key_id"]
    assert spki[-261:-5] == n.to_bytes(256)
    numbers = b"".join(case[name].to_bytes(8, "little") for name in ("not_before", "not_after"))
    head = framed(case["app"].encode(), case["minting_key"].encode()) + numbers
    assert raw["issuer_key"] == b"OSK1" + head + framed(spki)
    assert raw["log_entry"] == framed(b"issuer-key", raw["issuer_key"])
    task_hash = bytes.fromhex(WRITTEN["tasks"][0]["hash"])
    assert raw["challenge"] == b"\0\2" + b"\0\4shop" + b"\x20" + task_hash + b"\0\0"
    assert raw["challenge_digest"] == hashlib.sha256(raw["challenge"]).digest()
    assert raw["token_input"] == b"\0\2" + raw["nonce"] + raw["challenge_digest"] + raw["token_key_id"]
    encoded, factor = int.from_bytes(raw["encoded"]), int.from_bytes(raw["factor"])
    assert int.from_bytes(raw["blinded"]) == encoded * pow(factor, e, n) % n
    assert int.from_bytes(raw["blind_signature"]) == pow(int.from_bytes(raw["blinded"]), d, n)
    signature = raw["token"][-256:]
    assert int.from_bytes(signature) == pow(encoded, d, n)
    assert raw["token"] == raw["token_input"] + signature
    public = key.public_numbers.public_key()
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    assert public.verify(signature, raw["token_input"], pss, hashes.SHA384()) is None
    for text, name in (
        (case["answer_to_get"]["issuer_key"], "issuer_key"),
        (case["post"]["blinded"][0], "blinded"),
        (case["answer_to_post"]["signatures"][0], "blind_signature"),
    ):
        assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == raw[name]
        assert "=" not in text
