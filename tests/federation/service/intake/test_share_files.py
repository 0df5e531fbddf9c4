from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from federation.service.intake.share_files import ShareFolder, ShareLocation, ShareLost


def test_shares_come_back_from_their_places(tmp_path: Path) -> None:
    folder = ShareFolder(tmp_path / "shares")
    shares = [os.urandom(1000 + n) for n in range(20)]
    places = [place for start in range(0, 20, 7) for place in folder.append("t-1", shares[start : start + 7])]
    assert [folder.read("t-1", place, len(share)) for place, share in zip(places, shares, strict=True)] == shares
    assert len({place.segment for place in places}) == 1
    folder.release()


def test_every_process_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    one, two = ShareFolder(tmp_path), ShareFolder(tmp_path)
    first, second = one.append("t-1", [b"one"])[0], two.append("t-1", [b"two"])[0]
    assert first.segment != second.segment
    assert (two.read("t-1", first, 3), one.read("t-1", second, 3)) == (b"one", b"two")
    one.release()
    two.release()


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    folder = ShareFolder(tmp_path / "shares")
    place = folder.append("t-1", [b"share"])[0]
    assert stat.S_IMODE((tmp_path / "shares" / "t-1" / place.segment).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "shares" / "t-1").stat().st_mode) == 0o700
    folder.release()


def test_a_share_that_is_not_there_whole_is_an_error(tmp_path: Path) -> None:
    folder = ShareFolder(tmp_path)
    place = folder.append("t-1", [b"share"])[0]
    with pytest.raises(ShareLost, match="share of 5 bytes: must be 6"):
        folder.read("t-1", place, 6)
    with pytest.raises(ShareLost, match="segment x: is gone"):
        folder.read("t-1", ShareLocation("x", 0), 1)
    with pytest.raises(FileNotFoundError):
        folder.read("t-2", place, 5)  # of a file system that is not mounted: to be read later
    folder.release()


def test_destroying_leaves_other_rounds(tmp_path: Path) -> None:
    folder = ShareFolder(tmp_path)
    folder.append("t-1", [b"one"])
    place = folder.append("t-2", [b"two"])[0]
    folder.destroy("t-1")
    folder.destroy("t-1")
    assert folder.rounds() == {"t-2"}
    assert folder.read("t-2", place, 3) == b"two"
    folder.release()


def test_after_a_failed_sync_the_next_shares_get_another_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ShareFolder(tmp_path)
    before = folder.append("t-1", [b"one"])[0]

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("federation.service.intake.share_files.os.fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            folder.append("t-1", [b"two"])
    after = folder.append("t-1", [b"three"])[0]
    assert after.segment != before.segment
    assert folder.read("t-1", after, 5) == b"three"
    folder.release()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, write = ShareFolder(tmp_path), os.write
    with monkeypatch.context() as patch:
        patch.setattr("federation.service.intake.share_files.os.write", lambda fd, rest: write(fd, bytes(rest[:3])))
        places = folder.append("t-1", [b"abcdefgh", b"ijk"])
    assert [folder.read("t-1", place, n) for place, n in zip(places, (8, 3), strict=True)] == [b"abcdefgh", b"ijk"]
    folder.release()
