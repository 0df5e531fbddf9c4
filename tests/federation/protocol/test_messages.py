from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ReportRejected
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import (
    LateReport,
    MalformedReport,
    MismatchedReport,
    OversizedReport,
    TaskRefused,
)
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import MAX_TOKEN_BYTES, Block, Purpose, Report, Task, blocks_of, max_report_bytes
from tests.federation.private_sum.a_round import CUSTODIAN, NOW, a_task, a_vector, reports_of

TASK, _ = a_task()
RNG = np.random.default_rng(0)
REPORT = reports_of(TASK, [a_vector(RNG)], RNG)[0]

IDS = st.text(st.sampled_from("abcXYZ019._:-"), min_size=1, max_size=64)
PARTS = st.builds(
    Part,
    name=st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True),
    length=st.integers(1, 1000),
    clip_norm=st.floats(1e-3, 100.0),
    scale=st.floats(1e-3, 1000.0),
    clamped=st.booleans(),
)
PLANS = st.builds(
    SumPlan,
    parts=st.lists(PARTS, min_size=1, max_size=4, unique_by=lambda part: part.name).map(tuple),
    min_reports=st.integers(1, 50),
    max_reports=st.integers(50, 10_000),
    sigma=st.integers(0, 2**20),
)
ALL_TASKS = st.builds(
    Task,
    task_id=IDS,
    round=st.integers(0, 2**32 - 1),
    bundle_version=IDS,
    bundle_hash=st.binary(min_size=32, max_size=32),
    blocks=st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda p: Block(*sorted(p))),
        min_size=1,
        max_size=5,
    ).map(tuple),
    plan=PLANS,
    suite=st.just(Suite.X25519),
    round_public_key=st.binary(min_size=32, max_size=32),
    deadline=st.integers(0, 2**64 - 1),
    come_back_at=st.integers(0, 2**64 - 1),
    signature=st.binary(min_size=64, max_size=64),
)


def test_report_carries_only_the_agreed_fields():
    """task_id, block: which sum. report_id: counted once. token: one report a device. The rest: two random halves."""
    assert {f.name for f in fields(Report)} == {
        "task_id",
        "report_id",
        "block",
        "service_share",
        "sealed_seed",
        "token",
    }


def test_task_carries_only_the_agreed_fields():
    """The same for every device: a field that differs from device to device would mark who answers."""
    assert {f.name for f in fields(Task)} == {
        "task_id",
        "round",
        "bundle_version",
        "bundle_hash",
        "blocks",
        "plan",
        "suite",
        "round_public_key",
        "deadline",
        "come_back_at",
        "signature",
        "purpose",
    }


def test_messages_cannot_be_changed():
    for message in (TASK, REPORT):
        with pytest.raises(FrozenInstanceError):
            message.task_id = "other"


def test_nothing_of_a_share_seed_or_token_is_printed():
    text = repr(REPORT)
    for name in ("service_share", "sealed_seed", "token"):
        assert name not in text
        assert repr(getattr(REPORT, name))[2:20] not in text


@settings(max_examples=40, deadline=None)
@given(ALL_TASKS)
def test_task_survives_the_wire_and_has_one_spelling(task):
    data = task.to_bytes()
    assert Task.from_bytes(data) == task
    assert Task.from_bytes(data).to_bytes() == data
    assert Task.from_bytes(data).hash == task.hash


@settings(max_examples=40, deadline=None)
@given(one=ALL_TASKS, other=ALL_TASKS)
def test_tasks_that_differ_have_other_hashes(one, other):
    same = replace(one, signature=b"") == replace(other, signature=b"")
    assert (one.hash == other.hash) == same


@pytest.mark.parametrize(
    "change",
    [
        {"task_id": "training-8"},
        {"round": 8},
        {"purpose": Purpose.EXPERIMENT},
        {"bundle_version": "shop-8"},
        {"bundle_hash": bytes(32)},
        {"blocks": TASK.blocks[:-1]},
        {"plan": replace(TASK.plan, min_reports=2)},
        {"plan": replace(TASK.plan, max_reports=999)},
        {"plan": replace(TASK.plan, sigma=1)},
        {"plan": replace(TASK.plan, parts=TASK.plan.parts[:-1])},
        {"plan": replace(TASK.plan, parts=(replace(TASK.plan.parts[0], clip_norm=1.0), *TASK.plan.parts[1:]))},
        {"plan": replace(TASK.plan, parts=(replace(TASK.plan.parts[0], scale=1.0), *TASK.plan.parts[1:]))},
        {"plan": replace(TASK.plan, parts=(replace(TASK.plan.parts[0], clamped=True), *TASK.plan.parts[1:]))},
        {"suite": Suite.HYBRID, "round_public_key": bytes(1216)},
        {"round_public_key": bytes(32)},
        {"deadline": NOW},
        {"come_back_at": NOW},
    ],
)
def test_every_field_is_signed_and_bound_into_the_hash(change):
    assert TASK.is_signed_by(CUSTODIAN.public)
    changed = replace(TASK, **change)
    assert not changed.is_signed_by(CUSTODIAN.public)
    assert changed.hash != TASK.hash


def test_signature_of_another_key_is_not_the_custodians():
    assert not TASK.signed_by(SigningKey.generate()).is_signed_by(CUSTODIAN.public)


def test_unsigned_task_is_not_sent():
    with pytest.raises(TaskRefused, match="signature"):
        replace(TASK, signature=b"").to_bytes()


@given(cut=st.integers(0, len(TASK.to_bytes()) - 1))
def test_task_cut_anywhere_is_refused(cut):
    with pytest.raises(TaskRefused):
        Task.from_bytes(TASK.to_bytes()[:cut])


@settings(max_examples=300)
@given(at=st.integers(0, len(TASK.to_bytes()) - 1), value=st.integers(1, 255))
def test_task_with_any_byte_changed_is_refused_or_not_signed(at, value):
    data = bytearray(TASK.to_bytes())
    data[at] ^= value
    try:
        task = Task.from_bytes(bytes(data))
    except TaskRefused:
        return
    assert not task.is_signed_by(CUSTODIAN.public)


@given(st.binary(max_size=300))
def test_noise_is_no_task(data):
    with pytest.raises(TaskRefused):
        Task.from_bytes(b"OST1" + data)


def test_task_with_bytes_left_over_or_far_too_long_is_refused():
    with pytest.raises(TaskRefused, match="1 bytes too many"):
        Task.from_bytes(TASK.to_bytes() + b"\0")
    with pytest.raises(TaskRefused, match="must be at most"):
        Task.from_bytes(bytes(1_000_001))


@pytest.mark.parametrize(
    "change",
    [
        {"task_id": ""},
        {"task_id": "a b"},
        {"task_id": "x" * 65},
        {"bundle_version": "é"},
        {"bundle_hash": bytes(31)},
        {"blocks": ()},
        {"blocks": (Block(3, 2),)},
        {"blocks": (Block(0, 2**32),)},
        {"round": -1},
        {"deadline": 2**64},
        {"round_public_key": bytes(31)},
        {"signature": bytes(63)},
    ],
)
def test_task_with_a_field_out_of_bounds_does_not_exist(change):
    with pytest.raises(TaskRefused):
        replace(TASK, **change)


@settings(deadline=None)
@given(token=st.binary(max_size=MAX_TOKEN_BYTES), block=st.integers(0, 2), seed=st.integers(0, 2**32))
def test_report_survives_the_wire(token, block, seed):
    rng = np.random.default_rng(seed)
    report = replace(REPORT, token=token, block=block, service_share=rng.bytes(4 * TASK.plan.length))
    data = report.to_bytes()
    assert Report.from_bytes(data, TASK, NOW) == report
    assert len(data) <= max_report_bytes(TASK)


def test_longest_report_is_as_long_as_the_bound_says():
    longest = replace(REPORT, token=bytes(MAX_TOKEN_BYTES))
    assert len(longest.to_bytes()) == max_report_bytes(TASK)


def test_report_id_of_another_length_does_not_exist():
    with pytest.raises(MalformedReport, match="report_id of 15 bytes"):
        replace(REPORT, report_id=bytes(15))


def refused(data: bytes, now: int = NOW) -> ReportRejected:
    with pytest.raises(ReportRejected) as caught:
        Report.from_bytes(data, TASK, now)
    return caught.value


def test_each_reason_to_refuse_a_report_has_its_own_error():
    data = REPORT.to_bytes()
    assert type(refused(data, TASK.deadline + 1)) is LateReport
    assert type(refused(data + bytes(2000))) is OversizedReport
    assert type(refused(b"")) is MalformedReport
    assert type(refused(data + b"\0")) is MalformedReport
    assert type(refused(b"XXXX" + data[4:])) is MalformedReport
    for change in (
        {"task_id": "training-8"},
        {"block": 3},
        {"service_share": REPORT.service_share[:-4]},
        {"service_share": b""},
        {"sealed_seed": REPORT.sealed_seed[:-1]},
        {"sealed_seed": b""},
    ):
        assert type(refused(replace(REPORT, **change).to_bytes())) is MismatchedReport
    assert Report.from_bytes(data, TASK, TASK.deadline) == REPORT


@given(cut=st.integers(0, len(REPORT.to_bytes()) - 1))
def test_report_cut_anywhere_is_malformed(cut):
    assert type(refused(REPORT.to_bytes()[:cut])) is MalformedReport


@given(st.binary(max_size=300))
def test_noise_is_no_report(data):
    assert isinstance(refused(b"OSR1" + data), ReportRejected)


def test_blocks_cut_the_items_without_gap_or_overlap():
    assert blocks_of(10, 4) == (Block(0, 4), Block(4, 8), Block(8, 10))
    assert blocks_of(4, 4) == (Block(0, 4),)
