"""Packed files and files in another encoding, unpacked to plain UTF-8 files in a scratch folder, a piece at a time."""

from __future__ import annotations

import atexit
import bz2
import codecs
import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Any

from data.errors import DataError

_CHUNK = 1 << 20
_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2", b"PK\3\4": "zip"}
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SHEET = "[Content_Types].xml"  # what every xlsx and docx holds
_NUMBERS = count()


@cache
def scratch_folder() -> Path:
    """Make a folder that is removed when the process ends, for callers that have none of their own."""
    folder = tempfile.mkdtemp(prefix="ownshelf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def is_packed(head: bytes) -> bool:
    """Tell whether a file begins as a packed one does."""
    return any(head.startswith(magic) for magic in _MAGIC)


def unpack(path: Path, scratch: Path | None, *, limit: int | None = None) -> tuple[Path, tuple[str, ...]]:
    """Return a plain file with the content of a gz, zst, bz2, zip or UTF-16 file, and a note; others as they are.

    The unpacked copy is on disk, in `scratch`. limit: bytes to unpack of a packed file, None: all. Raises DataError for
    a broken archive, an archive of several files, and a spreadsheet.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    packing = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    encoding = next((name for mark, name in _UTF_16.items() if head.startswith(mark)), "")
    if not packing and not encoding:
        return path, ()
    target = (scratch or scratch_folder()) / f"unpacked-{next(_NUMBERS)}-{path.stem if packing else path.name}"
    if encoding:
        _decode(path, target, encoding)
        return target, ("text: is UTF-16, it is read as such",)
    try:
        with _opened(path, packing) as source, target.open("wb") as sink:
            if limit is None:
                shutil.copyfileobj(source, sink, _CHUNK)
            else:
                sink.write(source.read(limit))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise DataError(f"source={path}: cannot be unpacked ({str(error).splitlines()[0]})") from None
    inner, notes = unpack(target, scratch, limit=limit)
    return inner, (f"file: unpacked from {packing}", *notes)


@contextmanager
def _opened(path: Path, packing: str) -> Iterator[IO[bytes] | Any]:
    if packing == "gz":
        with gzip.open(path) as stream:
            yield stream
    elif packing == "bz2":
        with bz2.open(path) as stream:
            yield stream
    elif packing == "zst":
        import pyarrow as pa  # a tenth of a second, for those who need it

        with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
            yield stream
    else:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if _SHEET in names:
                raise DataError(f"source={path}: is a spreadsheet, save it as csv first")
            if len(names) != 1:
                raise DataError(f"source={path}: holds {len(names)} files, must hold one; unpack it and name them")
            with archive.open(names[0]) as stream:
                yield stream


def _decode(path: Path, target: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    with path.open("rb") as source, target.open("wb") as sink:
        while chunk := source.read(_CHUNK):
            sink.write(decoder.decode(chunk).encode("utf-8", "replace"))
        sink.write(decoder.decode(b"", final=True).encode("utf-8", "replace"))
