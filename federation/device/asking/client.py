"""How a device asks the service: downloads and questions; no cookie, no id, no redirect for what is private."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt

from data.errors import ModelError, ServingError
from federation.device.asking.bounded_answer import PACKED, read_bounded, read_json
from federation.protocol.transparency import LogProof
from federation.protocol.transport import check_address, pinned_context
from recsys.catalogue.candidates import Candidates, decode_candidates
from recsys.catalogue.changes import CatalogueChanges, decode_changes
from recsys.catalogue.delta import apply_delta

TIMEOUT_S = 10.0
MAX_CATALOGUE_BYTES = 256 * 2**20
MAX_CLUSTERS_BYTES = 64 * 2**20
MAX_CHANGES_BYTES = 64 * 2**20
MAX_PROOF_BYTES = 8_192
SINCE_STEP = 100
"""Devices ask for changes since a multiple of it, so that the question does not tell one device from the next."""

_DELTA_HEADER = "ownshelf-delta-from"


@contextmanager
def service_client(service: str | httpx.Client, ca: Path | None = None) -> Iterator[httpx.Client]:
    """Open a client for a service's address; a client of the caller's own is used and left open.

    ca: PEM file of the only authority to believe; None believes the usual ones. Raises ServingError for http:// to
    anything but this machine: a profile is never sent in the clear.
    """
    if isinstance(service, httpx.Client):
        yield service
        return
    url = check_address(service)
    headers = {"user-agent": "ownshelf-device"}
    trust = pinned_context(ca)
    # trust_env: no proxy of the environment, which would see what goes in the clear to this machine
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=headers, verify=trust, trust_env=False) as client:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none is kept, so none is sent
        yield client


def ask(
    client: httpx.Client, bundle_version: str, profile: npt.NDArray[np.float32] | None, top_k: int
) -> tuple[list[str], npt.NDArray[np.float32]] | None:
    """Ask for a list by profile (dim,) or, without one, for the trend.

    Returns item_ids and scores (k,), best first.

    None when the service no longer has the bundle. Raises ServingError for every other refusal.
    """
    body = {
        "mode": "profile",
        "bundle_version": bundle_version,
        "profile": None if profile is None else base64.b64encode(profile.astype("<f4", copy=False).tobytes()).decode(),
        "top_k": top_k,
    }
    answer = _question(client, body)
    if answer is None:
        return None
    try:
        listed = answer["recommendations"]
        ids = [item["item_id"] for item in listed]
        scores = np.array([item["score"] for item in listed], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        raise ServingError("service: its answer is not a list of recommendations") from None
    if not all(isinstance(item_id, str) for item_id in ids) or not np.isfinite(scores).all():
        raise ServingError("service: its answer is not a list of recommendations")
    return ids, scores


def ask_candidates(
    client: httpx.Client, bundle_version: str, question: Mapping[str, Any], most: int, dim: int
) -> Candidates | None:
    """Ask for candidates by a coarse question.

    Its mode is "cluster" with `clusters` (ids), or "noised" with `noised` (base64).

    most: how many may come; dim: of their rows. None when the service no longer has the bundle. Raises ServingError for
    every other refusal, and for an answer without a candidate.
    """
    answer = _question(client, {**question, "bundle_version": bundle_version, "candidates": most})
    if answer is None:
        return None
    if answer.get("bundle_version") != bundle_version:
        raise ServingError("service: answers for another bundle than it was asked for")
    try:
        candidates = decode_candidates(answer.get("candidates"), dim)
    except ModelError as error:
        raise ServingError(f"service: {error}") from None
    if candidates is None or len(candidates.item_ids) > most:
        raise ServingError(
            f"service: {0 if candidates is None else len(candidates.item_ids)} candidates, must be 1..{most}"
        )
    return candidates


def ask_trend(client: httpx.Client, bundle_version: str, top_k: int) -> list[dict[str, Any]] | None:
    """Ask for the trend's items as the service shows them, best first; None when it no longer has the bundle."""
    body = {"mode": "profile", "bundle_version": bundle_version, "profile": None, "top_k": top_k}
    answer = _question(client, body)
    if answer is None:
        return None
    try:
        columns = ("item_id", "score", "title", "category", "price")
        listed = [{name: item[name] for name in columns} for item in answer["recommendations"]]
        known = all(isinstance(item["item_id"], str) and np.isfinite(item["score"]) for item in listed)
    except (KeyError, TypeError):
        known = False
    if not known:
        raise ServingError("service: its answer is not a list of recommendations")
    return listed


@dataclass(frozen=True)
class CatalogueFile:
    """A catalogue file at hand. digest: its sha256 (hex)."""

    bundle_version: str
    digest: str
    content: bytes


def fetch_catalogue(client: httpx.Client, current: CatalogueFile | None) -> bytes | None:
    """Fetch the service's current catalogue file, or None when it is the held one.

    The service is told the version held, and may answer with the difference. Whatever is wrong with that, the whole
    file is fetched. Raises ServingError when that is too large or not the one its ETag names.
    """
    if current is None:
        return _fetch(client, "catalogue", MAX_CATALOGUE_BYTES, None)
    try:
        return _fetch(client, "catalogue", MAX_CATALOGUE_BYTES, current.digest, current)
    except _BadDelta:
        return _fetch(client, "catalogue", MAX_CATALOGUE_BYTES, current.digest)


def fetch_changes(client: httpx.Client, bundle_version: str, since: int) -> CatalogueChanges | None:
    """Fetch what changed about a bundle's items after a sequence.

    None where the service cannot say, as an older one.

    Raises ServingError for an answer that is something else.
    """
    step = since - since % SINCE_STEP
    url = f"/v1/catalogue/{quote(bundle_version, safe='')}/changes"
    try:
        with client.stream("GET", url, params={"since": step}, headers=PACKED, follow_redirects=False) as response:
            if response.status_code == 404:
                read_bounded(response, "answer")
                return None
            if response.status_code != 200:
                _answer(response)
                raise ServingError(f"service: status {response.status_code} instead of changes")
            content = read_bounded(response, "changes", MAX_CHANGES_BYTES)
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None
    try:
        changes = decode_changes(content)
    except ModelError as error:
        raise ServingError(f"service: {error}") from None
    if changes.bundle_version != bundle_version:
        raise ServingError("service: tells changes of another bundle than it was asked for")
    return changes


def fetch_clusters(client: httpx.Client, current: str | None) -> bytes | None:
    """Fetch the service's current clusters file. None when it is the held one (sha256, hex); as fetch_catalogue."""
    return _fetch(client, "clusters", MAX_CLUSTERS_BYTES, current)


def fetch_clusters_proof(client: httpx.Client, bundle_version: str, since: int) -> LogProof:
    """Fetch the proof that a clusters file is in the custodian's log, unchecked; since: size of the log seen before.

    Raises ServingError when the service has none to give, LogRefused for broken bytes.
    """
    url = f"/v1/federation/log/clusters/{quote(bundle_version, safe='')}"
    try:
        with client.stream("GET", url, params={"since": since}, headers=PACKED, follow_redirects=False) as response:
            if response.status_code != 200:
                read_bounded(response, "answer")
                raise ServingError(f"service: has no log proof to give (status {response.status_code})")
            return LogProof.from_bytes(read_bounded(response, "log proof", MAX_PROOF_BYTES))
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None


class _BadDelta(Exception):
    """A difference that does not lead to the file that it promises."""


def _fetch(
    client: httpx.Client, name: str, most_bytes: int, digest: str | None, older: CatalogueFile | None = None
) -> bytes | None:
    headers = PACKED if digest is None else PACKED | {"if-none-match": f'"{digest}"'}
    url: str | httpx.URL = f"/v1/{name}/current"
    params = None if older is None else {"since": older.bundle_version}
    try:
        for _ in range(2):
            with client.stream("GET", url, params=params, headers=headers, follow_redirects=False) as response:
                if response.has_redirect_location:
                    read_bounded(response, "answer")  # so that the connection can be used again
                    url, params = _nearby(response), None
                    continue
                return _content(response, name, most_bytes, older)
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None
    raise ServingError(f"service: sends the device from one {name} address to the next")


def _nearby(response: httpx.Response) -> httpx.URL:
    """Resolve where a redirect leads. A device goes where its own service is and nowhere else, whatever it is told."""
    ours, target = response.url, response.url.join(response.headers.get("location", ""))
    if (target.scheme, target.host, target.port) != (ours.scheme, ours.host, ours.port):
        raise ServingError("service: sends the device to another address, where it does not go")
    return target


def _content(response: httpx.Response, name: str, most_bytes: int, older: CatalogueFile | None) -> bytes | None:
    """Read the file of a streamed answer, None for the one held. Raises _BadDelta where only a difference was bad."""
    if response.status_code == 304:
        return None
    if response.status_code != 200:
        _answer(response)
    etag = response.headers.get("etag", "").strip('"')
    if older is not None and _DELTA_HEADER in response.headers:
        try:
            whole = apply_delta(older.content, read_bounded(response, name, most_bytes))
        except (ModelError, ServingError, httpx.HTTPError):
            raise _BadDelta from None
        if response.headers[_DELTA_HEADER] != older.bundle_version or hashlib.sha256(whole).hexdigest() != etag:
            raise _BadDelta
        return whole
    content = read_bounded(response, name, most_bytes)
    if hashlib.sha256(content).hexdigest() != etag:
        raise ServingError(f"{name}: not the file that its ETag names; torn or changed on the way")
    return content


def _question(client: httpx.Client, body: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        with client.stream(
            "POST", "/v1/recommendations", json=dict(body), headers=PACKED, follow_redirects=False
        ) as response:
            if response.status_code == 409:
                read_bounded(response, "answer")
                return None
            return _answer(response)
    except httpx.HTTPError as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None


def _answer(response: httpx.Response) -> dict[str, Any]:
    """Read the JSON of a streamed answer. Raises ServingError for any but a good one."""
    answer = read_json(response, "answer")
    if answer is None:
        raise ServingError(f"service: status {response.status_code}, not an Ownshelf service")
    if response.status_code != 200:
        error = answer.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise ServingError(f"service: status {response.status_code}: {str(message)[:200]!r}")
    return answer
