"""Looking for secrets where they must not be: in what was sent, in files, and in the memory of running processes."""

from __future__ import annotations

import base64
import io
import mmap
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

PIECE = 16
"""Bytes that are looked for at a time: enough that chance never finds them, few enough that half a vector is found."""
CHUNK = 1 << 24
BEGINNING = 8
PAGE = mmap.PAGESIZE


class Recorder:
    """Passes TCP connections on to an address and keeps every byte of both directions."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._kept: list[bytes] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def seen(self) -> bytes:
        """Everything so far, each direction of each connection in its own order."""
        return b"".join(self._kept)

    def close(self) -> None:
        """When the parties are gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            done = threading.Semaphore(1)
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pass, args=(source, sink, done), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pass(self, source: socket.socket, sink: socket.socket, done: threading.Semaphore) -> None:
        kept = b""
        try:
            while piece := source.recv(1 << 16):
                kept = kept[-PIECE:] + piece  # with what a boundary would cut in two
                self._kept.append(kept)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if not done.acquire(blocking=False):  # the second direction to end closes both
            source.close()
            sink.close()


def files_below(*folders: Path) -> Iterator[bytes]:
    """The content of every file of some folders; files of a running program may go while one looks."""
    for folder in folders:
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            try:
                if path.is_file():
                    yield path.read_bytes()
            except FileNotFoundError:
                continue


def memory_of(pid: int) -> Iterator[bytes]:
    """The memory of a process that can hold data: its writable or anonymous pages, in overlapping chunks."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with (
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory,
        Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages,
    ):
        for line in maps:
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            if "r" not in rights or name[:1] in (["[vvar]"], ["[vdso]"], ["[vsyscall]"]):
                continue
            if "w" not in rights and name:
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            for first, last in _touched(pages, start, end):
                for at in range(first, last, CHUNK):
                    memory.seek(at)
                    try:
                        yield memory.read(min(CHUNK + PIECE, last - at))
                    except OSError:  # gone since
                        break


def _touched(pages: io.RawIOBase, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches of start..end that were ever written to; the rest is reserved and holds nothing."""
    pages.seek(start // PAGE * 8)
    entries = np.frombuffer(pages.read((end - start) // PAGE * 8) or b"", dtype="<u8")
    there = np.concatenate(([False], entries >> np.uint64(62) != 0, [False]))  # in memory or swapped out
    turns = np.flatnonzero(there[1:] != there[:-1])
    for first, last in zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True):
        yield start + first * PAGE, start + last * PAGE


def pieces(content: bytes, at_most: int = 12) -> list[bytes]:
    """Some stretches of a secret that are unmistakable: not mostly zeros, not twice the same few bytes."""
    found = []
    for start in range(0, len(content) - PIECE + 1, PIECE):
        for skip in range(BEGINNING):
            piece = content[start + skip : start + skip + PIECE]
            rare = len(set(piece[:2]) - {0, 1, 255}) == 2  # or half of a memory has to be looked at closely
            if rare and len(piece) == PIECE and piece.count(0) <= PIECE // 2 and len(set(piece)) >= PIECE // 2:
                found.append(piece)
                break
    assert found, "a secret that nobody could recognise"
    return [found[place] for place in np.linspace(0, len(found) - 1, min(at_most, len(found))).astype(int)]


def encodings_of(vector: npt.NDArray[np.float64]) -> dict[str, list[bytes]]:
    """A vector as programs keep it: raw in both widths, in base64 at every alignment, and in decimals."""
    single = vector.astype("<f4")
    shown = [repr(float(value)).encode() for value in single.ravel()[np.flatnonzero(single)][:4]]
    return {
        "float32": pieces(single.tobytes()),
        "float64": pieces(vector.astype("<f8").tobytes()),
        "base64": [
            piece
            for skip in range(3)
            for piece in pieces(base64.b64encode(single[np.flatnonzero(single)].tobytes()[skip:])[:-8], 4)
        ],
        "decimal": [text for text in shown if len(text) >= 10],
    }


def found_in(contents: Iterable[bytes], secrets: Mapping[str, list[bytes]]) -> tuple[set[str], int]:
    """The names of the secrets that occur, and how many bytes were searched.

    All patterns in one pass: a place is looked at closely if its first four bytes may begin one of them.
    """
    beginnings: dict[int, list[tuple[str, bytes]]] = {}
    promising = np.zeros(1 << 20, dtype=np.bool_)
    for name, patterns in secrets.items():
        for pattern in patterns:
            assert len(pattern) >= BEGINNING, name
            beginnings.setdefault(int.from_bytes(pattern[:BEGINNING], "little"), []).append((name, pattern))
            promising[_mixed(np.frombuffer(pattern[:4], dtype="<u4"))] = True
    known = np.array(sorted(beginnings), dtype=np.uint64)
    found: set[str] = set()
    searched = 0
    for content in contents:
        searched += len(content)
        if len(content) < BEGINNING:
            continue
        raw = np.frombuffer(content, dtype=np.uint8)
        last = len(raw) - BEGINNING + 1
        fours = sum(raw[skip : skip + last].astype(np.uint32) << np.uint32(8 * skip) for skip in range(4))
        places = np.flatnonzero(promising[_mixed(fours)])
        windows = np.lib.stride_tricks.sliding_window_view(raw, BEGINNING)[places]
        numbers = np.ascontiguousarray(windows).view("<u8").ravel()
        hits = np.isin(numbers, known)
        for place, number in zip(places[hits].tolist(), numbers[hits].tolist(), strict=True):
            for name, pattern in beginnings[number]:
                if content.startswith(pattern, place):
                    found.add(name)
    return found, searched


def _mixed(fours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """20 bits of four bytes."""
    return (fours * np.uint32(2654435761)) >> np.uint32(12)
