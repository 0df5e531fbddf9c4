"""Binary HTTP messages of known length (RFC 9292): one request or one answer in bytes. No trailers, no 1xx answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from data.errors import FederationError

REQUEST, ANSWER = 0, 1
"""Framing indicators of messages of known length."""
MAX_FIELD_BYTES = 8_192
MAX_HEADERS = 32

Headers = tuple[tuple[bytes, bytes], ...]


class BinaryHttpRefused(FederationError):
    """The bytes are no message of known length."""


@dataclass(frozen=True)
class BinaryRequest:
    """A request. path: with its query. Names of headers are in lower case."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Headers = ()
    content: bytes = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """Encode the request."""
        control = b"".join(map(_sized, (self.method, self.scheme, self.authority, self.path)))
        return integer(REQUEST) + control + _tail(self.headers, self.content)

    @staticmethod
    def from_bytes(data: bytes) -> BinaryRequest:
        """Decode a request. Raises BinaryHttpRefused."""
        read = _Reader(data)
        read.framing(REQUEST)
        method, scheme, authority, path = (read.sized(MAX_FIELD_BYTES) for _ in range(4))
        return BinaryRequest(method, scheme, authority, path, *read.tail())


@dataclass(frozen=True)
class BinaryAnswer:
    """A final answer."""

    status: int
    headers: Headers = ()
    content: bytes = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """Encode the answer."""
        return integer(ANSWER) + integer(self.status) + _tail(self.headers, self.content)

    @staticmethod
    def from_bytes(data: bytes) -> BinaryAnswer:
        """Decode an answer. Raises BinaryHttpRefused."""
        read = _Reader(data)
        read.framing(ANSWER)
        status = read.integer()
        if not 200 <= status <= 599:
            raise BinaryHttpRefused(f"status={status}: must be 200..599")
        return BinaryAnswer(status, *read.tail())


def integer(value: int) -> bytes:
    """Encode a variable-length integer (RFC 9000, section 16), as short as it can be."""
    for prefix, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size - 2):
            return (value | prefix << (8 * size - 2)).to_bytes(size)
    raise BinaryHttpRefused(f"integer={value}: must be below 2**62")


def _sized(value: bytes) -> bytes:
    return integer(len(value)) + value


def _tail(headers: Headers, content: bytes) -> bytes:
    """Headers, content, and trailers, of which there are none and which may then be left out."""
    return _sized(b"".join(_sized(name) + _sized(value) for name, value in headers)) + _sized(content)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise BinaryHttpRefused(f"message: is cut off at byte {len(self._data)}")
        self._at += size
        return self._data[self._at - size : self._at]

    def integer(self) -> int:
        first = self.take(1)
        size = 1 << (first[0] >> 6)
        return int.from_bytes(first + self.take(size - 1)) & (1 << (8 * size - 2)) - 1

    def sized(self, most: int) -> bytes:
        size = self.integer()
        if size > most:
            raise BinaryHttpRefused(f"field of {size} bytes: must be at most {most}")
        return self.take(size)

    def framing(self, wanted: int) -> None:
        found = self.integer()
        if found != wanted:
            raise BinaryHttpRefused(f"framing={found}: must be {wanted}, of known length")

    def tail(self) -> tuple[Headers, bytes]:
        """Read headers and content; what may be left out, is empty; then come zeros at most (RFC 9292, section 3.8)."""
        headers: list[tuple[bytes, bytes]] = []
        if self._at < len(self._data):
            fields = _Reader(self.sized(MAX_FIELD_BYTES))
            while fields._at < len(fields._data):
                headers.append((fields.sized(MAX_FIELD_BYTES), fields.sized(MAX_FIELD_BYTES)))
                if len(headers) > MAX_HEADERS or headers[-1][0] != headers[-1][0].lower() or not headers[-1][0]:
                    raise BinaryHttpRefused(f"headers: must be at most {MAX_HEADERS}, with names in lower case")
        content = self.sized(len(self._data)) if self._at < len(self._data) else b""
        if any(self._data[self._at :]):
            raise BinaryHttpRefused("message: trailers, or bytes after its end")
        return tuple(headers), content
