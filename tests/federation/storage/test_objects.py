from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import FederationError, ModelError
from federation.service.intake.share_files import ShareFolder, ShareLocation, ShareLost, ShareStorage
from federation.service.intake.share_objects import ShareObjects
from federation.storage.bundle_copies import BundleCopies
from federation.storage.objects import FolderObjects, Objects, ObjectsUnavailable, open_objects
from tests.object_store import BUCKET, ObjectServer, an_object_store
from tests.shop import make_bundle


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with an_object_store() as server:
        yield server


@pytest.fixture(params=["folder", "store"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects(tmp_path / "objects")
    request.getfixturevalue("server")
    return open_objects(f"s3://{BUCKET}/{tmp_path.name}")


def test_objects_are_written_read_listed_and_deleted(objects: Objects) -> None:
    objects.put("a/b/one", b"first")
    objects.put("a/b/one", b"second")
    objects.put("a/c/two", b"")
    objects.put("other", b"x")
    assert objects.get("a/b/one") == b"second"
    assert objects.get_range("a/b/one", 2, 3) == b"con"
    assert objects.get_range("a/b/one", 4, 30) == b"nd"
    assert objects.sizes("a") == {"a/b/one": 6, "a/c/two": 0}
    assert objects.folders("a") == {"b", "c"}
    assert (objects.sizes("none"), objects.folders("none")) == ({}, set())
    objects.delete("a/b")
    objects.delete("a/b")
    assert objects.sizes("a") == {"a/c/two": 0}
    objects.delete("other")
    with pytest.raises(FileNotFoundError):
        objects.get("other")


def test_of_two_who_write_a_new_object_one_does(objects: Objects) -> None:
    assert [objects.put_new("keys/id", content) for content in (b"one", b"two")] == [True, False]
    assert objects.get("keys/id") == b"one"


@pytest.mark.parametrize("url", ["file:///somewhere", "memory:///", "/a/path", "https://example.com/x", ""])
def test_only_stores_that_are_durable_are_opened(url: str) -> None:
    with pytest.raises(FederationError, match="objects: must begin with s3://"):
        open_objects(url)


def test_a_store_that_fails_for_good_is_an_error_of_the_system_without_its_words(server: ObjectServer) -> None:
    objects = open_objects(f"s3://{BUCKET}/failing")
    server.broken = 1.0
    try:
        with pytest.raises(ObjectsUnavailable) as failed:
            objects.put("a", b"secret")
    finally:
        server.broken = 0.0
    assert str(failed.value) == "objects: GenericError"


@pytest.fixture(params=["folder", "objects"])
def shares(request: pytest.FixtureRequest, tmp_path: Path) -> ShareStorage:
    if request.param == "folder":
        return ShareFolder(tmp_path / "shares")
    request.getfixturevalue("server")
    return ShareObjects(open_objects(f"s3://{BUCKET}/{tmp_path.name}"), "shares")


def test_shares_come_back_until_they_are_destroyed(shares: ShareStorage) -> None:
    contents = [bytes([n]) * (10 + n) for n in range(5)]
    places = [*shares.append("t-1", contents[:3]), *shares.append("t-1", contents[3:])]
    shares.append("t-2", [b"other"])
    assert [shares.read("t-1", place, 10 + n) for n, place in enumerate(places)] == contents
    assert shares.lost("t-1", places, 10) == set()
    assert shares.lost("t-1", places[-1:], 15) == {places[-1]}  # it has 14
    gone = ShareLocation("gone.shares", 0)
    assert shares.lost("t-1", [*places, gone], 10) == {gone}
    with pytest.raises(ShareLost):
        shares.read("t-1", gone, 10)
    with pytest.raises(ShareLost):
        shares.read("t-1", places[-1], 15)
    assert shares.rounds() == {"t-1", "t-2"}
    shares.destroy("t-1")
    shares.destroy("t-1")
    assert shares.rounds() == {"t-2"}
    with pytest.raises(FileNotFoundError):  # a storage without any share of a round may not be the one
        shares.lost("t-1", places, 10)
    shares.release()


def test_a_bundle_is_copied_once_fetched_elsewhere_and_torn_copies_are_made_again(
    server: ObjectServer, tmp_path: Path
) -> None:
    made, objects = make_bundle(tmp_path / "b"), open_objects(f"s3://{BUCKET}/{tmp_path.name}")
    here, there = BundleCopies(tmp_path / "here", objects), BundleCopies(tmp_path / "there", objects)
    with pytest.raises(ModelError, match="not in the object store"):
        there.open(made.version, made.version)
    here.add(made.version, tmp_path / "b", made.version)
    make_bundle(tmp_path / "b", seed=1)
    for copies in (here, there):
        assert copies.open(made.version, made.version).version == made.version
    torn = there.path(made.version) / "tensors.safetensors"
    torn.chmod(0o644)
    torn.write_bytes(b"")
    assert there.open(made.version, made.version).version == made.version
    with pytest.raises(ModelError, match="must be"):
        here.add("another", tmp_path / "b", made.version)
    there.forget([made.version])
    assert (there.names(), objects.sizes("bundles")) == (set(), {})
