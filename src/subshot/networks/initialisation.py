"""Re-draw the weights of a network in place: built once, initialised as often as needed.

All convolution and linear weights come from one flat draw that is then copied into place, which for small networks is
many times faster than visiting each layer.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from subshot.errors import OptionError

INITIALISATIONS = ("keep", "default", "normal", "kaiming")


class Initialiser:
    """Re-draws the weights of one network.

    - ``keep``: leaves every weight as it is.
    - ``default``: each layer's own rule. For convolutions and linear layers that is uniform in +-1/sqrt(fan-in),
      weights and biases.
    - ``normal``: N(0, 1) without regard to fan-in, biases 0 (SWAP's and Zen's scorers).
    - ``kaiming``: N(0, 2/fan-in), biases 0.

    Norm layers get weight 1 and bias 0 in the last three. Layers that are neither (embeddings, attention, recurrent)
    follow their own reset rule. Bare parameters that no layer can re-draw stay as they are; :attr:`kept` counts them.

    Args:
        network: The network; its parameters must not be replaced by other tensors afterwards.
        how: One of :data:`INITIALISATIONS`.

    Raises:
        OptionError: Unknown initialisation.
    """

    def __init__(self, network: nn.Module, how: str) -> None:
        if how not in INITIALISATIONS:
            raise OptionError(f"There is no initialisation {how!r}.", f"Use one of {', '.join(INITIALISATIONS)}.")
        self.how = how
        self._ones: list[Tensor] = []
        self._zeros: list[Tensor] = []
        self._resets: list[Callable[[], object]] = []
        self.kept = 0
        drawn: list[tuple[Tensor, float]] = []
        if how != "keep":
            for module in network.modules():
                self._plan(module, drawn)
        self._drawn = [tensor for tensor, _ in drawn]
        sizes = [tensor.numel() for tensor in self._drawn]
        # Drawn on the CPU in float32 whatever the network's device and type, so that all of them get the same weights.
        self._flat = torch.empty(sum(sizes))
        self._scale = torch.repeat_interleave(
            torch.tensor([scale for _, scale in drawn]), torch.tensor(sizes, dtype=torch.int64)
        )
        parts = torch.split(self._flat, sizes) if sizes else ()
        self._views = [part.view_as(tensor) for part, tensor in zip(parts, self._drawn, strict=True)]

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """Re-draw all weights; the same seed gives the same weights, on any device.

        Args:
            seed: Seed of this draw. Layers with a reset rule of their own draw from torch's global generator, which is
                put back afterwards.
        """
        if self.how == "keep":
            return
        if self._resets:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                for reset in self._resets:
                    reset()
        generator = torch.Generator().manual_seed(seed)
        if self.how == "default":
            self._flat.uniform_(-1, 1, generator=generator)
        else:
            self._flat.normal_(generator=generator)
        if self._drawn:
            self._flat.mul_(self._scale)
            torch._foreach_copy_(self._drawn, self._views)
        if self._ones:
            torch._foreach_zero_(self._ones)
            torch._foreach_add_(self._ones, 1.0)
        if self._zeros:
            torch._foreach_zero_(self._zeros)

    def _plan(self, module: nn.Module, drawn: list[tuple[Tensor, float]]) -> None:
        own = list(module.parameters(recurse=False))
        if isinstance(module, (_ConvNd, nn.Linear)):
            self._plan_layer(module, drawn)
        elif isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
            self._ones += _present([module.weight])
            self._zeros += _present([getattr(module, "bias", None)])
        elif own and (reset := getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))):
            self._resets.append(reset)
        else:
            self.kept += sum(p.numel() for p in own)

    def _plan_layer(self, layer: _ConvNd | nn.Linear, drawn: list[tuple[Tensor, float]]) -> None:
        fan_in = max(1, layer.weight[0].numel())
        scale = {"default": 1 / math.sqrt(fan_in), "normal": 1.0, "kaiming": math.sqrt(2 / fan_in)}[self.how]
        drawn.append((layer.weight, scale))
        if self.how == "default":
            drawn += [(bias, scale) for bias in _present([layer.bias])]
        else:
            self._zeros += _present([layer.bias])


def _present(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]
