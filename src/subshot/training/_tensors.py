"""Files of tensors: safetensors with a JSON header, written whole or not at all, and read without running anything."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from subshot.errors import DataError
from subshot.training._header import KEY


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``header`` (JSON values) to ``path``.

    The file is replaced when the new one is complete and on disk: killed at any moment, one of the two is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    # Copies, since tensors that share memory are refused.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, partial, {KEY: json.dumps(header, sort_keys=True)})
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the header of a file of :func:`write_tensors`.

    Raises:
        DataError: There is no such file, or it is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Give a .safetensors file that subshot wrote.") from error
    if not isinstance(header, dict):
        raise DataError(f"{path} has weights that subshot didn't write.", "Read them with safetensors itself.")
    return tensors, header


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 of names, types, shapes and values, in the order of the names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name};{tensor.dtype};{tuple(tensor.shape)};".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]
