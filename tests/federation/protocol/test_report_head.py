from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.private_sum.refusals import MalformedReport, MismatchedReport, OversizedReport
from federation.protocol.messages import Report
from federation.protocol.report_head import MAX_HEAD_BYTES, check_head, read_head
from tests.federation.private_sum.a_round import NOW, a_task, a_vector, reports_of

TASK, _ = a_task()
RNG = np.random.default_rng(0)
REPORT = reports_of(TASK, [a_vector(RNG)], RNG)[0]
CONTENT = REPORT.to_bytes()


def test_the_head_is_all_but_the_share() -> None:
    head = read_head(CONTENT[:MAX_HEAD_BYTES])
    assert (head.task_id, head.report_id, head.block) == (REPORT.task_id, REPORT.report_id, REPORT.block)
    assert (head.sealed_seed, head.token) == (REPORT.sealed_seed, REPORT.token)
    assert CONTENT[head.share_at :] == REPORT.service_share
    assert head.report_bytes == len(CONTENT)
    check_head(head, TASK)


def test_the_longest_head_fits_its_bound() -> None:
    long = Report("x" * 64, bytes(16), 2**32 - 1, b"", bytes(4096), bytes(354)).to_bytes()
    assert len(long) == MAX_HEAD_BYTES
    assert read_head(long).share_bytes == 0


def judged(content: bytes) -> type[Exception] | None:
    """As the service judges: by the head, then by the length."""
    try:
        head = read_head(content[:MAX_HEAD_BYTES])
        if head.task_id != TASK.task_id:
            return MismatchedReport
        check_head(head, TASK)
    except (MalformedReport, MismatchedReport, OversizedReport) as refusal:
        return type(refusal)
    return None if head.report_bytes == len(content) else MalformedReport


def read(content: bytes) -> type[Exception] | None:
    """As Report.from_bytes judges the same bytes."""
    try:
        Report.from_bytes(content, TASK, NOW)
    except (MalformedReport, MismatchedReport, OversizedReport) as refusal:
        return type(refusal)
    return None


@given(st.data())
def test_what_the_head_lets_through_is_what_the_strict_reader_lets_through(data: st.DataObject) -> None:
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, min(len(content), 300) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    tail = data.draw(st.binary(max_size=5))
    changed = bytes(content[:cut]) + tail
    assert (judged(changed) is None) == (read(changed) is None)


@pytest.mark.parametrize("n", range(0, 200, 7))
def test_a_cut_head_is_malformed(n: int) -> None:
    with pytest.raises(MalformedReport):
        read_head(CONTENT[:n] if n < read_head(CONTENT).share_at else b"")
