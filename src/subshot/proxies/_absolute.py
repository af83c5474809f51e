"""The pass of SynFlow: all numbers of a network made absolute, batch norm passed through, an input of ones.

The network itself isn't touched: absolute copies in double precision stand in for its parameters and buffers during the
call. In double precision sums of path products overflow only beyond 1e308.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from subshot.errors import NetworkError
from subshot.proxies._gradients import Layer, as_output, weight_layers


def absolute_pass(network: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """Absolute weights of convolutions and linear layers, and the gradients of the summed output for them, float64.

    Args:
        network: Any module; its batch norms must be in evaluation mode or tolerate one sample.
        inputs: Gives the shape of one sample.

    Raises:
        NetworkError: An integer input, for which there are no ones, or no output that can be differentiated.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    if not all(tensor.is_floating_point() for tensor in named.values()):
        raise NetworkError("An input of ones has no meaning for integer inputs.")
    ones = {name: torch.ones_like(tensor[:1], dtype=torch.float64) for name, tensor in named.items()}
    layers = weight_layers(network)
    wanted = {id(layer.weight) for layer in layers}
    state: dict[str, Tensor] = {}
    copies: dict[int, Tensor] = {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        copy = tensor.detach().abs().double() if tensor.is_floating_point() else tensor
        state[name] = copies[id(tensor)] = copy.requires_grad_() if id(tensor) in wanted else copy
    weights = [copies[id(layer.weight)] for layer in layers]
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    modes = [norm.training for norm in norms]
    hooks = [norm.register_forward_hook(_pass_through, with_kwargs=True) for norm in norms]
    try:
        for norm in norms:
            norm.training = False  # one sample has no statistics; what comes out is dropped anyway
        with torch.enable_grad():
            call = (next(iter(ones.values())),) if "" in ones else ()
            output = as_output(functional_call(network, state, call, None if call else ones))
            gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, training in zip(norms, modes, strict=True):
            norm.training = training
    return tuple(Layer(weight.detach(), gradient) for weight, gradient in zip(weights, gradients, strict=True))


def _pass_through(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
    return args[0] if args else kwargs["input"]
