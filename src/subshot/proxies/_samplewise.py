"""One pass in which samples don't mix, for gradients of each sample by itself.

Batch norm by batch statistics couples samples, and a sample's own gradient then takes a backward pass of its own. Here
the statistics are those of the batch, the values of the forward pass are the same, but the statistics are held fixed:
gradients don't flow through them. One backward pass then gives the gradient at every layer's output for all samples at
once, and a layer's input and output gradient give each sample's weight gradient ("unfolding"), which is used on the
spot and never kept. :func:`coupled_kernel` goes through the statistics, one backward pass for each sample.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import cached
from torch.overrides import TorchFunctionMode

from subshot.errors import NetworkError
from subshot.proxies._gradients import (
    Loss,
    Sharing,
    as_output,
    attempt,
    check_differentiable,
    differentiable,
    loss_value,
    weight_layers,
    weights_of,
)
from subshot.proxies._output_fisher import Use, image_columns, is_plain, output_fisher
from subshot.proxies._patterns import sample_axis
from subshot.proxies._proxy import Need

SAMPLE_NEEDS = Need.KERNEL | Need.GRADIENT_SIGNS | Need.OUTPUT_FISHER

# Numbers of sample gradients held at a time.
_CHUNK = 1 << 24

# Places of the output projection among the arguments of torch's attention.
_WEIGHT, _BIAS = 11, 12


@dataclass(frozen=True)
class Samplewise:
    """What the pass gave.

    Attributes:
        kernel: Products of the samples' gradients of their summed outputs, (S, S), float64.
        sign_agreement: Sum over weights of |sum over samples of the sign of the loss gradient|.
        weights: Number of weights in that sum.
        output_fisher: Mean over samples of J^T (diag p - p p^T) J, J the Jacobian of the logits for the first number of
            each parameter, (parameters, parameters), float64.
        released_fisher: The same as the authors' code has it, (L J)^T (L J) with L L^T = diag p - p p^T.
        tensors: Number of parameters whose first number has a place in it; beyond 128 they are left out of the matrix.
        backwards: Backward passes taken.
        missing: Why something that was asked for could not be had.
    """

    kernel: Tensor | None = None
    sign_agreement: float | None = None
    weights: int = 0
    output_fisher: Tensor | None = None
    released_fisher: Tensor | None = None
    tensors: int = 0
    backwards: int = 0
    missing: Mapping[Need, Exception] = field(default_factory=dict)


class FixedStatistics(TorchFunctionMode):
    """While active, batch norm by batch statistics lets no gradient through the statistics; values are the same."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; batch norm by batch statistics without the way back through them."""
        if func is not F.batch_norm:
            return func(*args, **kwargs) if kwargs else func(*args)
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        if not given.get("training", False):
            return func(*args, **(kwargs or {}))
        output: Tensor = _FixedNorm.apply(  # type: ignore[no-untyped-call]
            given["input"], given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
        )
        return output


class _FixedNorm(torch.autograd.Function):
    """Batch norm by batch statistics, backward an affine map: many times faster than torch's own by stored statistics.

    Weight and bias get no gradients; nobody here asks for them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        output, _, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        scale = scale if weight is None else scale * weight
        ctx.save_for_backward(scale.reshape(-1, *[1] * (x.dim() - 2)))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (scale,) = ctx.saved_tensors
        return (gradient * scale).to(gradient.dtype), None, None, None


class _OpenAttention(TorchFunctionMode):
    """While active, the output projection of torch's attention, which doesn't run as a layer, is seen as one."""

    def __init__(self, layers: Sequence[Sharing], uses: list[Use]) -> None:
        super().__init__()
        self._layers = {id(weight): modules[0] for weight, modules in zip(weights_of(layers), layers, strict=True)}
        self._uses = uses

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; attention first with the identity in place of the projection, and then the projection."""
        if func is not F.multi_head_attention_forward or len(args) < _BIAS + 1 or id(args[_WEIGHT]) not in self._layers:
            return func(*args, **kwargs) if kwargs else func(*args)
        weight, bias = args[_WEIGHT], args[_BIAS]
        identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        mixed, attention = func(*args[:_WEIGHT], identity, None, *args[_BIAS + 1 :], **(kwargs or {}))
        if mixed.dim() == 3:  # tokens are the first axis here, whatever the layer's are
            mixed = mixed.transpose(0, 1)
        output = F.linear(mixed, weight, bias)
        if output.requires_grad:
            self._uses.append(Use(self._layers[id(weight)], mixed.detach().clone(), output))
            output = output.clone()
        return output.transpose(0, 1) if mixed.dim() == 3 else output, attention


def sample_pass(
    network: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    needs: Need,
    *,
    labels: Tensor | None,
    loss: Loss | None,
    samples: int,
) -> Samplewise:
    """Run the network once with fixed statistics and go backward as often as ``needs`` says.

    Args:
        network: Any module whose samples don't mix but through batch norm.
        inputs: One tensor or named tensors.
        needs: Which.
        labels: Labels, for the signs of loss gradients.
        loss: Loss of (output, labels), a mean or sum over samples.
        samples: Batch size S.

    Raises:
        NetworkError: No convolution or linear layer ran, or one of a kind whose samples can't be told apart.
    """
    found = Samplewise()
    missing: dict[Need, Exception] = {}
    # Weights that are computed from others are the same tensor all through.
    with torch.inference_mode(False), torch.enable_grad(), cached():
        layers = weight_layers(network)
        with differentiable(weights_of(layers)), _watched(network, norms=bool(needs & Need.OUTPUT_FISHER)) as uses:
            with FixedStatistics(), _OpenAttention(layers, uses):
                output = _run(network, inputs)
            tensor = as_output(output)
            check_differentiable(tensor)
            groups = _by_weight(layers, uses)
            if not any(groups):
                raise NetworkError("No convolution or linear layer ran.")
            ways: dict[Need, Callable[[], Samplewise]] = {
                Need.KERNEL: lambda: _kernel(tensor, layers, groups, samples),
                Need.OUTPUT_FISHER: lambda: _fisher(tensor, network, uses, samples),
            }
            if labels is not None:
                ways[Need.GRADIENT_SIGNS] = lambda: _signs(output, labels, loss, layers, groups, samples)
            for need, take in ways.items():
                part = attempt(missing, need, take) if needs & need else None
                if part is not None:
                    found = _join(found, part)
    return replace(found, missing=missing)


def coupled_kernel(network: nn.Module, inputs: Tensor | Mapping[str, Tensor], *, samples: int) -> Tensor:
    """The kernel with gradients that flow through batch statistics: one backward pass for each sample; (S, S), float64.

    Raises:
        NetworkError: The network has no weights, or its output isn't differentiable.
    """
    with torch.inference_mode(False), torch.enable_grad(), cached():
        layers = weight_layers(network)
        with differentiable(weights_of(layers)):
            tensor = as_output(_run(network, inputs))
            weights = weights_of(layers)
            if not weights:
                raise NetworkError("The network has no convolution or linear layer.")
            check_differentiable(tensor)
            axis = sample_axis(tensor.shape, samples)
            if axis is None:
                raise NetworkError(f"The output {tuple(tensor.shape)} has no axis of {samples} samples.")
            sums = tensor.transpose(0, axis).reshape(samples, -1).sum(dim=1)
            rows = [torch.autograd.grad(one, weights, retain_graph=True, allow_unused=True) for one in sums]
    kernel = torch.zeros(samples, samples, dtype=torch.float64, device=tensor.device)
    for several in zip(*rows, strict=True):
        present = [one for one in several if one is not None]
        if present:
            none = torch.zeros_like(present[0])
            gradients = torch.stack([none if one is None else one for one in several]).reshape(samples, -1)
            step = max(1, _CHUNK // samples)
            for start in range(0, gradients.shape[1], step):
                wide = gradients[:, start : start + step].double()
                kernel += wide @ wide.T
    return _with_the_output(kernel, tensor)


def _run(network: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Any:
    """A forward pass on a copy of the batch, which the network may change in place."""
    if isinstance(inputs, Mapping):
        return network(**{name: tensor.detach().clone() for name, tensor in inputs.items()})
    return network(inputs.detach().clone())


@contextlib.contextmanager
def _watched(network: nn.Module, *, norms: bool) -> Iterator[list[Use]]:
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


def _by_weight(layers: Sequence[Sharing], uses: Sequence[Use]) -> list[list[Use]]:
    """Runs by the weight that they used."""
    return [[use for use in uses if any(use.module is module for module in modules)] for modules in layers]


def _join(a: Samplewise, b: Samplewise) -> Samplewise:
    return Samplewise(
        kernel=a.kernel if b.kernel is None else b.kernel,
        sign_agreement=a.sign_agreement if b.sign_agreement is None else b.sign_agreement,
        weights=a.weights + b.weights,
        output_fisher=a.output_fisher if b.output_fisher is None else b.output_fisher,
        released_fisher=a.released_fisher if b.released_fisher is None else b.released_fisher,
        tensors=a.tensors + b.tensors,
        backwards=a.backwards + b.backwards,
    )


def _at_outputs(value: Tensor, layers: Sequence[Sharing], groups: Sequence[Sequence[Use]]) -> list[list[Tensor | None]]:
    """Gradients at the outputs of layers; the graph is kept.

    Raises:
        NetworkError: The value depends on the weight of a layer that didn't run itself.
    """
    flat = [use.output for group in groups for use in group]
    unseen = [weight for weight, group in zip(weights_of(layers), groups, strict=True) if not group]
    found = torch.autograd.grad(value, [*flat, *unseen], retain_graph=True, allow_unused=True)
    if any(one is not None for one in found[len(flat) :]):
        raise NetworkError("A weight is used outside its layer, where gradients of single samples aren't known.")
    rest = iter(found)
    return [[next(rest) for _ in group] for group in groups]


def _kernel(output: Tensor, layers: Sequence[Sharing], groups: Sequence[Sequence[Use]], samples: int) -> Samplewise:
    kernel = torch.zeros(samples, samples, dtype=torch.float64, device=output.device)
    for group, at in zip(groups, _at_outputs(output.sum(), layers, groups), strict=True):
        unfolded = _unfolded(group, at, samples)
        if len(unfolded) == 1 and unfolded[0][0].shape[-1] == 1:
            # With a single position products of gradients are products of products, and large layers are cheap.
            columns, deltas = (one.squeeze(-1).transpose(0, 1).double() for one in unfolded[0])  # (groups, S, numbers)
            kernel += ((columns @ columns.mT) * (deltas @ deltas.mT)).sum(dim=0)
            continue
        for gradients in _sample_gradients(unfolded):
            wide = gradients.double()
            kernel += wide @ wide.T
    return Samplewise(kernel=_with_the_output(kernel, output), backwards=1)


def _with_the_output(kernel: Tensor, output: Tensor) -> Tensor:
    """The kernel, or NaN where the output isn't finite, which gradients of sums needn't show."""
    return kernel if bool(torch.isfinite(output).all()) else torch.full_like(kernel, float("nan"))


def _signs(
    output: Any,
    labels: Tensor,
    loss: Loss | None,
    layers: Sequence[Sharing],
    groups: Sequence[Sequence[Use]],
    samples: int,
) -> Samplewise:
    value = loss_value(output, labels, loss, weights_of(layers))
    total = 0.0
    for group, at in zip(groups, _at_outputs(value, layers, groups), strict=True):
        for gradients in _sample_gradients(_unfolded(group, at, samples)):
            if not all(map(math.isfinite, torch.stack(torch.aminmax(gradients)).tolist())):
                total = float("nan")
            total += float(gradients.sign().sum(dim=0).abs().sum())
    weights = sum(weight.numel() for weight in weights_of(layers))
    return Samplewise(sign_agreement=total, weights=weights, backwards=1)


# A run of a layer: input columns (S, groups, fan-in, positions) and output gradients (S, groups, rows, positions). The
# gradients of the samples' weights are their products over positions.
_Unfolded = tuple[Tensor, Tensor]


def _sample_gradients(unfolded: Sequence[_Unfolded]) -> Iterator[Tensor]:
    """The samples' gradients of one weight, in pieces (S, numbers) that together make it up."""
    if not unfolded:
        return
    columns, deltas = unfolded[0]
    samples, groups, rows, _ = deltas.shape
    step = max(1, _CHUNK // max(1, samples * groups * columns.shape[2]))
    for start in range(0, rows, step):
        pieces = [delta[:, :, start : start + step] @ column.transpose(-1, -2) for column, delta in unfolded]
        yield sum(pieces[1:], pieces[0]).reshape(samples, -1)


def _unfolded(group: Sequence[Use], at: Sequence[Tensor | None], samples: int) -> list[_Unfolded]:
    """Unfold the runs of the layers that use one weight.

    Args:
        group: The runs.
        at: Gradients at their outputs.
        samples: Batch size S.

    Raises:
        NetworkError: The samples of a layer can't be told apart.
    """
    return [_unfold(use, gradient, samples) for use, gradient in zip(group, at, strict=True) if gradient is not None]


def _unfold(use: Use, gradient: Tensor, samples: int) -> _Unfolded:
    module, x, gradient = use.module, use.input, gradient.to(use.input.dtype)  # they differ under autocast
    if isinstance(module, nn.Linear) and is_plain(use):
        axis = sample_axis((*x.shape[:-1], 1), samples)
        if axis is None:
            raise NetworkError(f"A linear layer's input {tuple(x.shape)} has no axis of {samples} samples.")
        if axis == 1:
            x, gradient = x.transpose(0, 1), gradient.transpose(0, 1)
        columns = x.reshape(samples, 1, -1, x.shape[-1]).transpose(-1, -2)
        return columns, gradient.reshape(samples, 1, -1, gradient.shape[-1]).transpose(-1, -2)
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)) or not is_plain(use) or x.shape[0] % samples:
        kind = type(module).__name__
        raise NetworkError(f"Gradients of single samples aren't known for a {kind} with input {tuple(x.shape)}.")
    columns = image_columns(module, x)
    groups, (fold, _, positions) = module.groups, columns.shape
    columns = columns.reshape(fold, groups, -1, positions)
    deltas = gradient.flatten(2).reshape(fold, groups, -1, positions)
    if fold != samples:  # windows folded into the batch are positions too
        columns, deltas = (_fold(one, samples) for one in (columns, deltas))
    return columns, deltas


def _fold(tensor: Tensor, samples: int) -> Tensor:
    """(S * windows, groups, rows, positions) to (S, groups, rows, windows * positions)."""
    windows = tensor.shape[0] // samples
    return tensor.reshape(samples, windows, *tensor.shape[1:]).permute(0, 2, 3, 1, 4).flatten(3)


def _fisher(output: Tensor, network: nn.Module, uses: Sequence[Use], samples: int) -> Samplewise:
    exact, released, tensors = output_fisher(output, network, uses, samples=samples)
    return Samplewise(output_fisher=exact, released_fisher=released, tensors=tensors, backwards=output.shape[1])
