"""Runs of layers: what each was given and gave in one forward pass, for gradients of single samples."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from subshot.proxies._calls import CallMode, Function
from subshot.proxies._layers import Sharing, weights_of

# Places of the output projection among the arguments of torch's attention.
_WEIGHT, _BIAS = 11, 12


@dataclass(frozen=True)
class Use:
    """One run of a layer: input without and output with its graph."""

    module: nn.Module
    input: Tensor
    output: Tensor


@contextlib.contextmanager
def watched(network: nn.Module, *, norms: bool) -> Iterator[list[Use]]:
    """Keep the inputs and outputs of layers while active."""
    kinds = (_ConvNd, nn.Linear, _BatchNorm, nn.LayerNorm) if norms else (_ConvNd, nn.Linear)
    uses: list[Use] = []

    def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor) or not output.requires_grad:
            return None
        if isinstance(module, _BatchNorm) and output is (args[0] if args else kwargs["input"]):
            return None  # passed through: its parameters don't count
        given = args[0] if args else kwargs["input"]
        # The network may change either in place: it goes on with a copy of the output, the input is copied here.
        uses.append(Use(module, given.detach().clone(), output))
        return output.clone()

    modules = [module for module in network.modules() if isinstance(module, kinds)]
    hooks = [module.register_forward_hook(keep, with_kwargs=True) for module in modules]
    try:
        yield uses
    finally:
        for hook in hooks:
            hook.remove()


class OpenAttention(CallMode):
    """While active, the output projection of torch's attention, which doesn't run as a layer, is seen as one."""

    def __init__(self, layers: Sequence[Sharing], uses: list[Use]) -> None:
        super().__init__()
        self._layers = {id(weight): modules[0] for weight, modules in zip(weights_of(layers), layers, strict=True)}
        self._uses = uses

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; attention first with the identity in place of the projection, and then the projection."""
        if func is not F.multi_head_attention_forward or len(args) < _BIAS + 1 or id(args[_WEIGHT]) not in self._layers:
            return func(*args, **kwargs)
        weight, bias = args[_WEIGHT], args[_BIAS]
        identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        mixed, attention = func(*args[:_WEIGHT], identity, None, *args[_BIAS + 1 :], **kwargs)
        if mixed.dim() == 3:  # tokens are the first axis here, whatever the layer's are
            mixed = mixed.transpose(0, 1)
        output = F.linear(mixed, weight, bias)
        if output.requires_grad:
            self._uses.append(Use(self._layers[id(weight)], mixed.detach().clone(), output))
            output = output.clone()
        return output.transpose(0, 1) if mixed.dim() == 3 else output, attention


def is_plain(use: Use) -> bool:
    """Whether a layer computes what the kind it derives from does; a subclass with a forward of its own may not.

    Such a one is asked: the same input through the plain kind must give the output that it gave.
    """
    module = use.module
    kind = next((one for one in _KINDS if isinstance(module, one)), None)
    if kind is None:
        return False
    names = ("forward", "_conv_forward")
    if all(getattr(type(module), name, None) is getattr(kind, name, None) for name in names):
        return True
    with torch.no_grad():
        if isinstance(module, _ConvNd):
            plain = kind._conv_forward(module, use.input, module.weight, module.bias)
        else:
            plain = kind.forward(module, use.input)
    given = use.output.detach()
    return plain.shape == given.shape and torch.allclose(plain, given, rtol=1e-4, atol=1e-5 * float(given.abs().max()))


_KINDS: tuple[Any, ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.LayerNorm,
)


def image_columns(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """Patches of the input that a convolution sees, (N, channels * kernel, positions).

    Groups are the slowest part of the second axis; the first number is that of the first channel's first weight. Copied
    from a strided view, which takes a third of the time of ``F.unfold``.
    """
    if any(module._reversed_padding_repeated_twice):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    kernel, dilation, stride = module.kernel_size, module.dilation, module.stride
    if isinstance(module, nn.Conv1d):
        x, kernel, dilation, stride = x.unsqueeze(2), (1, *kernel), (1, *dilation), (1, *stride)
    if kernel == (1, 1):
        return x[:, :, :: stride[0], :: stride[1]].flatten(2)  # a 1x1 kernel has no neighbours
    images, channels, *size = x.shape
    out = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(size, dilation, kernel, stride, strict=True)]
    # What is contiguous in memory should stay so: channels where each patch has all of them, rows of the image else.
    wide = module.groups == 1
    x = x.contiguous(memory_format=torch.channels_last) if wide else x.contiguous()
    by_image, by_channel, *steps = x.stride()
    moved = [step * s for step, s in zip(steps, stride, strict=True)]
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    if wide:
        patches = x.as_strided((images, *out, *kernel, channels), (by_image, *moved, *within, by_channel))
        return patches.reshape(images, out[0] * out[1], -1).transpose(1, 2)
    patches = x.as_strided((images, channels, *kernel, *out), (by_image, by_channel, *within, *moved))
    return patches.reshape(images, -1, out[0] * out[1])
