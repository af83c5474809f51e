"""Multiply-accumulate operations (MACs) of one sample.

Convolutions and matrix products, attention included; no biases, norms, poolings or element-wise operations. This is
half of what ``torch.utils.flop_counter`` counts, since a multiply-add is two floating-point operations. MACs are never
called FLOPs here: published counts under that name differ by a factor of two and by what they include.
"""

import torch
from torch import nn

from subshot._types import InputSpec, TaskSpec
from subshot.costs._evaluating import evaluating
from subshot.networks._macs import MacCounter


def count_macs(network: nn.Module, task: TaskSpec) -> int:
    """MACs of a forward pass over one sample of ``task``, in evaluation mode; the mode is put back.

    Args:
        network: The network.
        task: Its inputs.
    """
    tensors = {spec.name: _zeros(spec) for spec in task.inputs}
    counter = MacCounter()
    with evaluating(network), torch.no_grad(), counter:
        network(**tensors) if len(tensors) > 1 else network(*tensors.values())
    return int(counter.macs)


def _zeros(spec: InputSpec) -> torch.Tensor:
    return torch.zeros((1, *spec.shape), dtype=getattr(torch, spec.dtype))
