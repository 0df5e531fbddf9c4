"""The hash of each bundle's clusters file is in the log, one for ever, and a device may ask that it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from data.errors import ServingError
from federation.custodian.custodian import Custodian
from federation.device.asking.logged_clusters import check_logged
from federation.device.device import Device
from federation.private_sum.refusals import ForeignTask, TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogRefused
from federation.protocol.transparency import (
    LogProof,
    clusters_entry,
    clusters_of_bytes,
    clusters_to_bytes,
    entries_from_bytes,
)
from tests.federation.custodian.a_custodian import a_client, a_custodian, draft, now
from tests.federation.device.test_cluster_ledger import clusters_of

CLUSTERS = clusters_of("shop-7")
HASH = bytes.fromhex(CLUSTERS.content_hash)


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = a_custodian(tmp_path / "custodian")
    yield opened
    opened.shut()


def passing_on(custodian: Custodian) -> httpx.Client:
    """A service that asks its custodian for proofs."""
    line = a_client(custodian)

    def answer(request: httpx.Request) -> httpx.Response:
        version = request.url.path.rpartition("/clusters/")[2]
        try:
            return httpx.Response(200, content=line.clusters_proof(version, int(request.url.params["since"])))
        except ForeignTask:
            return httpx.Response(404, json={"error": {"code": "not_found"}})
        except LogRefused:
            return httpx.Response(422, json={"error": {"code": "invalid_request"}})

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="https://shop.test")


def test_one_hash_of_a_version_is_logged_once_and_another_refused(custodian: Custodian) -> None:
    line = a_client(custodian)
    for _ in range(2):
        line.log_clusters("shop-7", HASH)
    assert entries_from_bytes(custodian.log_entries(0))[2:] == [clusters_entry("shop-7", HASH)]
    with pytest.raises(TaskRefused, match="a version has one file for ever"):
        line.log_clusters("shop-7", bytes(32))
    proof = LogProof.from_bytes(line.clusters_proof("shop-7", 1))
    assert proof.check(clusters_entry("shop-7", HASH), custodian.key.public, None).size == 3
    with pytest.raises(ForeignTask):
        line.clusters_proof("shop-8", 0)


@pytest.mark.parametrize(
    "asked", [b"", b"\1\0\0\0a", clusters_to_bytes("a", HASH) + b"\0", clusters_to_bytes("a/b", HASH)]
)
def test_a_question_that_is_none_is_refused(custodian: Custodian, asked: bytes) -> None:
    with pytest.raises(TaskRefused):
        custodian.log_clusters(asked)
    assert clusters_of_bytes(clusters_to_bytes("a", HASH)) == ("a", HASH)


def test_a_device_names_clusters_of_a_logged_file_alone(custodian: Custodian, tmp_path: Path) -> None:
    device = Device.create(tmp_path / "device", consent="observe", key_store="file")
    client, key = passing_on(custodian), custodian.key.public
    with pytest.raises(ServingError, match="has no log proof to give"):
        check_logged(device, client, CLUSTERS, key)
    custodian.log_clusters(clusters_to_bytes("shop-7", HASH))
    check_logged(device, client, CLUSTERS, key)
    head = device.state.participation.log_head
    assert head is not None
    assert head.size == 3  # after the plan and an issuer's key
    other = replace(CLUSTERS, centroids=CLUSTERS.centroids[::-1].copy())  # of the same version, for this device alone
    with pytest.raises(LogRefused, match="entry is not at"):
        check_logged(device, client, other, key)
    with pytest.raises(LogRefused, match="not signed"):
        check_logged(device, client, CLUSTERS, SigningKey.generate().public)
    custodian.open_round(draft().draft_bytes(), now())
    check_logged(device, client, CLUSTERS, key)
    later = device.state.participation.log_head
    assert later is not None
    assert later.size == 5
