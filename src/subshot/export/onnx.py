"""A network as ONNX, checked against PyTorch and timed in ONNX Runtime.

Written by torch's exporter that builds on ``torch.export`` (the older one, by tracing, is to be removed from torch);
it needs onnx and onnxscript. The size of the batch is left open.
"""

import copy
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import MissingDependencyError, NetworkError
from subshot.export._timing import Exported, difference, evaluating, latency_ms

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(
    network: nn.Module, path: Path, *, examples: tuple[Tensor, Tensor], facts: Mapping[str, str] | None = None
) -> Exported:
    """Write a network as ONNX, with all weights inside the one file, input ``inputs`` and output ``outputs``.

    Args:
        network: What to write, as it is in evaluation mode.
        path: Where.
        examples: Two batches (S, ...) and (S', ...) of different size that the network takes; both are compared.
        facts: Texts that the file carries as metadata.

    Returns:
        The file, the largest difference from PyTorch over both batches, and the time that ONNX Runtime takes for one
        sample, on as many threads as torch has.

    Raises:
        MissingDependencyError: onnx, onnxscript or onnxruntime isn't installed.
        NetworkError: The network has a part that has no form in ONNX.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"An export as ONNX needs {' and '.join(missing)}.",
            f"Install them beside this torch: pip install {' '.join(missing)} -c constraints.txt, or subshot[onnx].",
        )
    with evaluating(network):
        expected = [network(one) for one in examples]
        own = copy.deepcopy(network).cpu()
        try:
            with _quiet():
                program = torch.onnx.export(
                    own,
                    (examples[0].cpu(),),
                    dynamo=True,
                    input_names=["inputs"],
                    output_names=["outputs"],
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                    verbose=False,
                )
        except Exception as error:
            raise NetworkError(
                f"{type(network).__name__} can't be written as ONNX: {_first_line(error)}.",
                "Export it as torch or safetensors.",
            ) from error
    assert program is not None
    program.model.metadata_props.update(facts or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path), external_data=False)
    return _run(path, examples, expected)


def _run(path: Path, examples: tuple[Tensor, Tensor], expected: list[Tensor]) -> Exported:
    """Compare and time in ONNX Runtime."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [{"inputs": one.cpu().numpy()} for one in examples]
    found = [torch.from_numpy(session.run(None, one)[0]) for one in inputs]
    single = {"inputs": examples[0][:1].cpu().numpy()}
    return Exported(path, difference(found, expected), latency_ms(lambda: session.run(None, single)))


def _first_line(error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on itself: a deprecation inside its exporter, and torchvision not being there."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)
