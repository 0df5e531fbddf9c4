"""Safetensors files for devices: the same bytes for the same content.

Written here rather than by safetensors, whose metadata comes in random order: an ETag needs the same bytes each time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

KINDS = {"int8": "I8", "uint8": "U8", "uint16": "U16", "int32": "I32", "float32": "F32"}
"""Types of tensors in the file, numpy's name → that of safetensors."""


def read_tensors(file: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read the tensors of a safetensors file in its order, and its metadata.

    Raises what safetensors, json and struct raise.
    """
    tensors = load(file)  # first: what it lets through is a header that json reads as a dict
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8 : 8 + length])
    texts = header.pop("__metadata__")
    return {name: tensors[name] for name in sorted(header, key=lambda name: header[name]["data_offsets"])}, texts


def tensor_file(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Write a safetensors file of tensors of KINDS: the same bytes for the same arguments."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    body = b""
    for name, tensor in tensors.items():
        content = np.ascontiguousarray(tensor).tobytes()
        header[name] = {
            "dtype": KINDS[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(content)],
        }
        body += content
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
