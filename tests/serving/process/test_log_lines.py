from __future__ import annotations

import json
import logging

import pytest

from serving.http.request_record import LINES_A_SECOND, RequestRecord, access_log
from serving.process.log_lines import EVERY_S, MAX_KINDS, FewRepeats


def a_line(text: str, *values: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("ownshelf.serving", level, __file__, 1, text, values, None)


def test_a_line_that_repeats_is_written_once_a_minute_with_how_many_were_like_it() -> None:
    now = 0.0
    few = FewRepeats(lambda: now)
    written = []
    for second in range(125):
        now = float(second)
        for round_ in ("training-1", "training-2"):
            record = a_line("%s: failure %d", round_, second)
            if few.filter(record):
                written.append((second, record.getMessage()))
    assert written == [
        *[(0, f"{name}: failure 0") for name in ("training-1", "training-2")],
        *[(60, f"{name}: failure 60 (59 more like it in the last 60 s)") for name in ("training-1", "training-2")],
        *[(120, f"{name}: failure 120 (59 more like it in the last 60 s)") for name in ("training-1", "training-2")],
    ]


def test_other_lines_pass_and_what_is_remembered_is_bounded() -> None:
    few = FewRepeats(lambda: EVERY_S / 2)
    assert few.filter(a_line("one"))
    assert few.filter(a_line("one", level=logging.WARNING))
    assert not few.filter(a_line("one"))
    assert all(few.filter(a_line("many %s", n)) for n in range(2 * MAX_KINDS))
    assert len(few._kinds) == MAX_KINDS


def test_refused_requests_are_sampled_and_failed_ones_are_not_crowded_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "ownshelf.access")
    second = 10.0
    monkeypatch.setattr("serving.http.request_record.time.monotonic", lambda: second)
    write = access_log("errors")
    assert write is not None

    def seen(status: int) -> RequestRecord:
        return RequestRecord("r", "GET", "/v1/items", "", status, "api_key_invalid", 0.001, 10, "", None)

    for _ in range(1_000):
        write(seen(401))
    write(seen(500))
    second = 11.0
    write(seen(401))
    rows = [json.loads(record.getMessage()) for record in caplog.records]
    assert [row["status"] for row in rows] == [401] * LINES_A_SECOND + [500, 401]
    assert [row.get("left_out", 0) for row in rows] == [0] * (LINES_A_SECOND + 1) + [1_000 - LINES_A_SECOND]
