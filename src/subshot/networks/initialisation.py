"""Re-draw the weights of a network in place: built once, initialised as often as needed.

All convolution and linear weights come from one flat draw that is then copied into place, which for small networks is
many times faster than visiting each layer.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from subshot._seeds import stable_seed
from subshot._types import INITIALISATIONS
from subshot.errors import OptionError


class Initialiser:
    """Re-draws the weights of one network.

    - ``keep``: leaves every weight as it is.
    - ``default``: each layer's own rule. For convolutions and linear layers that is uniform in +-1/sqrt(fan-in),
      weights and biases.
    - ``normal``: N(0, 1) without regard to fan-in, biases 0 (SWAP's and Zen's scorers).
    - ``kaiming``: N(0, 2/fan-in), biases 0.

    Norm layers get weight 1, bias 0 and fresh running statistics in the last three. Layers that are neither
    (embeddings, attention, recurrent) follow their own reset rule. Parameters that no rule reaches stay as they are:
    bare ones, and those that stand in for a weight (weight norm, pruning); :attr:`kept` counts them.

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
        self._resets: list[tuple[nn.Module, Callable[[], object]]] = []
        self._planned: set[int] = set()
        self.kept = 0
        drawn: list[tuple[Tensor, float]] = []
        if how != "keep":
            for module in network.modules():
                self._plan(module, drawn)
        self._drawn = [tensor for tensor, _ in drawn]
        sizes = [tensor.numel() for tensor in self._drawn]
        # Drawn on the CPU in float32 whatever the network's device and type, so that all of them get the same weights.
        self._flat = torch.empty(sum(sizes), dtype=torch.float32, device="cpu")
        self._scales = [scale for _, scale in drawn]
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
        # A module's own rule may cover layers inside it. It has the last word on the default, and none on the others.
        if self.how == "default":
            self._draw_flat(seed)
            self._run_resets(seed)
        else:
            self._run_resets(seed)
            self._draw_flat(seed)

    def _run_resets(self, seed: int) -> None:
        if not self._resets:
            return
        with torch.random.fork_rng(devices=[]):
            # Another seed than the flat draw's: from the same one, both would draw the same numbers.
            torch.default_generator.manual_seed(stable_seed(seed, "reset"))
            for module, reset in reversed(self._resets):  # inner modules first, as when the network was built
                _run_on_cpu(module, reset)

    def _draw_flat(self, seed: int) -> None:
        generator = torch.Generator("cpu").manual_seed(seed)
        if self.how == "default":
            self._flat.uniform_(-1, 1, generator=generator)
        else:
            self._flat.normal_(generator=generator)
        if self._drawn:
            if self.how != "normal":  # whose scales are 1
                torch._foreach_mul_(self._views, self._scales)
            torch._foreach_copy_(self._drawn, self._views)
        if self._ones:
            torch._foreach_zero_(self._ones)
            torch._foreach_add_(self._ones, 1.0)
        if self._zeros:
            torch._foreach_zero_(self._zeros)

    def _plan(self, module: nn.Module, drawn: list[tuple[Tensor, float]]) -> None:
        # A parameter that several layers share is planned once.
        own: dict[str, Tensor] = {
            n: p for n, p in module._parameters.items() if p is not None and id(p) not in self._planned
        }
        self._planned |= {id(parameter) for parameter in own.values()}
        if isinstance(module, (_ConvNd, nn.Linear)):
            self._plan_layer(module, own, drawn)
        elif isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
            statistics = dict(module.named_buffers(recurse=False))
            self._ones += _pop(own, "weight") + _pop(statistics, "running_var")
            self._zeros += _pop(own, "bias") + _pop(statistics, "running_mean")
        elif own and (reset := getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))):
            self._resets.append((module, reset))
            own = {}
        self.kept += sum(parameter.numel() for parameter in own.values())

    def _plan_layer(
        self, layer: _ConvNd | nn.Linear, own: dict[str, Tensor], drawn: list[tuple[Tensor, float]]
    ) -> None:
        """Plan weight and bias of a convolution or linear layer and take them out of ``own``."""
        fan_in = max(1, math.prod(layer.weight.shape[1:]))
        scale = {"default": 1 / math.sqrt(fan_in), "normal": 1.0, "kaiming": math.sqrt(2 / fan_in)}[self.how]
        # No weight of its own: it is shared and planned already, or computed from other parameters.
        drawn += [(tensor, scale) for tensor in _pop(own, "weight")]
        if self.how == "default":
            drawn += [(tensor, scale) for tensor in _pop(own, "bias")]
        else:
            self._zeros += _pop(own, "bias")


def _pop(tensors: dict[str, Tensor], name: str) -> list[Tensor]:
    return [tensors.pop(name)] if name in tensors else []


def _run_on_cpu(module: nn.Module, rule: Callable[[], object]) -> None:
    """Run a layer's own rule on float32 tensors of the CPU, so that device and type don't change what is drawn."""
    tensors = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
    moved = [(t, t.data) for t in tensors if t.dtype != torch.float32 or t.device.type != "cpu"]
    for tensor, original in moved:
        tensor.data = original.to("cpu", torch.float32)
    try:
        rule()
    finally:
        for tensor, original in moved:
            original.copy_(tensor.data)
            tensor.data = original
