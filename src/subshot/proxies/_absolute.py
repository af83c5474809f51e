"""The pass of SynFlow: all numbers of a network's state made absolute, batch norm passed through, an input of ones.

The network itself isn't touched: absolute copies in double precision stand in for its parameters and buffers during the
call. In double precision sums of path products overflow only beyond 1e308.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from subshot.errors import NetworkError
from subshot.proxies._calls import CallMode, Function, first_argument
from subshot.proxies._layers import Layer, weight_layers, weights_of
from subshot.proxies._loss import as_output, check_differentiable


def absolute_pass(
    network: nn.Module, inputs: Tensor | Mapping[str, Tensor], *, norm: bool = False
) -> tuple[Layer, ...]:
    """Absolute weights of convolutions and linear layers, and the gradients of the summed output for them, float64.

    Args:
        network: Any module.
        inputs: Gives the shape of one sample.
        norm: Keep batch norm, which one sample then gives its statistics.

    Raises:
        NetworkError: An integer input, for which there are no ones, weights that are computed from others, or an
            output that can't be differentiated.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    if not all(tensor.is_floating_point() for tensor in named.values()):
        raise NetworkError("An input of ones has no meaning for integer inputs.")
    with torch.inference_mode(False), torch.enable_grad():
        ones = {name: torch.ones_like(tensor[:1], dtype=torch.float64) for name, tensor in named.items()}
        state: dict[str, Tensor] = {}
        copies: dict[int, Tensor] = {}
        own = weights_of(weight_layers(network))
        wanted = {id(weight) for weight in own}
        constants = _constants(network)
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            values = tensor.detach().clone()
            copy = values.double() if values.is_floating_point() else values
            if values.is_floating_point() and name not in constants:
                copy = copy.abs()
            # A network may differentiate while it runs: what has a gradient keeps it.
            state[name] = copies[id(tensor)] = copy.requires_grad_(tensor.requires_grad or id(tensor) in wanted)
        if not wanted:
            raise NetworkError("The network has no convolution or linear layer.")
        if not wanted <= copies.keys():
            raise NetworkError("Weights that are computed from others (weight norm, pruning) have no absolute form.")
        weights = [copies[id(weight)] for weight in own]
        with nullcontext() if norm else _NoBatchNorm():
            call = (ones[""],) if "" in ones else ()
            output = as_output(functional_call(network, state, call, None if call else ones))
        check_differentiable(output)
        gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    return tuple(Layer(weight.detach(), gradient) for weight, gradient in zip(weights, gradients, strict=True))


def _constants(network: nn.Module) -> set[str]:
    """Buffers that aren't part of the state, such as masks of minus infinity: the reference leaves them alone too."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        for name in module._non_persistent_buffers_set
    }


class _NoBatchNorm(CallMode):
    """While active, batch norm hands its input on: one sample has no statistics that it could compute."""

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func`` unless it is batch norm."""
        return first_argument(args, kwargs) if func is F.batch_norm else func(*args, **kwargs)
