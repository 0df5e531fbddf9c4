"""How a device asks the service: one download, one question; no cookie, no id, no redirect for a profile."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from federation.transport import check_address, pinned_context

TIMEOUT_S = 10.0
MAX_CATALOGUE_BYTES = 256 * 2**20


@contextmanager
def service_client(service: str | httpx.Client, ca: Path | None = None) -> Iterator[httpx.Client]:
    """A client for a service's address; a client of the caller's own is used and left open.

    ca: PEM file of the only authority to believe; None believes the usual ones. Raises ServingError for http:// to
    anything but this machine: a profile is never sent in the clear.
    """
    if isinstance(service, httpx.Client):
        yield service
        return
    url = check_address(service)
    headers = {"user-agent": "ownshelf-device"}
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=headers, verify=pinned_context(ca)) as client:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none is kept, so none is sent
        yield client


def ask(
    client: httpx.Client, bundle_version: str, profile: npt.NDArray[np.float32] | None, top_k: int
) -> tuple[list[str], npt.NDArray[np.float32]] | None:
    """item_ids and scores (k,), best first, for a profile (dim,) or, without one, the trend.

    None when the service no longer has the bundle. Raises ServingError for every other refusal.
    """
    body = {
        "mode": "profile",
        "bundle_version": bundle_version,
        "profile": None if profile is None else base64.b64encode(profile.astype("<f4", copy=False).tobytes()).decode(),
        "top_k": top_k,
    }
    try:
        response = client.post("/v1/recommendations", json=body, follow_redirects=False)
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None
    if response.status_code == 409:
        return None
    answer = _answer(response)
    try:
        listed = answer["recommendations"]
        ids = [item["item_id"] for item in listed]
        scores = np.array([item["score"] for item in listed], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        raise ServingError("service: its answer is not a list of recommendations") from None
    if not all(isinstance(item_id, str) for item_id in ids) or not np.isfinite(scores).all():
        raise ServingError("service: its answer is not a list of recommendations")
    return ids, scores


def fetch_catalogue(client: httpx.Client, held: str | None) -> bytes | None:
    """The service's current catalogue file, or None when it is the held one (sha256, hex).

    Raises ServingError when the file is too large or not the one its ETag names.
    """
    headers = {} if held is None else {"if-none-match": f'"{held}"'}
    try:
        with client.stream("GET", "/v1/catalogue/current", headers=headers, follow_redirects=True) as response:
            if response.status_code == 304:
                return None
            if response.status_code != 200:
                response.read()
                _answer(response)
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_CATALOGUE_BYTES:
                    raise ServingError(f"catalogue: larger than {MAX_CATALOGUE_BYTES} bytes")
            named = response.headers.get("etag", "").strip('"')
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None
    if hashlib.sha256(content).hexdigest() != named:
        raise ServingError("catalogue: not the file that its ETag names; torn or changed on the way")
    return bytes(content)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServingError(f"service: status {response.status_code}, not an Ownshelf service")
    if response.status_code != 200:
        error = answer.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise ServingError(f"service: status {response.status_code}: {str(message)[:200]!r}")
    return answer
