"""Evaluate many architectures with a supernet's weights: passes along paths, no network is built."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from subshot._types import Arch
from subshot.errors import OptionError
from subshot.networks._slots import Path
from subshot.proxies._prepare import prepared
from subshot.supernets._supernet import Supernet
from subshot.supernets.recalibrate import recalibrate
from subshot.training._fit import loss_named

STATISTICS = ("batch", "running", "recalibrated")


@dataclass(frozen=True)
class PathResult:
    """What one path makes of a batch.

    Attributes:
        loss: The task's loss; may be non-finite.
        accuracy: Share of samples whose largest output is that of their label.
    """

    loss: float
    accuracy: float


def evaluate_paths(
    supernet: Supernet,
    paths: Sequence[Path | Arch],
    *,
    batch: tuple[Tensor, Tensor],
    batch_norm: str = "batch",
    calibration: Sequence[Tensor] = (),
) -> list[PathResult]:
    """Loss and accuracy of each path on one batch; the supernet is left as it was found, its statistics too.

    Args:
        supernet: The supernet.
        paths: Paths or architectures.
        batch: Inputs (S, ...) and labels (S,).
        batch_norm: Statistics to normalise by: those of the ``batch``, the supernet's ``running`` ones, which fit no
            path, or ones ``recalibrated`` for each path on ``calibration``.
        calibration: Inputs of the batches for that.

    Raises:
        OptionError: Other statistics, calibration batches without use or missing, or a path that can't be executed.
        ArchError: An architecture of another space.
    """
    if batch_norm not in STATISTICS:
        raise OptionError(f"There is no batch-norm mode {batch_norm!r}.", f"Use one of {', '.join(STATISTICS)}.")
    if (batch_norm == "recalibrated") != bool(len(calibration)):
        raise OptionError(
            f"Batch norm was asked for as {batch_norm}, with {len(calibration)} calibration batches.",
            "Give batches if and only if it is to be recalibrated.",
        )
    objective = loss_named(supernet.task.loss)
    inputs, labels = batch
    norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()] if calibration else []
    results = []
    try:
        mode = "batch" if batch_norm == "batch" else "running"
        with prepared(supernet, batch_norm=mode, keep_parameters=False), torch.no_grad():
            for given in paths:
                path = supernet.path(given) if isinstance(given, Arch) else given
                if calibration:
                    recalibrate(supernet, calibration, path=path)
                outputs = supernet(inputs, path)
                right = (outputs.argmax(dim=1) == labels).float().mean()
                results.append(PathResult(float(objective(outputs, labels)), float(right)))
    finally:
        with torch.no_grad():
            for buffer, values in kept:
                buffer.copy_(values)
    return results
