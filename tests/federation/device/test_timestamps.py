"""A device takes times in one unit, and says so where a number is one of another."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from data.errors import ServingError
from federation.device.device import Device
from federation.device.timestamps import iso, micros

MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SECONDS = 1_772_368_200


def test_a_datetime_and_its_microseconds_are_one_time():
    assert micros(MOMENT) == micros(SECONDS * 10**6) == SECONDS * 10**6
    assert micros(MOMENT.astimezone(timezone(timedelta(hours=5)))) == SECONDS * 10**6
    assert iso(SECONDS * 10**6) == "2026-03-01T12:30:00+00:00"


@pytest.mark.parametrize(
    ("time", "unit", "factor"),
    [(SECONDS, "seconds", "1,000,000"), (SECONDS * 1000, "milliseconds", "1,000"), (10**9, "seconds", "1,000,000")],
)
def test_seconds_and_what_a_browser_calls_now_are_refused_and_nothing_is_recorded(tmp_path, time, unit, factor):
    device = Device.create(tmp_path / "d", consent="observe", key_store="file")
    with pytest.raises(ServingError, match=f"time={time}: looks like {unit} .*multiply by {factor}"):
        device.observe("a", "view", time)
    assert device.state.events == ()


@pytest.mark.parametrize("time", [-1, 253_402_300_800_000_000, datetime(2026, 1, 1)])
def test_what_no_calendar_has_and_a_time_of_no_zone_are_refused(time):
    with pytest.raises(ServingError, match="time="):
        micros(time)
