"""The difference between two catalogue files: what a device that has the older one must still download.

A delta is zlib over a length, JSON, then raw bytes. A part (tensor, or text of the metadata) that is the same is not in
it; a tensor with rows is sent as the rows that differ; the items' columns as the places that differ. The result is the
newer file byte for byte, which its hash proves.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from data.errors import ModelError
from recsys.catalogue import tensor_file

FORMAT = 1
MAX_BYTES = 2**30
_MARK = b"OSDELTA1"


def encode_delta(old: bytes, new: bytes) -> bytes:
    """What makes the new catalogue file of the old one."""
    (before, told), (after, tells) = _parts(old), _parts(new)
    header: dict[str, Any] = {
        "format": FORMAT,
        "from": hashlib.sha256(old).hexdigest(),
        "to": hashlib.sha256(new).hexdigest(),
        "order": list(after),
        "texts": {name: text for name, text in tells.items() if name != "items" and told.get(name) != text},
        "names": list(tells),
        "items": _columns(json.loads(told["items"]), json.loads(tells["items"])),
        "tensors": [],
    }
    raw: list[bytes] = []
    for name, tensor in after.items():
        known = before.get(name)
        if known is not None and known.dtype == tensor.dtype and known.shape == tensor.shape:
            if np.array_equal(known, tensor):
                continue
            rows = np.flatnonzero((known != tensor).reshape(len(tensor), -1).any(axis=1)).astype("<i4")
            header["tensors"].append([name, len(rows)])
            raw += [rows.tobytes(), np.ascontiguousarray(tensor[rows]).tobytes()]
        else:
            header["tensors"].append([name, -1, tensor.dtype.str, list(tensor.shape)])
            raw.append(tensor.tobytes())
    text = json.dumps(header, ensure_ascii=False).encode()
    return zlib.compress(_MARK + struct.pack("<Q", len(text)) + text + b"".join(raw), 6)


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """The new catalogue file. Raises ModelError unless it is, byte for byte, the one the delta was made for."""
    try:
        unpacked = zlib.decompressobj()
        content = unpacked.decompress(delta, MAX_BYTES)
        if unpacked.unconsumed_tail or content[: len(_MARK)] != _MARK:
            raise ModelError("delta: not a delta of catalogues")
        (length,) = struct.unpack_from("<Q", content, len(_MARK))
        start = len(_MARK) + 8
        header = json.loads(content[start : start + length])
        if header["format"] != FORMAT or header["from"] != hashlib.sha256(old).hexdigest():
            raise ModelError("delta: is not for the catalogue at hand")
        before, told = _parts(old)
        tensors = _tensors(before, header, content[start + length :])
        texts = {**told, **header["texts"]}
        texts["items"] = json.dumps(_patched(json.loads(told["items"]), header["items"]), ensure_ascii=False)
        new = tensor_file({name: tensors[name] for name in header["order"]}, {n: texts[n] for n in header["names"]})
    except ModelError:
        raise
    except (zlib.error, struct.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"delta: not a delta of catalogues ({type(error).__name__})") from None
    if hashlib.sha256(new).hexdigest() != header["to"]:
        raise ModelError("delta: does not give the catalogue that it promises")
    return new


def _parts(file: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Tensors in the order of the file, and the texts of its metadata."""
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8 : 8 + length])
    texts = header.pop("__metadata__")
    tensors = load(file)
    return {name: tensors[name] for name in sorted(header, key=lambda name: header[name]["data_offsets"])}, texts


def _tensors(before: dict[str, npt.NDArray[Any]], header: dict[str, Any], raw: bytes) -> dict[str, npt.NDArray[Any]]:
    found, at = dict(before), 0
    for name, n_rows, *whole in header["tensors"]:
        if n_rows < 0:
            dtype, shape = np.dtype(whole[0]), tuple(whole[1])
            size = int(np.prod(shape)) * dtype.itemsize
            found[name] = np.frombuffer(raw[at : at + size], dtype).reshape(shape)
            at += size
            continue
        tensor = before[name].copy()
        rows = np.frombuffer(raw, "<i4", n_rows, at)
        at += rows.nbytes
        width = tensor[:1].nbytes
        fresh = np.frombuffer(raw[at : at + n_rows * width], tensor.dtype)
        tensor[rows] = fresh.reshape(n_rows, *tensor.shape[1:])
        at += n_rows * width
        found[name] = tensor
    return found


def _columns(old: dict[str, list[Any]], new: dict[str, list[Any]]) -> dict[str, Any]:
    """Column → whole, or the places that differ and what is there now."""
    found: dict[str, Any] = {"names": list(new)}
    for name, values in new.items():
        known = old.get(name, [])
        places = [place for place, value in enumerate(values) if place >= len(known) or known[place] != value]
        if len(values) < len(known) or name not in old:
            found[name] = {"whole": values}
        elif places:
            found[name] = {"at": places, "are": [values[place] for place in places]}
    return found


def _patched(old: dict[str, list[Any]], changed: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name in changed["names"]:
        change = changed.get(name)
        if change is not None and "whole" in change:
            found[name] = change["whole"]
            continue
        values = list(old[name])
        for place, value in zip(change["at"], change["are"], strict=True) if change else ():
            if place == len(values):
                values.append(value)
            else:
                values[place] = value
        found[name] = values
    return found
