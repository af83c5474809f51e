"""Batch norm's running statistics, taken anew for one network or one path of a supernet.

A supernet's running statistics are those of all paths that were trained; a path needs its own (Guo et al., ECCV 2020,
arXiv 1904.00420; Yu and Huang, ICCV 2019, arXiv 1903.05134).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from subshot.errors import OptionError
from subshot.networks._slots import Path
from subshot.supernets._supernet import Supernet


def recalibrate(network: nn.Module, batches: Iterable[Tensor], *, path: Path | None = None) -> None:
    """Set the running statistics to the averages over ``batches``; weights and modes stay as they are.

    Every batch counts the same, and the statistics of before are forgotten. Of a supernet only the batch norms that the
    path executes are changed.

    Args:
        network: A network, or a supernet.
        batches: Inputs (S, ...) of each batch.
        path: What a supernet executes.

    Raises:
        OptionError: No batch, or a path for a plain network, or none for a supernet.
    """
    if (path is None) == isinstance(network, Supernet):
        raise OptionError(
            f"A {type(network).__name__} was to be recalibrated {'without' if path is None else 'with'} a path.",
            "Supernets need a path, other networks have none.",
        )
    modules = list(network.modules())
    executed = network.network.executed(path) if isinstance(network, Supernet) and path is not None else modules
    norms = [module for module in executed if isinstance(module, _BatchNorm)]
    modes = [(module, module.training) for module in modules]
    momenta = [(norm, norm.momentum) for norm in norms]
    count = 0
    try:
        for module in modules:
            module.training = False
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for the average over all batches
            norm.training = True
        with torch.no_grad():
            for inputs in batches:
                network(inputs) if path is None else network(inputs, path)
                count += 1
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if not count:
        raise OptionError("There was no batch to recalibrate batch norm on.", "Give at least one.")
