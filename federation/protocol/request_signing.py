"""Requests and answers signed by the two parties of a sum: each knows whom it speaks to, whatever carries the bytes.

A request's header is `key id.unix time.nonce.signature`, its body bound through `content-digest` (RFC 9530): the
signature is checked before any of the body is read. An answer is signed over the signature it answers, so it serves no
other request. Times within WINDOW_S of the reader's clock; a nonce is taken once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from data.errors import FederationError
from federation.private_sum.sealing import frame_fields
from federation.private_sum.signing import SigningKey, is_signed

HEADER = "X-Ownshelf-Signature"
DIGEST_HEADER = "Content-Digest"
REQUEST_DOMAIN = b"ownshelf/request/v1"
ANSWER_DOMAIN = b"ownshelf/answer/v1"
WINDOW_S = 60
_SHAPE = re.compile(r"([0-9a-f]{16})\.([0-9]{1,12})\.([0-9a-f]{32})\.([A-Za-z0-9+/]{86}==)", re.ASCII)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)


class SignatureRefused(FederationError):
    """A request or an answer is not the other party's: unsigned, forged, stale or replayed."""


@dataclass(frozen=True)
class SignatureHeaders:
    """Both headers of one signed message."""

    signature: str
    digest: str

    @property
    def headers(self) -> dict[str, str]:
        """As HTTP headers."""
        return {HEADER: self.signature, DIGEST_HEADER: self.digest}


def key_id(public_key: bytes) -> str:
    """Shorten a public key to a name of 16 hexadecimal digits."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def content_digest(body: bytes) -> str:
    """Hash the body by SHA-256 as RFC 9530 writes it."""
    return digest_header(hashlib.sha256(body).digest())


def digest_header(sha256: bytes) -> str:
    """Write a SHA-256 as RFC 9530 does."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def sign_request(key: SigningKey, method: str, path: str, body: bytes, now: int) -> SignatureHeaders:
    """Sign one request; to send again, sign again. path: with its query. now: seconds since 1970-01-01."""
    nonce, digest = secrets.token_hex(16), content_digest(body)
    signature = key.sign(REQUEST_DOMAIN, _asked(method, path, str(now), nonce, digest))
    return SignatureHeaders(
        ".".join((key_id(key.public), str(now), nonce, base64.b64encode(signature).decode())), digest
    )


@dataclass
class RequestChecker:
    """Knows one party's public key and the nonces it used within the window. Safe in threads.

    The nonces live in memory: after a restart a request of the last minute can be replayed, and whatever is signed here
    must therefore be idempotent.
    """

    public_key: bytes
    _seen: OrderedDict[str, int] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self, method: str, path: str, signature: str | None, digest: str | None, now: int) -> bytes:
        """Check a request's signature and return the SHA-256 that its body must have.

        Raises SignatureRefused; now in seconds since 1970-01-01.
        """
        given = _SHAPE.fullmatch(signature or "")
        body = _DIGEST.fullmatch(digest or "")
        if given is None or body is None:
            raise SignatureRefused(f"{HEADER}, {DIGEST_HEADER}: must be there, each in its one shape")
        who, time, nonce, raw = given.groups()
        if who != key_id(self.public_key):
            raise SignatureRefused(f"key id={who}: is not known here")
        if abs(now - int(time)) > WINDOW_S:
            raise SignatureRefused(f"time={time}: must be within {WINDOW_S} s of {now}")
        message = _asked(method, path, time, nonce, digest or "")
        if not is_signed(self.public_key, REQUEST_DOMAIN, message, _decoded(raw)):
            raise SignatureRefused(f"signature of key id={who}: is not its own")
        self._take(nonce, int(time), now)
        return _decoded(body.group(1))

    def _take(self, nonce: str, time: int, now: int) -> None:
        with self._lock:
            if nonce in self._seen:
                raise SignatureRefused(f"nonce={nonce}: was used before")
            self._seen[nonce] = time
            while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW_S:
                self._seen.popitem(last=False)


def sign_answer(key: SigningKey, request_signature: str, status: int, body: bytes) -> SignatureHeaders:
    """Sign the answer to one request."""
    digest = content_digest(body)
    signature = key.sign(ANSWER_DOMAIN, _answered(request_signature, status, digest))
    return SignatureHeaders(base64.b64encode(signature).decode(), digest)


def check_answer(public_key: bytes, request_signature: str, status: int, body: bytes, signature: str | None) -> None:
    """Check that the answer is this key's, to this very request; raises SignatureRefused otherwise."""
    answered = _answered(request_signature, status, content_digest(body))
    try:
        raw = _decoded(signature or "")
    except (binascii.Error, ValueError):
        raw = b""
    if not is_signed(public_key, ANSWER_DOMAIN, answered, raw):
        raise SignatureRefused(f"answer of status={status}: is not signed by key id={key_id(public_key)}")


def _asked(method: str, path: str, time: str, nonce: str, digest: str) -> bytes:
    return frame_fields(*(part.encode() for part in (method, path, time, nonce, digest)))


def _answered(request_signature: str, status: int, digest: str) -> bytes:
    return frame_fields(*(part.encode() for part in (request_signature, str(status), digest)))


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
