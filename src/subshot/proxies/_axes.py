"""Which axis of a feature map holds channels and which one samples.

Channels are the second axis after convolutions and their norms, the last one after linear layers and theirs; other
modules follow the layer before them. Rows are what is left: samples times positions.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from subshot.proxies._patterns import sample_axis
from subshot.proxies._spectra import channels_second

# Layers whose kind decides, and which others follow.
WEIGHTS: tuple[type[nn.Module], ...] = (_ConvNd, nn.Linear)
NORMS: tuple[type[nn.Module], ...] = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)

LAYERS: tuple[type[nn.Module], ...] = (*WEIGHTS, *NORMS)

_CHANNELS_SECOND = (_ConvNd, _NormBase, nn.GroupNorm)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


class Axes:
    """Tells the axes of outputs while a network runs.

    Args:
        samples: Batch size S.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._latest: tuple[bool, int] | None = None  # whether the latest layer has channels last, rank of its output

    def note(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook for layers: what runs next follows this one."""
        if is_map(output):
            self._latest = (self.channels_last(module, output), output.dim())

    def channels_last(self, module: nn.Module, output: Tensor) -> bool:
        """Whether the last axis is that of channels."""
        if isinstance(module, _CHANNELS_SECOND):
            return False
        if isinstance(module, _CHANNELS_LAST):
            return True
        if self._latest is not None and self._latest[1] == output.dim():
            return self._latest[0]
        return output.dim() < 4

    def sample_axis(self, output: Tensor, *, last: bool) -> int | None:
        """Which axis holds the samples or a fold of them; channels never do."""
        if last:
            return sample_axis((*output.shape[:-1], 1), self.samples)
        return 0 if output.shape[0] and output.shape[0] % self.samples == 0 else None

    def by_sample(self, output: Tensor, *, last: bool) -> Tensor | None:
        """View as (S, C, positions), or ``None`` where no axis can be the samples."""
        axis = self.sample_axis(output, last=last)
        if axis is None:
            return None
        maps = channels_second(output.transpose(0, 1) if axis == 1 else output, last=last)
        maps = maps.flatten(2) if maps.dim() > 2 else maps.unsqueeze(2)
        fold = maps.shape[0] // self.samples
        if fold == 1:
            return maps
        return maps.reshape(self.samples, fold, *maps.shape[1:]).transpose(1, 2).flatten(2)


def is_map(output: object) -> bool:
    """Whether an output can be a feature map at all."""
    return isinstance(output, Tensor) and output.is_floating_point() and output.dim() >= 2
