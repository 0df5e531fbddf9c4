"""What one shopper did, for tests of a device."""

from __future__ import annotations

from data.interactions import MICROS_PER_DAY
from federation.device.device import Device

NOW = 1_700_000_000_000_000
DAY = MICROS_PER_DAY


def shopped(device: Device) -> Device:
    for day, (item, kind) in enumerate(
        [("sku-1", "view"), ("sku-2", "purchase"), ("sku-2", "purchase"), ("sku-9", "cart"), ("sku-30", "dislike")]
    ):
        device.observe(item, kind, NOW - (10 - day) * DAY)
    return device
