"""A network as weights and a Python file that rebuilds it with torch alone: no subshot, no safetensors package.

The file holds a class for each kind of module, in plain layers and functions of torch, found by running the network
(``_record.py``). It is imported after it was written, and must give the same bits as the network.
"""

import importlib.util
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from subshot import __version__
from subshot.errors import NetworkError
from subshot.export._frame import Frame
from subshot.export._record import record
from subshot.export._source import Writer, is_leaf
from subshot.export._timing import evaluating
from subshot.training._tensors import write_tensors

_INSTEAD = "Export it as onnx or torch."

_HEAD = '''"""{title}

Written by subshot {version}. It needs torch, and {weights} beside it:

    import {module}

    network = {module}.load()
    outputs = network(inputs)  # {shapes}

{notes}
"""

import json
{imports}
WEIGHTS = Path(__file__).with_name("{weights}")
'''

_TAIL = '''def build():
    """The network, its weights without meaning."""
    return {root}


def load(path=WEIGHTS):
    """The trained network, in evaluation mode."""
    network = build()
    network.load_state_dict(read_safetensors(path))
    return network.eval()


def read_safetensors(path):
    """Tensors by name. The file: a length, a JSON header of that length with types, shapes and places, the values."""
    types = {{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}}
    types |= {{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}}
    types |= {{"U8": torch.uint8, "BOOL": torch.bool}}
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {{}}
    for name, facts in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        kind, (first, end) = types[facts["dtype"]], facts["data_offsets"]
        values = torch.empty(0, dtype=kind)
        if end > first:
            values = torch.frombuffer(data, dtype=torch.uint8, offset=start + first, count=end - first)
            values = values.clone().view(kind)
        tensors[name] = values.reshape(facts["shape"])
    return tensors
'''


def export_standalone(
    network: nn.Module,
    folder: Path,
    *,
    examples: tuple[Tensor, Tensor],
    name: str = "network",
    facts: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Write ``NAME.safetensors`` and ``NAME.py`` into a folder.

    The network is written as it is in evaluation mode.

    Args:
        network: What to write.
        folder: Where.
        examples: Two batches (S, ...) and (S', ...) of different size and values that the network takes.
        name: Name of both files, an identifier.
        facts: Plain values that the file states, by names in capitals, for example the mean of each channel.
        notes: Lines for the head of the file, for example how inputs are normalised.

    Returns:
        The paths of weights and code.

    Raises:
        NetworkError: The network can't be written down as plain code, or the file doesn't give the same outputs.
    """
    weights, code = folder / f"{name}.safetensors", folder / f"{name}.py"
    with evaluating(network):
        frames = record(network, examples, is_leaf=is_leaf)
        expected = [network(one) for one in examples]
        body = _body(network, frames)
        head = _HEAD.format(
            title=f"{type(network).__name__} as plain code.",
            version=__version__,
            weights=weights.name,
            module=name,
            shapes=f"{_shape(examples[0])} to {_shape(expected[0])}",
            notes="\n".join(notes) or "Inputs are as in training.",
            imports=_imports(body),
        )
        stated = "".join(f"{key} = {value!r}\n" for key, value in (facts or {}).items())
        folder.mkdir(parents=True, exist_ok=True)
        try:
            code.write_text(head + stated + body, encoding="utf-8")
            module = _import(code)
            write_tensors(weights, _values(network, frames, module.build().state_dict()), {"kind": "standalone"})
            _check(module.load(), examples, expected)
        except BaseException:
            code.unlink(missing_ok=True)
            weights.unlink(missing_ok=True)
            raise
    return weights, code


def plain_network(network: nn.Module, examples: tuple[Tensor, Tensor]) -> nn.Module:
    """The same network from plain code, with the same weights and without what the original does in Python.

    Raises:
        NetworkError: The network can't be written down as plain code.
    """
    with tempfile.TemporaryDirectory() as folder:
        _, code = export_standalone(network, Path(folder), examples=examples)
        plain: nn.Module = import_file(code).load()
    return plain


def import_file(path: Path) -> ModuleType:
    """Import a written file, without leaving a compiled one beside it."""
    spec = importlib.util.spec_from_file_location(f"subshot_standalone_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _import(path: Path) -> ModuleType:
    try:
        return import_file(path)
    except Exception as error:
        raise NetworkError(f"The code of the network doesn't run: {error}.", _INSTEAD) from error


def _body(network: nn.Module, frames: list[Frame]) -> str:
    writer = Writer(frames)
    tail = _TAIL.format(root=writer.build(network, indent=4))
    return "".join(f"\n\n{part}" for part in [*writer.classes, tail])


def _imports(body: str) -> str:
    lines = ["from collections import OrderedDict"] if "OrderedDict(" in body else []
    lines += ["from pathlib import Path", "", "import torch"]
    lines += ["import torch.nn.functional as F"] if re.search(r"\bF\.", body) else []
    return "\n".join([*lines, "from torch import nn", ""])


def _values(network: nn.Module, frames: list[Frame], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that they have in the file: parameters, buffers of any kind, and constants."""
    paths = {id(module): path for path, module in network.named_modules()}
    own: dict[str, Tensor] = {
        f"{paths[id(frame.module)]}.{name}".lstrip("."): value
        for frame in frames
        for name, value in frame.constants.items()
    }
    own |= dict(network.named_buffers(remove_duplicate=False))
    own |= dict(network.named_parameters(remove_duplicate=False))
    missing = [name for name in wanted if name not in own]
    if missing:
        raise NetworkError(f"The code of the network has a tensor {missing[0]} that it hasn't.", _INSTEAD)
    return {name: own[name] for name in wanted}


def _check(rebuilt: nn.Module, examples: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for inputs, outputs in zip(examples, expected, strict=True):
            found = rebuilt(inputs)
            if found.shape != outputs.shape or not torch.allclose(found, outputs, rtol=0, atol=0, equal_nan=True):
                raise NetworkError("The code of the network gives other outputs than the network.", _INSTEAD)


def _shape(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} ({', '.join(['N', *map(str, tensor.shape[1:])])})"
