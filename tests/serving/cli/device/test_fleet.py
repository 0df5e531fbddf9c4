from __future__ import annotations

import pytest

from serving.cli.device.fleet import waiting_s


@pytest.mark.parametrize(
    ("come_back_at", "most_s", "expected"),
    [([], 60.0, 0.0), ([0, 90], 60.0, 0.0), ([100, 130, 110], 60.0, 30.0), ([100, 1_000], 60.0, 60.0)],
)
def test_a_fleet_waits_until_its_last_device_is_back_and_no_longer_than_told(
    come_back_at: list[int], most_s: float, expected: float
) -> None:
    assert waiting_s(come_back_at, 100.0, most_s) == expected
