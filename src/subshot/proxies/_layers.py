"""Convolutions and linear layers: their weights, and their outputs while a network runs.

Proxies of weights see these alone, as in the reference code of the pruning proxies (Abdelfattah et al., arXiv
2101.08134); norms and biases are left out there too.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

# The layers that use one weight; nearly always a single one.
Sharing = tuple[nn.Module, ...]


@dataclass(frozen=True)
class Layer:
    """The weight of a convolution or linear layer after the passes. Tensors are detached; treat them as read-only.

    Attributes:
        weight: The weight itself, not a copy: read it before it is drawn anew.
        gradient: Gradient of the loss; ``None`` where the loss doesn't depend on it.
        curvature: Hessian of the loss times that gradient; ``None`` likewise.
        saliency: For each output channel, the mean over samples of (sum over positions of output times its gradient)
            squared; ``None`` likewise.
    """

    weight: Tensor
    gradient: Tensor | None = None
    curvature: Tensor | None = None
    saliency: Tensor | None = None


def weight_layers(network: nn.Module) -> list[Sharing]:
    """Convolutions and linear layers by the weight they use, in the order of the module tree; a weight stands once."""
    found: dict[int, tuple[Tensor, list[nn.Module]]] = {}
    for module in network.modules():
        if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(weight := module.weight, Tensor):
            found.setdefault(id(weight), (weight, []))[1].append(module)
    return [tuple(modules) for _, modules in found.values()]


def weights_of(layers: Sequence[Sharing]) -> list[Tensor]:
    """The weight of each entry of :func:`weight_layers`."""
    weights: list[Any] = [modules[0].weight for modules in layers]
    return weights


class LayerOutputs:
    """Keeps the outputs of layers while a network runs.

    Args:
        layers: Which.
        copy: Let the network go on with a copy; needed where what follows changes the output in place.
    """

    def __init__(self, layers: Sequence[Sharing], *, copy: bool) -> None:
        self.outputs: list[list[Tensor]] = [[] for _ in layers]
        self._versions: list[tuple[Tensor, int]] = []
        self._copy = copy
        self._hooks = [
            module.register_forward_hook(self._keep(index))
            for index, modules in enumerate(layers)
            for module in modules
        ]

    def _keep(self, index: int) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or not output.requires_grad:  # run without a graph: part of no gradient
                return None
            self.outputs[index].append(output)
            self._versions.append((output, output._version))
            # What runs on gets the copy, so that the output itself stays as it is.
            return output.clone() if self._copy else None

        return keep

    @property
    def intact(self) -> bool:
        """Whether nothing has changed a kept output in place."""
        return all(output._version == version for output, version in self._versions)

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()


@contextlib.contextmanager
def differentiable(weights: Sequence[Tensor]) -> Iterator[None]:
    """Let gradients flow to ``weights``, also to frozen ones, and put their flags back."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
