"""Parameter count of a network: all numbers in its parameters, each tensor once; buffers don't count."""

from torch import nn


def count_parameters(network: nn.Module) -> int:
    """Numbers in the network's parameters; a tensor used in several places counts once."""
    return sum(parameter.numel() for parameter in network.parameters())
