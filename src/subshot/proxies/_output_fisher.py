"""Fisher matrix of the predicted distribution, over the first number of each parameter (VKDNW's choice)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from subshot.errors import NetworkError
from subshot.proxies._patterns import sample_axis

# Parameters in the matrix, and the share of the uniform distribution in the predicted one: the authors' choices.
_TENSORS = 128
_UNIFORM = 0.05


@dataclass(frozen=True)
class Use:
    """One run of a layer: input without and output with its graph."""

    module: nn.Module
    input: Tensor
    output: Tensor


# An output to differentiate for, and the map from the gradient there (of the output's shape) to one number per sample.
_Term = tuple[Tensor, Callable[[Tensor], Tensor]]


def output_fisher(
    output: Tensor, network: nn.Module, uses: Sequence[Use], *, samples: int
) -> tuple[Tensor, Tensor, int]:
    """The matrix in theory and as the authors' code has it, each (parameters, parameters), float64; all parameters.

    In theory the mean over samples of J^T (diag p - p p^T) J, with J the Jacobian of the logits for the first number of
    each of the first 128 parameters. The authors' code takes (L J)^T (L J) with the Cholesky factor L of that inner
    matrix, where the theory needs L^T J. One backward pass for each class.

    Args:
        output: Logits (S, classes) with their graph, of a pass in which samples don't mix.
        network: Gives the order of parameters.
        uses: Runs of convolutions, linear and norm layers in that pass.
        samples: Batch size S.

    Raises:
        NetworkError: The output is no distribution over classes, or no parameter has gradients of single samples.
    """
    if output.dim() != 2 or output.shape[0] != samples or output.shape[1] < 2:
        raise NetworkError(f"An output {tuple(output.shape)} is no distribution over classes for each sample.")
    terms: dict[int, list[_Term]] = {}
    for use in uses:
        for parameter, derive in _first_numbers(use, samples):
            terms.setdefault(id(parameter), []).append((use.output, derive))
    own = [terms[id(parameter)] for parameter in network.parameters() if id(parameter) in terms]
    tensors, own = len(own), own[:_TENSORS]
    if not own:
        raise NetworkError("No parameter has gradients of single samples.")
    flat = [at for several in own for at, _ in several]
    jacobian = torch.zeros(samples, output.shape[1], len(own), dtype=torch.float64, device=output.device)
    for label in range(output.shape[1]):
        found = iter(torch.autograd.grad(output[:, label].sum(), flat, retain_graph=True, allow_unused=True))
        for index, several in enumerate(own):
            for _, derive in several:
                gradient = next(found)
                if gradient is not None:
                    jacobian[:, label, index] += derive(gradient).double()
    p = (1 - _UNIFORM) * output.detach().double().softmax(dim=1) + _UNIFORM / output.shape[1]
    weighted = jacobian * p.unsqueeze(2)
    mean = weighted.sum(dim=1)
    exact = torch.einsum("scj,sck->jk", weighted, jacobian) - mean.T @ mean
    factored = _factor_times(p, jacobian)
    released = torch.einsum("scj,sck->jk", factored, factored)
    return exact / samples, released / samples, tensors


def _factor_times(p: Tensor, jacobian: Tensor) -> Tensor:
    """L J with the lower factor L of diag p - p p^T in closed form (Tanabe & Sagae, JRSS B 54, 1992).

    L itself has classes x classes numbers for each sample: gigabytes for a thousand classes. Below its diagonal stands
    a product of one factor for the row and one for the column, so running sums over classes do.

    Args:
        p: Probabilities, (S, classes).
        jacobian: (S, classes, columns).
    """
    after = 1 - p.cumsum(dim=1)
    after = torch.where(after > 1e-12, after, torch.zeros_like(after))  # past the last class there is nothing
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    diagonal = (p * after / before).sqrt()
    # The last class is determined by the others: its column is zero.
    scale = torch.where(after > 0, (p / (before * after.clamp(min=1e-12))).sqrt(), torch.zeros_like(p))
    sums = (jacobian * scale.unsqueeze(2)).cumsum(dim=1)
    earlier = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], dim=1)
    return diagonal.unsqueeze(2) * jacobian - p.unsqueeze(2) * earlier


def _first_numbers(use: Use, samples: int) -> list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]]:
    """Parameters of a layer with the map from the gradient at its output to that of their first number."""
    module, x = use.module, use.input
    found: list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]] = []
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    if not is_plain(use):
        return []
    last = isinstance(module, (nn.Linear, nn.LayerNorm))
    if isinstance(weight, nn.Parameter):
        feature = _feature(module, x)
        if feature is None:
            return []
        found.append((weight, lambda gradient: _by_sample(_first(gradient, module) * feature, x, samples, last=last)))
    if isinstance(bias, nn.Parameter):
        found.append((bias, lambda gradient: _by_sample(_first(gradient, module), x, samples, last=last)))
    return found


def _feature(module: nn.Module, x: Tensor) -> Tensor | None:
    """What the weight's first number multiplies, of the shape of the output's first channel or feature."""
    if isinstance(module, nn.Linear):
        return x[..., 0]
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, eps=module.eps).flatten(-len(module.normalized_shape))[..., 0]
    if isinstance(module, _BatchNorm):
        first = x[:, 0]
        if module.training or module.running_mean is None or module.running_var is None:
            variance, mean = torch.var_mean(first, correction=0)
        else:
            variance, mean = module.running_var[0], module.running_mean[0]
        return (first - mean) / (variance + module.eps).sqrt()
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return image_columns(module, x[:, :1])[:, 0]
    return None


def _first(gradient: Tensor, module: nn.Module) -> Tensor:
    """The gradient at the first channel or feature."""
    if isinstance(module, nn.Linear):
        return gradient[..., 0]
    if isinstance(module, nn.LayerNorm):
        return gradient.flatten(-len(module.normalized_shape))[..., 0]
    first = gradient[:, 0]
    return first if isinstance(module, _BatchNorm) else first.flatten(1)


def _by_sample(product: Tensor, x: Tensor, samples: int, *, last: bool) -> Tensor:
    """Sum over all but the samples, (S,)."""
    axis = sample_axis((*x.shape[:-1], 1), samples) if last else sample_axis(x.shape[:1], samples)
    if axis is None:
        raise NetworkError(f"A layer's input {tuple(x.shape)} has no axis of {samples} samples.")
    if axis == 1:
        product = product.transpose(0, 1)
    return product.reshape(samples, -1).sum(dim=1)


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
