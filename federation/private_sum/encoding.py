"""Bytes of a message: fields one after the other, little-endian, lengths first; reading is strict and bounded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

Refuse = Callable[[str], Exception]
"""Makes the error of one kind of message from what is wrong with it."""


def u8(n: int) -> bytes:
    """Encode one byte."""
    return n.to_bytes(1, "little")


def u32(n: int) -> bytes:
    """Encode four bytes."""
    return n.to_bytes(4, "little")


def u64(n: int) -> bytes:
    """Encode eight bytes."""
    return n.to_bytes(8, "little")


def f64(x: float) -> bytes:
    """Encode an IEEE double, eight bytes."""
    return struct.pack("<d", x)


def encode_sized(value: bytes) -> bytes:
    """Encode a field behind its length as uint32."""
    return u32(len(value)) + value


@dataclass
class Reader:
    """Reads fields off the front of data; every error is made by refuse and names the field."""

    data: memoryview
    refuse: Refuse
    at: int = 0

    def take(self, name: str, n: int) -> bytes:
        """Take exactly n bytes."""
        if self.at + n > len(self.data):
            raise self.refuse(f"{name}: {n} bytes wanted, {len(self.data) - self.at} left")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def number(self, name: str, n_bytes: int, low: int, high: int) -> int:
        """Read an unsigned integer of n_bytes within low..high."""
        value = int.from_bytes(self.take(name, n_bytes), "little")
        if not low <= value <= high:
            raise self.refuse(f"{name}={value}: must be {low}..{high}")
        return value

    def real(self, name: str) -> float:
        """Read an IEEE double."""
        return float(struct.unpack("<d", self.take(name, 8))[0])

    def field(self, name: str, low: int, high: int) -> bytes:
        """Read bytes behind their length, which is within low..high."""
        return self.take(name, self.number(f"{name} length", 4, low, high))

    def text(self, name: str, high: int) -> str:
        """Read printable ASCII behind its length, at most high characters."""
        raw = self.field(name, 0, high)
        if not all(32 < byte < 127 for byte in raw):
            raise self.refuse(f"{name}: must be printable ASCII without spaces")
        return raw.decode("ascii")

    def end(self) -> None:
        """Check that nothing is left."""
        if self.at != len(self.data):
            raise self.refuse(f"message: {len(self.data) - self.at} bytes too many")
